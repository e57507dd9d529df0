"""Settings that keep fits small, and a fitted stack that several tests share."""

from collections.abc import Callable

import pytest

from tagstack.configs.settings import load_settings
from tagstack.configs.stack import StackSettings


@pytest.fixture
def stack_settings() -> Callable[..., StackSettings]:
    """Return a maker of small settings: few rounds, no search; keywords replace fields."""

    def make(trials: int = 0, **changes: object) -> StackSettings:
        settings = load_settings().stack
        # A rehearsal doubles the time: tests of the rehearsal and of tuning ask for it.
        small: dict[str, object] = {
            "folds": 3,
            "calibration_strengths": (100.0,),
            "logistic_strengths": (300.0,),
            "selection_rounds": 5,
            "outer_fold": trials > 1,
            "lightgbm": settings.lightgbm.model_copy(
                update={"rounds": 15, "leaves": 7, "min_rows": 10}
            ),
            "xgboost": settings.xgboost.model_copy(update={"rounds": 15, "depth": 3}),
            "svm": settings.svm.model_copy(update={"min_positives": 5, "context": 3}),
            "tuning": settings.tuning.model_copy(
                update={"trials": trials, "rounds": (5, 20), "depth": (2, 4)}
            ),
        }
        return settings.model_copy(update=small | changes)

    return make
