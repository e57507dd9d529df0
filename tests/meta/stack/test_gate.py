"""What the gate answers on whole fits: the mean where nothing can beat it, more where more pays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

from tagstack.base_models.pairs import PairProba
from tagstack.configs.errors import TagstackError
from tagstack.configs.stack import StackSettings
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.metrics.ranking import average_precision, micro_average_precision
from tagstack.meta.stack.stacker import Stacker

MakeLabelled = Callable[..., Any]
Make = Callable[..., StackSettings]
Install = Callable[..., Path]


def fitted(data: Any, settings: StackSettings, seed: int = 0, **keywords: Any) -> Stacker:
    relations = TagRelations.none(len(data.scores.vocabulary))
    stacker = Stacker(settings, seed=seed, threads=1)
    return stacker.fit(data.scores, data.labels, data.groups, relations, **keywords)


def macro(proba: PairProba, labels: sparse.csr_array) -> float:
    return float(np.nanmean(average_precision(proba, labels)))


def near_copies(data: Any, rng: np.random.Generator) -> None:
    """Turn nine of eleven members into the first plus a little noise; the last is noise alone."""
    logit = data.scores.logit
    for member in range(1, 10):
        logit[member] = logit[0] + rng.normal(0, 1.2, logit.shape[1])
    logit[10] = rng.normal(-2.0, 1.0, logit.shape[1])


@pytest.mark.parametrize("seed", [0, 1])
def test_of_ten_near_copies_on_300_images_the_answer_is_an_average(
    make_labelled: MakeLabelled, stack_settings: Make, seed: int
) -> None:
    """The average is the best there is: equal members, independent errors."""
    rng = np.random.default_rng(seed)
    data, fresh = (make_labelled(n, noise=(2.0,) * 11) for n in (300, 1000))
    for part in (data, fresh):
        near_copies(part, rng)
    stacker = fitted(data, stack_settings(folds=5, member_worth="none"), seed)
    assert stacker.chosen_ in {"mean", "calibrated_mean", "caruana"}
    rungs = stacker.predict_rungs(fresh.scores, stacker.rungs_)
    chosen = macro(rungs[stacker.chosen_], fresh.labels)
    learned = ("shrunken_logistic", "svm", "lightgbm", "xgboost", "blend")
    best = max(macro(rungs[name], fresh.labels) for name in learned)
    assert chosen > best - 0.005, {name: macro(p, fresh.labels) for name, p in rungs.items()}


def test_equal_members_alone_leave_nothing_to_learn(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    data = make_labelled(300, noise=(2.0,) * 10)
    settings = stack_settings(folds=5, learners=("lightgbm",), member_worth="none")
    stacker = fitted(data, settings)
    assert stacker.chosen_ in {"mean", "calibrated_mean"}


def test_where_members_differ_the_average_is_beaten(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    noise = (1.5, 8.0, 9.0, 10.0)
    data, fresh = make_labelled(600, noise=noise), make_labelled(600, noise=noise)
    stacker = fitted(data, stack_settings())
    assert stacker.chosen_ not in {"mean", "calibrated_mean"}
    rungs = stacker.predict_rungs(fresh.scores, ["mean", stacker.chosen_])
    assert macro(rungs[stacker.chosen_], fresh.labels) > macro(rungs["mean"], fresh.labels) + 0.05


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shuffled_labels_score_at_chance_on_every_rung(
    make_labelled: MakeLabelled, stack_settings: Make, seed: int
) -> None:
    """Out-of-fold columns, nested or not, must not carry a label to the row it belongs to."""
    data = make_labelled(n_images=500)
    shuffled = data.labels[np.random.default_rng(seed).permutation(500)]
    stacker = Stacker(stack_settings(folds=5), seed=seed, threads=1).fit(
        data.scores, shuffled, np.arange(500), TagRelations.none(12)
    )
    share = np.asarray(shuffled.mean(axis=0)).ravel()
    for rung in stacker.rungs_:
        lift = average_precision(stacker.out_of_fold(rung), shuffled) - share
        assert abs(float(np.mean(lift))) < 0.03, rung


@pytest.mark.parametrize("objective", ["macro_f1", "micro_f1", "macro_ap", "micro_ap"])
def test_every_objective_is_raised(
    make_labelled: MakeLabelled, stack_settings: Make, objective: str
) -> None:
    data = make_labelled(200, noise=(1.5, 6.0))
    stacker = fitted(data, stack_settings(learners=("lightgbm",), objective=objective))
    rows = {row.rung: np.mean(row.fold_values) for row in stacker.ladder_}
    assert rows[stacker.chosen_] > rows["single:member_1"]
    found = {row.rung: (row.macro_ap, row.micro_ap) for row in stacker.ladder_}[stacker.chosen_]
    if objective.endswith("ap"):
        expected = found[0] if objective == "macro_ap" else found[1]
        assert rows[stacker.chosen_] == pytest.approx(expected)


@pytest.fixture
def banded(make_labelled: MakeLabelled, stack_settings: Make) -> tuple[Any, Stacker]:
    """Return images whose frequent tags only the first member sees, rare ones all members alike.

    Weights that are the same for all tags cannot serve both.
    """
    data = make_labelled(n_images=500, n_tags=16, noise=(3.0, 3.0, 3.0, 3.0))
    frequent = data.scores.pairs.tag < 8
    data.scores.logit[1:, frequent] = np.random.default_rng(3).normal(-2, 2, (3, frequent.sum()))
    settings = stack_settings(
        learners=(),
        logistic_strengths=(1e6,),
        gate_bands=(100,),
        gate_standard_errors=0.5,
        band_standard_errors=0.5,
    )
    return data, fitted(data, settings)


def test_a_band_of_tags_keeps_the_simpler_rung_that_serves_it_better(
    banded: tuple[Any, Stacker], tmp_path: Path
) -> None:
    data, stacker = banded
    assert stacker.chosen_ == stacker.rungs_[-1] == "by_band"
    rare, frequent = stacker.bands_
    assert (rare.title, frequent.title) == ("0-99", "100+")
    own_way, overall = sorted(stacker.bands_, key=lambda band: "ahead of" not in band.why)
    assert f"ahead of {overall.rung}" in own_way.why
    assert overall.why == "as overall: no simpler rung clearly leads here"
    positives = np.asarray(data.labels.sum(axis=0)).ravel()
    own = np.where(positives < 100, rare.rung, frequent.rung)
    rungs = {name: stacker.out_of_fold(name) for name in stacker.rungs_}
    spliced, tag = rungs["by_band"], data.scores.pairs.tag
    for name in (rare.rung, frequent.rung):
        np.testing.assert_array_equal(
            spliced.proba[own[tag] == name], rungs[name].proba[own[tag] == name]
        )
        np.testing.assert_array_equal(spliced.base[own == name], rungs[name].base[own == name])
    assert macro(spliced, data.labels) > macro(rungs[overall.rung], data.labels)
    row = {row.rung: row for row in stacker.ladder_}["by_band"]
    assert row.why == f"chosen: {overall.rung}, but {own_way.title} positives: {own_way.rung}"

    stacker.save(tmp_path)
    loaded = Stacker.load(tmp_path)
    assert (loaded.chosen_, loaded.rungs_) == (stacker.chosen_, stacker.rungs_)
    first, second = stacker.predict_proba(data.scores), loaded.predict_proba(data.scores)
    assert first.proba.tobytes() == second.proba.tobytes()
    assert first.base.tobytes() == second.base.tobytes()


def test_without_bands_all_tags_have_one_rung(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    stacker = fitted(make_labelled(100), stack_settings(learners=(), gate_bands=()))
    assert stacker.bands_ == ()
    assert "by_band" not in stacker.rungs_


def test_a_rehearsal_is_held_and_told(make_labelled: MakeLabelled, stack_settings: Make) -> None:
    told: list[str] = []
    stacker = fitted(
        make_labelled(150),
        stack_settings(trials=2),
        progress=lambda stage, done, total: told.append(stage),
    )
    assert stacker.rehearsal_ is not None
    assert stacker.rehearsal_.tuning is stacker.tuning_
    assert {"rehearsal: calibration", "tuning", "calibration", "worth of members"} <= set(told)
    assert [score.rung for score in stacker.rehearsal_.scores] == list(
        rung for rung in stacker.rungs_ if rung != "by_band"
    )


def test_a_learner_of_a_package_is_a_rung_a_part_of_the_blend_and_in_the_bundle(
    make_labelled: MakeLabelled, stack_settings: Make, install_learner: Install, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = install_learner()
    data, fresh = make_labelled(150), make_labelled(20)
    stacker = fitted(data, stack_settings(learners=("line", "xgboost")))
    assert stacker.rungs_[-3:] == ("line", "xgboost", "blend")
    assert "line" in stacker.stack_.blend_weights
    stacker.save(tmp_path / "stack")
    loaded = Stacker.load(tmp_path / "stack")
    for rung, proba in stacker.predict_rungs(fresh.scores, stacker.rungs_).items():
        assert loaded.predict_proba(fresh.scores, rung).proba.tobytes() == proba.proba.tobytes()
    monkeypatch.setattr("sys.path", [p for p in __import__("sys").path if p != str(folder)])
    with pytest.raises(TagstackError, match=r"'line' of the package tagstack-line 1\.2, which is"):
        Stacker.load(tmp_path / "stack")


def test_a_learner_that_is_not_installed_stops_the_fit_at_once(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    with pytest.raises(TagstackError, match="Unknown learner 'forest'"):
        fitted(make_labelled(60), stack_settings(learners=("forest",)))


def test_a_stacker_is_cloned_and_changed_like_an_estimator(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    data = make_labelled(60)
    stacker = fitted(data, stack_settings(learners=()))
    copy = clone(stacker)
    assert copy.get_params(deep=False) == stacker.get_params(deep=False)
    assert copy.set_params(settings__folds=2, seed=4).get_params()["settings__folds"] == 2
    assert stacker.get_params()["settings__folds"] == 3
    with pytest.raises(TagstackError, match="This stack is not fitted"):
        copy.predict_proba(data.scores)


def test_micro_average_precision_of_the_choice_is_no_accident_of_the_order_of_images(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    data = make_labelled(150)
    order = np.random.default_rng(1).permutation(150)
    settings = stack_settings(learners=())
    first = fitted(data, settings)
    moved = type(data)(data.scores.take(order), data.labels[order], data.groups[order])
    second = fitted(moved, settings)
    scores = [
        micro_average_precision(s.predict_proba(data.scores), data.labels) for s in (first, second)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)


def test_the_gate_can_raise_what_decisions_are_worth(
    make_labelled: MakeLabelled, stack_settings: Make, tmp_path: Path
) -> None:
    """One tag is all that counts, and one tagger alone knows it: the average is not kept."""
    data = make_labelled(n_images=150, noise=(0.5, 0.5, 0.5))
    logit, rng = data.scores.logit, np.random.default_rng(0)
    odd = data.scores.pairs.tag == 0
    logit[1:, odd] = rng.normal(-1, 2.0, (2, int(odd.sum())))
    table = tmp_path / "utility.csv"
    table.write_text("tag,tp,fp,fn,tn\n*,0.001,-0.001,0,0\ntag_000,5,-5,-5,0\n")
    changes = {"objective": "utility", "utility_table": str(table), "gate_bands": ()}
    stacker = fitted(data, stack_settings(learners=(), member_worth="none", **changes))
    assert stacker.chosen_ not in {"mean", "calibrated_mean"}
    table.write_text("tag,tp,fp\ntag_0,1,-1\n")
    with pytest.raises(TagstackError, match="no tag 'tag_0' is known here"):
        fitted(data, stack_settings(learners=(), **changes))
