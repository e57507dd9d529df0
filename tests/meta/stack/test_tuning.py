import dataclasses
import os
import pickle
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from scipy.special import expit

from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import StackSettings
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import Evidence
from tagstack.meta.learners.meta_trees import MetaTrees
from tagstack.meta.metrics.fold_scores import DrawnScorer
from tagstack.meta.stack.foundation import Foundation, lay_foundation
from tagstack.meta.stack.trials import StudyPlace
from tagstack.meta.stack.tuning import InnerData, Tuner

MakeLabelled = Callable[..., Any]
MakeTuner = Callable[..., Tuner]

Make = Callable[..., StackSettings]

_SEARCH = """
import pickle, sys
from pathlib import Path
tuner = pickle.loads(Path(sys.argv[1]).read_bytes())
tuner.run(Path(sys.argv[2]), lambda stage, done, total: print(done, flush=True))
"""


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


@pytest.fixture(scope="module")
def kept() -> dict[str, InnerData]:
    """Return where the one small table lies over which all tuners search."""
    return {}


@pytest.fixture
def make_tuner(
    make_labelled: MakeLabelled, stack_settings: Make, kept: dict[str, InnerData]
) -> MakeTuner:
    """Return a maker of tuners over one small table; keywords replace tuning settings."""
    settings = stack_settings(learners=())
    inner = kept.get("inner") or kept.setdefault("inner", inner_data(make_labelled, settings))

    def make(trials: int, threads: int = 1, **changes: object) -> Tuner:
        tuning = stack_settings(trials=trials).tuning.model_copy(update=changes)
        return Tuner(
            data=inner, settings=tuning, defaults=settings.xgboost, seed=3, threads=threads
        )

    return make


def inner_data(make_labelled: MakeLabelled, settings: StackSettings) -> InnerData:
    made = make_labelled(n_images=120, noise=(2.5, 3.0))
    data = Labelled(
        scores=made.scores,
        evidence=Evidence.of(made.labels),
        folds=np.arange(120) // 2 % 4,
        groups=made.groups,
        relations=TagRelations.none(12),
    )
    laid = lay_foundation(data, settings, seed=0, threads=1, progress=silent)
    return InnerData(
        table=laid.table,
        judged=laid.judges.images,
        rows=laid.ground.rows,
        true=laid.fitter.true,
        weight=laid.fitter.weight,
        folds=data.folds,
        scorer=laid.judges.scorer,
        objective="balanced_ap",
    )


