"""Settings of the decisions: thresholds and the contradiction decoder."""

from pydantic import Field

from tagstack.configs.section import Section


class ThresholdSettings(Section):
    """How thresholds are chosen; each default and its reason stand in default.toml."""

    folds: int = Field(ge=2)


class DecoderSettings(Section):
    """How rules are enforced; each default and its reason stand in default.toml."""

    search_budget: int = Field(gt=0)
