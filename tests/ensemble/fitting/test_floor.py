"""A fit on labels is never worse than what the taggers gave before there were any."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.configs.settings import load_settings
from tagstack.ensemble.comparison.ladder import climb
from tagstack.ensemble.fitting import floor
from tagstack.ensemble.fitting.floor import Floor, held_against_start, start_thresholds
from tagstack.ensemble.fitting.threshold_fit import ThresholdFit
from tagstack.ensemble.thresholds.anchoring import Anchor, anchored, start_rates
from tagstack.ensemble.thresholds.curves import Sorted
from tagstack.ensemble.thresholds.deciding import decided_by
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.metrics.decision_scores import decision_scores
from tagstack.meta.stack.rung_spec import START
from tagstack.meta.stack.stacker import Stacker
from tagstack.meta.start.published import Published
from tagstack.meta.start.unlabelled import adapted_answer
from tests.ensemble.test_fit_dataset import QUICK, dataset_of, fitted


@pytest.mark.parametrize(
    ("macro_f", "micro_f", "holds"),
    [
        ((0.5, 0.4), (0.6, 0.5), True),
        ((0.4, 0.5), (0.5, 0.6), False),
        ((0.50, 0.505), (0.6, 0.5), True),  # behind by what left-out folds cannot tell
        ((0.40, 0.45), (0.9, 0.5), False),  # a gain in one does not pay for the other
    ],
)
def test_the_start_is_left_where_both_scores_together_gain(
    macro_f: tuple[float, float], micro_f: tuple[float, float], holds: bool
) -> None:
    assert Floor(macro_f=macro_f, micro_f=micro_f).holds is holds


@pytest.mark.parametrize(
    ("macro_f", "micro_ap_leads", "holds"),
    [
        ((0.487, 0.5), (0.01, 0.02), True),  # as good in F1 as folds can tell, and ranks better
        ((0.487, 0.5), (0.01, -0.001), False),  # not on every fold
        ((0.487, 0.5), (0.01, 0.0), False),
        ((0.482, 0.5), (0.01, 0.02), True),  # .013 behind in both together, and .015 ahead in ranks
        ((0.482, 0.5), (0.01, 0.01), False),  # more behind than ahead
        ((0.479, 0.5), (0.03, 0.03), False),  # clearly behind in one
        ((0.47, 0.5), (0.01, 0.02), False),  # better ranks do not pay for worse tags
    ],
)
def test_what_ranks_better_on_every_fold_need_not_be_ahead(
    macro_f: tuple[float, float], micro_ap_leads: tuple[float, ...], holds: bool
) -> None:
    floor = Floor(
        macro_f=macro_f, micro_f=(0.605, 0.6), micro_ap_leads=micro_ap_leads, n_images=1000
    )
    assert floor.holds is holds
    assert not replace(floor, n_images=999).holds


def test_where_decisions_have_a_worth_it_alone_holds_the_fit_against_the_start() -> None:
    ahead = Floor(macro_f=(0.6, 0.4), micro_f=(0.7, 0.5))
    assert ahead.holds
    assert not replace(ahead, utility=(0.3, 0.31)).holds  # better F1 pays for nothing
    assert not replace(ahead, metric=("own", 0.3, 0.31)).holds
    behind = Floor(macro_f=(0.3, 0.4), micro_f=(0.4, 0.5), utility=(0.31, 0.3))
    assert behind.holds
    assert behind.text == "worth 0.310 an image against 0.300"
    assert replace(behind, utility=None, metric=("own", 0.31, 0.3)).text == (
        "own 0.310 against 0.300, the higher the better"
    )


def test_the_start_is_held_against_by_what_the_table_and_the_metric_say(
    make_labelled: Callable[..., Any], tmp_path: Path,
    from_docs: Callable[[str], None],
) -> None:  # fmt: skip
    """By hand, on the decisions themselves: what an image is worth, and the metric of a tag."""
    from_docs("A metric that is raised")
    dataset = dataset_of(make_labelled(80))
    worths = tmp_path / "utility.csv"
    worths.write_text("tag,tp,fp,fn,tn\n*,1,-0.5,-1,0\n")
    published = Published.of(dataset.members, dataset.scores.vocabulary)
    start = adapted_answer(published, dataset.scores, load_settings().start).answer
    stacker = Stacker(
        load_settings(changes={"stack": {**QUICK, "learners": []}}).stack, seed=0, threads=1
    )
    relations = TagRelations.none(len(dataset.scores.vocabulary))
    stacker.fit(dataset.scores, dataset.labels, dataset.groups, relations, start=start)
    given = decided_by(stacker.out_of_fold(START), stacker.start_cuts().astype(np.float32))
    own, true = given.toarray(), dataset.labels.toarray()
    right, wrong, missed = own & true, own & ~true, true & ~own
    fit = ThresholdFit(
        dataset=dataset, folds=stacker.folds_, stacker=stacker, start=None, anchor_positives=0,
        settings=load_settings(changes={"thresholds": {
            "strategy": "expected_utility", "objective": "utility", "utility_table": str(worths),
        }}).thresholds,
    )  # fmt: skip
    worth = right.sum() - 0.5 * wrong.sum() - missed.sum()
    by_table = held_against_start(fit, stacker)
    assert by_table.utility is not None
    assert by_table.utility[1] == pytest.approx(worth / dataset.scores.n_images)
    raised = {"thresholds": {"strategy": "metric", "metric": "review_worth"}}
    by_metric = held_against_start(
        replace(fit, settings=load_settings(changes=raised).thresholds), stacker
    )
    held = true.any(axis=0)
    of_tag = (right.sum(0) - 0.2 * own.sum(0))[held] / true.sum(0)[held]
    assert by_metric.metric is not None
    assert by_metric.metric[2] == pytest.approx(of_tag.mean())
    assert by_metric.metric[1] != by_metric.metric[2]


def test_what_the_other_folds_never_had_is_answered_by_the_start(
    make_labelled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a fit on them would, and as the fit on all does with tags without a positive."""
    made = make_labelled(80)
    labels = made.labels.toarray()
    labels[:, 0] &= made.groups == made.groups[np.flatnonzero(labels[:, 0])[0]]
    dataset = replace(dataset_of(made), labels=sparse.csr_array(labels))
    published = Published.of(dataset.members, dataset.scores.vocabulary)
    start = adapted_answer(published, dataset.scores, load_settings().start).answer
    settings = load_settings(changes={"stack": {**QUICK, "learners": []}})
    stacker = Stacker(settings.stack, seed=0, threads=1)
    relations = TagRelations.none(len(dataset.scores.vocabulary))
    stacker.fit(dataset.scores, dataset.labels, dataset.groups, relations, start=start)
    fit = ThresholdFit(
        dataset=dataset, folds=stacker.folds_, stacker=stacker, start=None, anchor_positives=0,
        settings=settings.thresholds,
    )  # fmt: skip
    seen = []

    def scored(tags: sparse.csr_array, *rest: Any, **named: Any) -> Any:
        seen.append(tags.toarray())
        return decision_scores(tags, *rest, **named)

    monkeypatch.setattr(floor, "decision_scores", scored)
    held_against_start(fit, stacker)
    ours, before = seen
    assert labels[:, 0].any()
    assert before[:, 0].any()
    home = stacker.folds_ == stacker.folds_[np.flatnonzero(labels[:, 0])[0]]
    order = np.concatenate([np.flatnonzero(stacker.folds_ == f) for f in np.unique(stacker.folds_)])
    rows = home[order]
    np.testing.assert_array_equal(ours[rows, 0], before[rows, 0])
    assert (ours[:, 1:] != before[:, 1:]).any()