def test_a_trial_is_worth_what_it_scores_on_the_drawn_images(
    make_tuner: MakeTuner, lay: Callable[..., Foundation]
) -> None:
    laid = lay(n_images=120, noise=(2.5, 3.0), n_folds=4)
    data, table, true = laid.data, laid.table, laid.fitter.true
    drawn = DrawnScorer(data, np.diff(laid.pairs.indptr), len(laid.pairs) // 2, seed=0)
    inner = replace(
        make_tuner(2).data,
        table=table,
        true=true,
        weight=laid.fitter.weight,
        judged=drawn.images,
        rows=drawn.places(laid.ground.rows),
        scorer=drawn.scorer,
    )
    tuner = replace(make_tuner(2), data=inner)
    # By hand: the model of the other folds, asked about the drawn images of this one alone.
    fit = np.flatnonzero(data.folds != 1)
    held = drawn.images[data.folds[drawn.images] == 1]
    learner = MetaTrees(tuner.defaults, seed=3, threads=1)
    learner.fit(table.take(fit), true[table.pairs.rows(fit)])
    proba = expit(learner.predict_logit(table.take(held)))
    tag, listed = table.pairs.take(held).tag, true[table.pairs.rows(held)]
    n_true = data.evidence.labels[held].toarray().sum(axis=0)
    macro = [_area(proba[tag == t], listed[tag == t], n) for t, n in enumerate(n_true) if n]
    expected = (np.mean(macro) + _area(proba, listed, n_true.sum())) / 2
    assert tuner.fold_score(tuner.defaults, 1, 1) == pytest.approx(expected)


def test_a_trial_looks_at_about_as_many_pairs_as_it_may(
    make_tuner: MakeTuner, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    fit = MetaTrees.fit_matrix

    def remember(learner: MetaTrees, matrix: Any, table: Any) -> MetaTrees:
        looked.append(matrix.num_row())
        return fit(learner, matrix, table)

    monkeypatch.setattr(MetaTrees, "fit_matrix", remember)
    for most in (100, 10**6):
        tuner = make_tuner(2, max_rows=most)
        tuner.fold_score(tuner.defaults, 1, 1)
    fewer, every = looked
    assert 80 < fewer < 120
    images = np.flatnonzero(tuner.data.folds != 1)
    assert every == len(tuner.data.table.pairs.rows(images)) > 200


def _area(proba: Any, true: Any, n_true: Any) -> float:
    """Return average precision where true pairs that are not ranked are never found."""
    found = sum(
        true[proba >= proba[i]].sum() / (proba >= proba[i]).sum() for i in np.flatnonzero(true)
    )
    return float(found / max(int(n_true), 1))


@pytest.mark.parametrize("what", ["weight", "true", "folds", "objective", "table"])
def test_a_study_of_other_data_is_never_resumed(make_tuner: MakeTuner, what: str) -> None:
    """Weights of labels included: they change what a trial is worth as labels do."""
    tuner = make_tuner(2)
    data = tuner.data
    changed: dict[str, Any] = {
        "weight": data.weight * 0.5,
        "true": ~data.true,
        "folds": data.folds[::-1],
        "objective": "macro_ap",
        "table": replace(data.table, values=data.table.values + 1),
    }
    other = replace(tuner, data=replace(data, **{what: changed[what]}))
    assert other.name != tuner.name
    assert replace(tuner, data=replace(data)).name == tuner.name


def test_first_trial_is_the_defaults_and_a_search_repeats_itself(
    make_tuner: MakeTuner, tmp_path: Path
) -> None:
    tuner = make_tuner(5, storage="journal")
    found = tuner.run(tmp_path, silent)
    assert [trial.number for trial in found.trials] == [0, 1, 2, 3, 4]
    first = found.trials[0]
    assert {k: getattr(tuner.defaults, k) for k in first.params} == first.params
    best = max(found.trials, key=lambda trial: trial.value)
    assert best.value >= first.value
    assert make_tuner(5).run(None, silent) == found


@pytest.mark.parametrize(("storage", "pruner"), [("sqlite", "hyperband"), ("journal", "median")])
def test_every_storage_and_pruner_gives_the_same_search_again(
    make_tuner: MakeTuner, tmp_path: Path, storage: str, pruner: str
) -> None:
    kept = make_tuner(4, storage=storage, pruner=pruner).run(tmp_path, silent)
    assert make_tuner(4, pruner=pruner).run(None, silent) == kept
    assert next(iter(tmp_path.glob("tuning.*"))).suffix == f".{storage}"


def test_a_study_that_was_killed_while_it_was_made_is_made_whole(
    make_tuner: MakeTuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: str) -> None:
        Path(path.removeprefix("sqlite:///")).write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(optuna.storages, "RDBStorage", killed)
        with pytest.raises(KeyboardInterrupt):
            make_tuner(1).run(tmp_path, silent)
    assert not (tmp_path / "tuning.sqlite").exists()
    kept = make_tuner(1).run(tmp_path, silent)
    assert make_tuner(1).run(None, silent) == kept


def test_a_bad_trial_stops_after_the_first_split(make_tuner: MakeTuner) -> None:
    pruned = make_tuner(10, pruner="median").run(None, silent).trials
    assert {trial.state for trial in pruned} == {"complete", "pruned"}
    whole = make_tuner(10, pruner="none").run(None, silent).trials
    assert {trial.state for trial in whole} == {"complete"}


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_search_that_was_killed_ends_like_one_that_ran_through(
    make_tuner: MakeTuner, tmp_path: Path, storage: str
) -> None:
    """A process of its own, really killed with SIGKILL in the middle of a trial."""
    tuner = make_tuner(5, storage=storage)
    through = tuner.run(tmp_path / "through", silent)
    task = tmp_path / "tuner"
    task.write_bytes(pickle.dumps(tuner))
    process = subprocess.Popen(
        [sys.executable, "-c", _SEARCH, os.fspath(task), os.fspath(tmp_path / "killed")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == 2:
            break
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    told: list[int] = []
    resumed = tuner.run(tmp_path / "killed", lambda stage, done, total: told.append(done))
    assert process.returncode == -signal.SIGKILL
    assert 1 <= len(told) <= 3  # the first two were not run again
    assert [t.params for t in resumed.trials] == [t.params for t in through.trials]
    assert [t.value for t in resumed.trials] == [t.value for t in through.trials]
    assert resumed.settings == through.settings


def test_a_finished_search_is_not_repeated(make_tuner: MakeTuner, tmp_path: Path) -> None:
    first = make_tuner(3, storage="journal").run(tmp_path, silent)
    told: list[int] = []
    second = make_tuner(3, storage="journal").run(
        tmp_path, lambda stage, done, total: told.append(done)
    )
    assert told == []
    assert second == first


def test_other_data_is_another_study(make_tuner: MakeTuner, tmp_path: Path) -> None:
    tuner = make_tuner(2)
    flipped = dataclasses.replace(tuner.data, true=~tuner.data.true)
    other = Tuner(data=flipped, settings=tuner.settings, defaults=tuner.defaults, seed=3, threads=1)
    assert other.name != tuner.name
    tuner.run(tmp_path, silent)
    other.run(tmp_path, silent)
    with closing(sqlite3.connect(tmp_path / "tuning.sqlite")) as kept:
        names = {name for (name,) in kept.execute("select study_name from studies")}
    assert names == {tuner.name, other.name}


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_search_that_ended_holds_no_file_open(
    make_tuner: MakeTuner, tmp_path: Path, storage: str, damaged: bool
) -> None:
    if damaged:
        (tmp_path / f"tuning.{storage}").write_bytes(b"not a study" * 100)
    with suppress(TagstackError):
        make_tuner(2, storage=storage).run(tmp_path, silent)
    opened = [os.readlink(handle) for handle in Path("/proc/self/fd").iterdir() if handle.exists()]
    assert not [name for name in opened if name.startswith(os.fspath(tmp_path))]


def test_workers_share_one_storage_and_run_each_trial_once(
    make_tuner: MakeTuner, tmp_path: Path
) -> None:
    tuner = make_tuner(6, threads=2, workers=2, storage="journal")
    told: list[int] = []
    found = tuner.run(tmp_path, lambda stage, done, total: told.append(done))
    assert sorted(told) == [1, 2, 3, 4, 5, 6]
    assert [trial.number for trial in found.trials] == list(range(6))
    alone = make_tuner(1).run(None, silent)
    assert alone.trials[0] in found.trials  # the defaults, bit for bit, in another process


def test_workers_are_no_more_than_threads(make_tuner: MakeTuner) -> None:
    assert make_tuner(3, workers=4).workers == 1
    assert make_tuner(3, threads=2, workers=4).workers == 2


def test_the_time_budget_counts_what_earlier_runs_took(
    make_tuner: MakeTuner, tmp_path: Path
) -> None:
    tuner = make_tuner(50, seconds=0.001, storage="journal")
    first = tuner.run(tmp_path, silent)
    assert len(first.trials) == 1
    assert tuner.run(tmp_path, silent) == first


def test_importances_are_shares_of_the_searched_parameters(make_tuner: MakeTuner) -> None:
    found = make_tuner(12, pruner="none").run(None, silent)
    assert set(found.importances) == set(found.trials[0].params)
    assert sum(found.importances.values()) == pytest.approx(1)
    assert make_tuner(2).run(None, silent).importances == {}


@pytest.mark.parametrize("file", ["tuning.sqlite", "tuning.journal"])
@pytest.mark.parametrize("content", [b"no study" * 100, b"no study\n" * 100, b"{}\n[1]\n{}\n"])
def test_a_damaged_study_says_what_to_do(
    make_tuner: MakeTuner, tmp_path: Path, file: str, content: bytes
) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(TagstackError, match="delete that folder if it is damaged"):
        make_tuner(2, storage=Path(file).suffix[1:]).run(tmp_path, silent)
    assert (tmp_path / file).read_bytes() == content


def test_a_journal_goes_on_after_a_line_that_was_cut(make_tuner: MakeTuner, tmp_path: Path) -> None:
    through = make_tuner(3, storage="journal").run(tmp_path / "through", silent)
    make_tuner(2, storage="journal").run(tmp_path / "cut", silent)
    journal = tmp_path / "cut" / "tuning.journal"
    journal.write_bytes(journal.read_bytes() + b'{"op_code":5,"worker_id":"a')
    told: list[int] = []
    found = make_tuner(3, storage="journal").run(
        tmp_path / "cut", lambda stage, done, total: told.append(done)
    )
    assert found == through
    assert told == [3]


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
@pytest.mark.parametrize("reached", ["made", "put in", "begun", "half suggested"])
def test_a_search_killed_before_its_first_trial_ended_is_one_that_ran_through(
    make_tuner: MakeTuner, tmp_path: Path, storage: str, reached: str
) -> None:
    tuner = make_tuner(3, storage=storage)
    through = tuner.run(tmp_path / "through", silent)
    defaults = through.trials[0].params
    with closing(StudyPlace(tmp_path / "cut", tuner.name, tuner.settings, tuner.seed)) as place:
        study = place.open(0)
        if reached != "made":
            study.enqueue_trial(defaults)
        if reached in ("begun", "half suggested"):
            trial = study.ask()
        if reached == "half suggested":
            low, high = tuner.settings.rounds
            trial.suggest_int("rounds", int(low), int(high))
    assert tuner.run(tmp_path / "cut", silent) == through
    assert [trial.number for trial in through.trials] == [0, 1, 2]
