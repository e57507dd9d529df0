"""Settings of the decisions: thresholds and the contradiction decoder."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tagstack.configs.section import Section

Share = Annotated[float, Field(gt=0, lt=1)]
Proba = Annotated[float, Field(ge=0, le=1)]


class UtilitySettings(Section):
    """What each outcome of one decision is worth; each default's reason is in default.toml."""

    tp: float
    fp: float
    fn: float
    tn: float

    @model_validator(mode="after")
    def _right_is_better(self) -> Self:
        if not (self.tp > self.fn and self.tn > self.fp):
            msg = (
                f"a hit must be worth more than a miss (tp > fn) and a right refusal more than a "
                f"wrong tag (tn > fp), got tp={self.tp:g}, fn={self.fn:g}, tn={self.tn:g}, "
                f"fp={self.fp:g}"
            )
            raise ValueError(msg)
        return self


class ThresholdSettings(Section):
    """How thresholds are chosen; each default and its reason stand in default.toml."""

    strategy: str = Field(min_length=1)  # one of hooks.THRESHOLD_STRATEGIES
    objective: Literal["f_beta", "utility"]
    average: Literal["macro", "micro"]
    beta: float = Field(gt=0, le=100)
    macro_share: float = Field(ge=0, le=1)
    frontier: tuple[Proba, ...]
    joint_rounds: int = Field(ge=1, le=1000)
    utility: UtilitySettings
    utility_table: str
    metric: str
    value: Share
    precision: Share
    recall: Share
    max_tags: int = Field(ge=1)
    min_positives: int = Field(ge=1)
    cv: bool
    shrinkage: tuple[Annotated[float, Field(ge=0)], ...] = Field(min_length=1)
    fbr: float = Field(ge=0, lt=1)
    max_rate: float = Field(gt=0)
    bound: Literal["none", "wilson", "clopper_pearson"]
    guarantee: Literal["none", "fixed_sequence"]
    confidence: float = Field(gt=0.5, lt=1)
    certify_share: Share
    min_frequency: int = Field(ge=0)
    tag_floors: dict[str, Proba]
    category_floors: dict[str, Proba]
    decoder_rounds: int = Field(ge=0, le=1000)
    keep_out_of_fold: bool


class DecoderSettings(Section):
    """How rules are enforced; each default and its reason stand in default.toml."""

    objective: Literal["map", "utility"]
    engine: Literal["auto", "python", "numba"]
    search_budget: int = Field(gt=0)
    search_tags: int = Field(gt=0)
