"""Settings of the stack: folds, candidates, learners, tuning and the final choice."""

from typing import Literal

from pydantic import Field, field_validator

from tagstack.configs.section import Section

Objective = Literal["balanced_ap", "macro_ap", "micro_ap"]
LearnerName = Literal["svm", "lightgbm", "xgboost"]


class SvmSettings(Section):
    """The linear SVM of each tag; each default and its reason stand in default.toml."""

    min_positives: int = Field(ge=2)
    cost: float = Field(gt=0)
    context: int = Field(ge=0)


class LightgbmSettings(Section):
    """LightGBM on candidate pairs; each default and its reason stand in default.toml."""

    rounds: int = Field(ge=1)
    learning_rate: float = Field(gt=0, le=1)
    leaves: int = Field(ge=2)
    min_rows: int = Field(ge=1)
    l2: float = Field(ge=0)
    column_share: float = Field(gt=0, le=1)
    row_share: float = Field(gt=0, le=1)
    bins: int = Field(ge=2, le=255)


class XgboostSettings(Section):
    """The XGBoost meta-model; each default and its reason stand in default.toml."""

    rounds: int = Field(ge=1)
    learning_rate: float = Field(gt=0, le=1)
    depth: int = Field(ge=1)
    min_weight: float = Field(ge=0)
    l2: float = Field(ge=0)
    column_share: float = Field(gt=0, le=1)
    row_share: float = Field(gt=0, le=1)
    bins: int = Field(ge=2)


class TuningSettings(Section):
    """The search for better XGBoost parameters; see default.toml."""

    trials: int = Field(ge=0)
    seconds: float = Field(ge=0)
    splits: int = Field(ge=1)
    max_rows: int = Field(ge=1000)
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

    folds: int = Field(ge=2)
    objective: Objective
    calibration_strengths: tuple[float, ...] = Field(min_length=1)
    logistic_strengths: tuple[float, ...] = Field(min_length=1)
    strength_pairs: int = Field(ge=1000)
    strength_splits: int = Field(ge=1)
    candidates_per_image: int = Field(ge=1)
    candidate_proba: float = Field(gt=0, lt=1)
    learners: tuple[LearnerName, ...]
    rung_strength: float = Field(gt=0)
    selection_rounds: int = Field(ge=1)
    gate_standard_errors: float = Field(ge=0)
    svm: SvmSettings
    lightgbm: LightgbmSettings
    xgboost: XgboostSettings
    tuning: TuningSettings

    @field_validator("calibration_strengths", "logistic_strengths")
    @classmethod
    def _positive(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if min(strengths) <= 0:
            msg = f"expected strengths above 0, got {list(strengths)}"
            raise ValueError(msg)
        return strengths
