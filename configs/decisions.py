"""Settings of the decisions: thresholds and the contradiction decoder."""

from typing import Annotated, Literal

from pydantic import Field

from tagstack.configs.section import Section


class ThresholdSettings(Section):
    """How thresholds are chosen; each default and its reason stand in default.toml."""

    strategy: Literal["fixed", "one_threshold", "category", "scut", "plugin_f"]
    average: Literal["macro", "micro"]
    beta: float = Field(gt=0)
    value: float = Field(gt=0, lt=1)
    min_positives: int = Field(ge=1)
    shrinkage: tuple[Annotated[float, Field(ge=0)], ...] = Field(min_length=1)
    max_rate: float = Field(gt=0)
    decoder_rounds: int = Field(ge=0)


class DecoderSettings(Section):
    """How rules are enforced; each default and its reason stand in default.toml."""

    objective: Literal["map", "utility"]
    search_budget: int = Field(gt=0)
    search_tags: int = Field(gt=0)
