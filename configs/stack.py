"""Settings of the stack: folds, candidates, learners, tuning and the final choice."""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from tagstack.configs.calibration import CalibratorName, Pool
from tagstack.configs.section import Section

Objective = Literal[
    "balanced_ap", "macro_ap", "micro_ap", "macro_f1", "micro_f1", "utility", "metric"
]
MemberWorth = Literal["none", "logistic", "full"]

# Names of rungs that are no learners: a learner of a package cannot take one of them.
_TAKEN = frozenset(
    {"mean", "calibrated_mean", "caruana", "shrunken_logistic", "blend", "by_band", "stack"}
)


def positive(strengths: tuple[float, ...]) -> tuple[float, ...]:
    """Return strengths that are all above 0; a ValueError if one is not."""
    if min(strengths) <= 0:
        msg = f"expected strengths above 0, got {list(strengths)}"
        raise ValueError(msg)
    return strengths


class ProbeSettings(Section):
    """Heads on the taggers' features; each default and its reason stand in default.toml."""

    enabled: bool
    strengths: tuple[float, ...] = Field(min_length=1)
    own_strengths: tuple[float, ...] = Field(min_length=1)
    own_positives: int = Field(ge=1)
    pair_proba: float = Field(gt=0, lt=0.5)
    axes: int = Field(ge=1)
    max_images: int = Field(ge=100)

    @field_validator("strengths", "own_strengths")
    @classmethod
    def _positive(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        return positive(strengths)


class SvmSettings(Section):
    """The linear SVM of each tag; each default and its reason stand in default.toml."""

    min_positives: int = Field(ge=2)
    cost: float = Field(gt=0)
    context: int = Field(ge=0)
    max_rows: int = Field(ge=1000)


class LightgbmSettings(Section):
    """LightGBM on candidate pairs; each default and its reason stand in default.toml."""

    rounds: int = Field(ge=1, le=100_000)
    learning_rate: float = Field(gt=0, le=1)
    leaves: int = Field(ge=2, le=131_072)
    min_rows: int = Field(ge=1)
    l2: float = Field(ge=0)
    column_share: float = Field(gt=0, le=1)
    row_share: float = Field(gt=0, le=1)
    bins: int = Field(ge=2, le=255)
    max_rows: int = Field(ge=1000)


class XgboostSettings(Section):
    """The XGBoost meta-model; each default and its reason stand in default.toml."""

    rounds: int = Field(ge=1, le=100_000)
    learning_rate: float = Field(gt=0, le=1)
    depth: int = Field(ge=1, le=64)
    min_weight: float = Field(ge=0)
    l2: float = Field(ge=0)
    column_share: float = Field(gt=0, le=1)
    row_share: float = Field(gt=0, le=1)
    bins: int = Field(ge=2, le=65_535)
    max_rows: int = Field(ge=1000)


class TuningSettings(Section):
    """The search for better XGBoost parameters; see default.toml."""

    trials: int = Field(ge=0, le=1_000_000)
    seconds: float = Field(ge=0)
    splits: int = Field(ge=1, le=1000)
    max_rows: int = Field(ge=1000)
    pruner: Literal["median", "hyperband", "none"]
    storage: Literal["sqlite", "journal"]
    workers: int = Field(ge=1, le=4096)
    rounds: tuple[int, int]
    learning_rate: tuple[float, float]
    depth: tuple[int, int]
    min_weight: tuple[float, float]
    l2: tuple[float, float]
    column_share: tuple[float, float]
    row_share: tuple[float, float]

    @field_validator(
        "rounds", "learning_rate", "depth", "min_weight", "l2", "column_share", "row_share"
    )
    @classmethod
    def _ordered(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if not 0 < limits[0] <= limits[1]:
            msg = f"expected [low, high] with 0 < low <= high, got {list(limits)}"
            raise ValueError(msg)
        return limits


class StackSettings(Section):
    """How the stack is fitted; each default and its reason stand in default.toml."""

    folds: int = Field(ge=2, le=100)
    objective: Objective
    utility_table: str
    metric: str
    balance: str
    balance_most: float = Field(gt=1, le=1000)
    calibrator: CalibratorName
    calibration_pool: Pool
    calibration_strengths: tuple[float, ...] = Field(min_length=1)
    logistic_strengths: tuple[float, ...] = Field(min_length=1)
    strength_pairs: int = Field(ge=1000)
    strength_splits: int = Field(ge=1, le=1000)
    candidates_per_image: int = Field(ge=1)
    candidate_proba: float = Field(gt=0, lt=1)
    learners: tuple[str, ...]
    device: Literal["cpu", "cuda"]
    joblib_backend: str
    missing_labels: Literal["negative", "reweighted"]
    rung_calibrator: CalibratorName
    rung_pool: Pool
    rung_strength: float = Field(gt=0)
    rung_pairs: int = Field(ge=1000)
    stopping_points: int = Field(ge=1)
    selection_rounds: int = Field(ge=1, le=10_000)
    selection_pairs: int = Field(ge=1000)
    blend_equal_share: float = Field(ge=0, le=1)
    gate_pairs: int = Field(ge=1000)
    gate_standard_errors: float = Field(ge=0)
    gate_bands: tuple[int, ...]
    band_standard_errors: float = Field(ge=0)
    overrule_standard_errors: float = Field(ge=0)
    outer_fold: bool
    member_worth: MemberWorth
    probe: ProbeSettings
    svm: SvmSettings
    lightgbm: LightgbmSettings
    xgboost: XgboostSettings
    tuning: TuningSettings

    @field_validator("calibration_strengths", "logistic_strengths")
    @classmethod
    def _positive(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        return positive(strengths)

    @field_validator("learners")
    @classmethod
    def _nameable(cls, learners: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse names that cannot be a rung, a file name and a column all at once."""
        for name in learners:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in _TAKEN:
                msg = (
                    "expected names of small letters, digits and _ that are no other rung's, got "
                    f"{name!r}"
                )
                raise ValueError(msg)
        if len(set(learners)) < len(learners):
            msg = f"expected each learner once, got {list(learners)}"
            raise ValueError(msg)
        return learners

    @field_validator("gate_bands")
    @classmethod
    def _rising(cls, bands: tuple[int, ...]) -> tuple[int, ...]:
        if bands and (bands[0] < 1 or list(bands) != sorted(set(bands))):
            msg = f"expected rising numbers of positives from 1 up, got {list(bands)}"
            raise ValueError(msg)
        return bands

    @model_validator(mode="after")
    def _has_utility(self) -> Self:
        if (self.objective == "utility") != bool(self.utility_table):
            msg = 'objective = "utility" and utility_table = "FILE.csv" belong together'
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _has_metric(self) -> Self:
        if (self.objective == "metric") != bool(self.metric):
            msg = 'objective = "metric" and metric = "NAME" belong together'
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _searchable(self) -> Self:
        if self.tuning.trials > 1 and not self.outer_fold:
            msg = (
                "tuning.trials above 1 need outer_fold = true, whose images decide whether the "
                "found parameters are kept; set tuning.trials = 0 or outer_fold = true"
            )
            raise ValueError(msg)
        return self
