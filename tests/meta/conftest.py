"""Settings that keep fits small, and a fitted stack that several tests share."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tagstack.configs.settings import load_settings
from tagstack.configs.stack import StackSettings
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import Evidence
from tagstack.meta.stack.foundation import Foundation, lay_foundation


@pytest.fixture
def lay(
    make_labelled: Callable[..., Any], stack_settings: Callable[..., StackSettings]
) -> Callable[..., Foundation]:
    """Return a maker of foundations without level-2 learners; keywords go to the images."""

    def make(
        settings: StackSettings | None = None, n_folds: int = 3, labels: Any = None, **keywords: Any
    ) -> Foundation:
        made = make_labelled(**keywords)
        n = made.scores.n_images
        data = Labelled(
            scores=made.scores,
            evidence=Evidence.of(made.labels if labels is None else labels),
            folds=np.arange(n) // 2 % n_folds,
            groups=made.groups,
            relations=TagRelations.none(len(made.scores.vocabulary)),
        )
        return lay_foundation(
            data,
            settings or stack_settings(learners=()),
            seed=0,
            threads=1,
            progress=lambda stage, done, total: None,
        )

    return make


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