def test_few_positives_keep_the_start_s_rate_and_many_their_own_threshold(
    make_labelled: Callable[..., Any],
) -> None:
    made = make_labelled()
    pairs = made.scores.pairs
    proba = PairProba(
        pairs=pairs,
        proba=(1 / (1 + np.exp(-made.scores.logit[0].astype(np.float64)))).astype(np.float32),
        base=np.full(12, 1e-4, np.float32),
    )
    ordered = Sorted.from_pairs(proba, made.labels)
    rates = start_rates(proba, np.full(12, 0.7))
    free = np.full(12, np.nan)
    loose = Anchor(rates=rates, own_cuts=free, positives=5.0)
    low, no_positive, every = (
        np.full(12, 0.2, np.float32),
        np.zeros(12, np.int64),
        np.ones(12, bool),
    )
    none = anchored(low, no_positive, ordered, loose, every)
    given = np.bincount(pairs.tag[proba.proba >= none[pairs.tag]], minlength=12)
    np.testing.assert_array_equal(given, rates)
    many = anchored(low, np.full(12, 10**9), ordered, loose, every)
    np.testing.assert_allclose(many, 0.2, rtol=1e-4)
    held = replace(loose, own_cuts=np.full(12, 0.33))
    exact = anchored(low, no_positive, ordered, held, every)
    np.testing.assert_allclose(exact, 0.33, rtol=1e-5)
    some = anchored(low, no_positive, ordered, held, np.arange(12) < 5)
    np.testing.assert_allclose(some, [0.33] * 5 + [0.2] * 7, rtol=1e-5)


def test_tags_without_a_positive_keep_the_start_and_a_fall_back_is_the_start(
    make_labelled: Callable[..., Any], tmp_path: Path, install_learner: Callable[..., Path]
) -> None:
    install_learner()
    made = make_labelled(90)
    labels = made.labels.toarray()
    labels[:, 11] = False
    dataset = replace(dataset_of(made), labels=sparse.csr_array(labels))
    bundle = fitted(dataset, tmp_path / "a")
    stacker = bundle.stacker
    assert isinstance(stacker, Stacker)
    start = stacker.out_of_fold(START)
    ours, tag = stacker.out_of_fold(stacker.chosen_), made.scores.pairs.tag
    here = tag == 11
    np.testing.assert_array_equal(
        ours.proba[here] >= bundle.thresholds.value[11],
        start.proba[here] >= np.float32(stacker.start_cuts()[11]),
    )
    stacker.fall_back("a test")
    assert stacker.chosen_ == START
    assert {row.rung: row.why for row in stacker.ladder_}[START] == "chosen: a test"
    alone = start_thresholds(bundle.thresholds, stacker, np.ones(12, np.float32))
    published = Published.of(dataset.members, made.scores.vocabulary)
    answer = adapted_answer(published, made.scores, bundle.settings.start).answer
    proba = stacker.predict_proba(made.scores)
    np.testing.assert_array_equal(
        proba.proba >= alone.value[tag], answer.apply(made.scores)[0] >= 0
    )
    stacker.save(tmp_path / "stack")
    again = Stacker.load(tmp_path / "stack").predict_proba(made.scores, START)
    np.testing.assert_array_equal(again.proba, stacker.predict_proba(made.scores, START).proba)
    assert START in {rung.name for rung in climb(bundle, dataset)}
