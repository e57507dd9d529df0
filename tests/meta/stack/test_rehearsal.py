from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tagstack.configs.stack import StackSettings
from tagstack.meta.labels.labelled import Labelled
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import Evidence
from tagstack.meta.metrics.leads import Lead
from tagstack.meta.stack import rehearsal
from tagstack.meta.stack.choice import choose, ladder_rows
from tagstack.meta.stack.foundation import Foundation, lay_foundation
from tagstack.meta.stack.groundwork import Strengths
from tagstack.meta.stack.ladder import Ladder, climb, fitted
from tagstack.meta.stack.rehearsal import Rehearsal, rehearse
from tagstack.meta.stack.stacker import Stacker

MakeLabelled = Callable[..., Any]
Make = Callable[..., StackSettings]


def silent(stage: str, done: int, total: int) -> None:
    """Tell nobody."""


def labelled(made: Any, labels: sparse.csr_array | None = None, n_folds: int = 4) -> Labelled:
    n = made.scores.n_images
    return Labelled(
        scores=made.scores,
        evidence=Evidence.of(made.labels if labels is None else labels),
        folds=np.arange(n) // 2 % n_folds,
        groups=made.groups,
        relations=TagRelations.none(len(made.scores.vocabulary)),
    )


def rehearsed(data: Labelled, settings: StackSettings) -> Rehearsal:
    return rehearse(data, settings, seed=0, threads=1, study_dir=None, progress=silent)


