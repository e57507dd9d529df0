from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagstack.configs.stack import StackSettings
from tagstack.meta import tuning
from tagstack.meta.ladder import Ladder
from tagstack.meta.learners.meta_trees import MetaTrees
from tagstack.meta.relations import TagRelations
from tagstack.meta.truth import Evidence

MakeLabelled = Callable[..., Any]
MakeTuner = Callable[[int], tuning.Tuner]

Make = Callable[..., StackSettings]


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


@pytest.fixture
def make_tuner(make_labelled: MakeLabelled, stack_settings: Make) -> MakeTuner:
    """Return a maker of tuners over one small table."""
    data = make_labelled(n_images=120, noise=(2.5, 3.0))
    settings = stack_settings(learners=())
    folds = np.arange(120) // 2 % 4
    ladder = Ladder(
        data.scores,
        Evidence.of(data.labels),
        folds,
        TagRelations.none(12),
        settings,
        seed=0,
        threads=1,
    )
    ladder.climb(None, silent)

    def score(logit: np.ndarray, rows: np.ndarray) -> float:
        true = ladder.true[rows]
        return -float(np.logaddexp(0, np.where(true, -logit, logit)).mean())

    def make(trials: int) -> tuning.Tuner:
        return tuning.Tuner(
            ladder.table, ladder.true, ladder.weight, folds, score,
            settings=stack_settings(trials=trials).tuning, defaults=settings.xgboost,
            seed=3, threads=1,
        )  # fmt: skip

    return make


def test_first_trial_is_the_defaults_and_the_best_is_no_worse(
    make_tuner: MakeTuner, tmp_path: Path
) -> None:
    result = make_tuner(5).run(tmp_path, silent)
    assert result.n_trials == 5
    assert result.kept == (result.tuned_score > result.default_score)
    again = make_tuner(5).run(None, silent)
    assert again.history == result.history
    assert again.settings == result.settings


def test_a_killed_search_resumes_and_ends_like_one_that_ran_through(
    make_tuner: MakeTuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = make_tuner(6).run(tmp_path / "through", silent)

    class Killed(BaseException):
        """Stands for kill -9: nothing of ours may catch it."""

    fits = 0
    fit_matrix = MetaTrees.fit_matrix

    def dies_in_the_middle(self: MetaTrees, matrix: Any, names: tuple[str, ...]) -> MetaTrees:
        nonlocal fits
        fits += 1
        if fits == 6:
            raise Killed
        return fit_matrix(self, matrix, names)

    with monkeypatch.context() as patch:
        patch.setattr(MetaTrees, "fit_matrix", dies_in_the_middle)
        with pytest.raises(Killed):
            make_tuner(6).run(tmp_path / "killed", silent)
    resumed = make_tuner(6).run(tmp_path / "killed", silent)

    assert resumed.history == through.history
    assert resumed.settings == through.settings


def test_a_finished_search_is_not_repeated(make_tuner: MakeTuner, tmp_path: Path) -> None:
    first = make_tuner(3).run(tmp_path, silent)
    told: list[int] = []
    second = make_tuner(3).run(tmp_path, lambda stage, done, total: told.append(done))
    assert told == []
    assert second == first


def test_no_trials_means_the_defaults(make_tuner: MakeTuner) -> None:
    result = make_tuner(0).run(None, silent)
    assert (result.n_trials, result.kept) == (0, False)
