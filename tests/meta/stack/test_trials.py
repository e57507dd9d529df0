import os
import signal
from pathlib import Path

import pytest

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.meta.stack.trials import StudyPlace, importances, quiet_optuna, records, run_trials


def place(folder: Path | None, trials: int, storage: str = "journal") -> StudyPlace:
    settings = load_settings().stack.tuning
    changes = {"trials": trials, "storage": storage}
    return StudyPlace(folder, "study", settings.model_copy(update=changes), 0)


def test_a_worker_that_was_killed_is_said_in_one_line(tmp_path: Path) -> None:
    def dies(place: StudyPlace, n_done: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with quiet_optuna(), pytest.raises(TagstackError, match="One of 2 tuning workers was killed"):
        run_trials(place(tmp_path, 4), dies, 2, lambda done: None)


def test_in_memory_the_study_is_one(tmp_path: Path) -> None:
    def trial(place: StudyPlace, n_done: int) -> None:
        place.open(n_done).optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)

    there = place(None, 5)
    with quiet_optuna():
        run_trials(there, trial, 2, lambda done: None)
        found = records(there.open(0))
        assert importances(there.open(0)) == {"x": 1.0}
    assert [record.number for record in found] == [0, 1, 2, 3, 4]
    assert all(record.value == record.params["x"] for record in found)


def test_alike_trials_have_no_importances() -> None:
    def trial(place: StudyPlace, n_done: int) -> None:
        place.open(n_done).optimize(lambda trial: 0 * trial.suggest_float("x", 0, 1), n_trials=1)

    there = place(None, 6)
    with quiet_optuna():
        run_trials(there, trial, 1, lambda done: None)
        assert importances(there.open(0)) == {}
