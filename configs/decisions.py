"""Settings of the decisions: thresholds and the contradiction decoder."""

from typing import Literal

from pydantic import Field

from tagstack.configs.section import Section


class ThresholdSettings(Section):
    """How thresholds are chosen; each default and its reason stand in default.toml."""

    folds: int = Field(ge=2)


class DecoderSettings(Section):
    """How rules are enforced; each default and its reason stand in default.toml."""

    objective: Literal["map", "utility"]
    search_budget: int = Field(gt=0)
    search_tags: int = Field(gt=0)