def test_labels_of_the_held_out_images_reach_nothing_that_predicts_them(
    make_labelled: MakeLabelled, stack_settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strictly nested: every rung's values of these images, bit for bit, tuning included."""
    made, settings = make_labelled(n_images=160), stack_settings(trials=3)
    flipped = made.labels.toarray()
    flipped[labelled(made).folds == 3] ^= True
    seen: list[dict[str, bytes]] = []

    def remember(ladder: Ladder, outer: Any, probas: Any) -> dict[str, str]:
        seen.append({name: p.proba.tobytes() + p.base.tobytes() for name, p in probas.items()})
        return {}

    monkeypatch.setattr(rehearsal, "_switched_off", remember)
    # Only what was tuned may be kept or not by the held-out labels; so it is kept either way.
    monkeypatch.setattr(Lead, "of", classmethod(lambda cls, a, b: Lead(value=1.0, error=0.1)))
    first = rehearsed(labelled(made), settings)
    second = rehearsed(labelled(made, sparse.csr_array(flipped)), settings)
    assert seen[0] == seen[1]
    assert set(seen[0]) >= {"mean", "svm", "lightgbm", "xgboost", "blend"}
    assert first.tuning is not None
    assert second.tuning is not None
    assert first.tuning.trials == second.tuning.trials
    assert first.scores != second.scores


def test_tuning_is_judged_on_images_that_no_trial_saw(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    found = rehearsed(labelled(make_labelled(n_images=200)), stack_settings(trials=4))
    tuning = found.tuning
    assert tuning is not None
    assert found.n_images == tuning.worth.n_images == 50
    assert tuning.n_trials == len(tuning.trials) == len(tuning.history) == 4
    worth = tuning.worth
    assert worth.difference == pytest.approx(worth.tuned - worth.default)
    assert worth.low <= worth.difference <= worth.high
    assert tuning.kept == (worth.difference > 0)
    best = max(tuning.trials, key=lambda trial: trial.value).params
    default = stack_settings().xgboost
    expected = best if tuning.kept else default.model_dump()
    assert all(getattr(tuning.settings, key) == expected[key] for key in best)


def test_without_trials_nothing_is_tuned(make_labelled: MakeLabelled, stack_settings: Make) -> None:
    found = rehearsed(labelled(make_labelled(n_images=80)), stack_settings())
    assert found.tuning is None
    assert [s.rung for s in found.scores][-2:] == ["xgboost", "blend"]
    assert all(0 <= s.macro_ap <= 1 and 0 <= s.micro_ap <= 1 for s in found.scores)


def test_a_meta_model_that_overfits_its_columns_is_switched_off(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    """Trees so deep and so many that they learn the rows by heart."""
    settings = stack_settings(learners=("lightgbm", "xgboost"))
    greedy = settings.xgboost.model_copy(
        update={
            "rounds": 120, "learning_rate": 1.0, "depth": 12, "min_weight": 0.0, "l2": 0.0,
            "column_share": 1.0, "row_share": 1.0,
        }
    )  # fmt: skip
    data = labelled(make_labelled(n_images=400, noise=(3.0, 3.5, 4.0)))
    found = rehearsed(data, settings.model_copy(update={"xgboost": greedy}))
    assert "xgboost" in found.off
    assert " behind " in found.off["xgboost"]
    assert "on 100 images that took no part" in found.off["xgboost"]
    easier = labelled(make_labelled(n_images=200))
    sound = rehearsed(easier, stack_settings(learners=("lightgbm", "xgboost")))
    assert "xgboost" in {score.rung for score in sound.scores}
    assert "xgboost" not in sound.off


def test_what_was_switched_off_is_not_chosen_nor_blended_and_the_ladder_says_why(
    make_labelled: MakeLabelled, stack_settings: Make
) -> None:
    data = labelled(make_labelled(n_images=120))
    off = {"xgboost": "worse", "blend": "worse too"}
    foundation = lay_foundation(data, stack_settings(), seed=0, threads=1, progress=silent)
    ladder = climb(foundation, silent, off=off)
    choice = choose(ladder)
    assert choice.chosen in {
        "mean", "calibrated_mean", "caruana", "shrunken_logistic", "svm", "lightgbm", "by_band",
    }  # fmt: skip
    assert "xgboost" not in ladder.blend_weights
    names = ("lightgbm", "blend", "xgboost")
    rows = {row.rung: row.why for row in ladder_rows(ladder, names, choice.why)}
    assert rows["xgboost"] == "switched off: worse"
    assert rows["blend"] == "switched off: worse too"
    assert rows["lightgbm"] != "not up for choice"


def test_the_meta_model_that_was_judged_is_the_one_that_a_fit_on_all_inner_images_gives(
    make_labelled: MakeLabelled, stack_settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bytes, bytes]] = []

    def both(ladder: Ladder, groundwork: Any, learners: Any, *, meta: Any) -> Any:
        made, table = fitted(ladder, groundwork, learners, meta=meta), ladder.foundation.table
        again = fitted(ladder, groundwork, learners)
        one, other = (s.learners["xgboost"].predict_logit(table) for s in (made, again))
        seen.append((one.tobytes(), other.tobytes()))
        return made

    monkeypatch.setattr(rehearsal, "fitted", both)
    rehearsed(labelled(make_labelled(n_images=80)), stack_settings(trials=2, learners=("xgboost",)))
    ((made, again),) = seen
    assert made == again


def test_strengths_are_chosen_once_without_the_held_out_images(
    make_labelled: MakeLabelled, stack_settings: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, chosen, used = make_labelled(n_images=60), [], []

    def choose_once(scores: Any, *others: Any) -> Strengths:
        chosen.append(scores.n_images)
        return Strengths(calibration=7.0, logistic=9.0)

    def remember(*arguments: Any, **keywords: Any) -> Foundation:
        used.append(keywords["strengths"])
        return lay_foundation(*arguments, **keywords)

    monkeypatch.setattr(rehearsal, "choose_strengths", choose_once)
    monkeypatch.setattr("tagstack.meta.stack.fitting.lay_foundation", remember)
    Stacker(stack_settings(learners=(), outer_fold=True), seed=0, threads=1).fit(
        made.scores, made.labels, made.groups, TagRelations.none(len(made.scores.vocabulary))
    )
    assert used == [Strengths(calibration=7.0, logistic=9.0)]
    assert len(chosen) == 1
    assert chosen[0] < 60
