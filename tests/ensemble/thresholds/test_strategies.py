"""Every strategy against a search over all cuts, one by one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import precision_score

from tagstack.ensemble.thresholds.curves import GRID, break_even
from tagstack.ensemble.thresholds.cuts import thresholds_from_logits
from tagstack.ensemble.thresholds.fitting import fit_thresholds
from tagstack.ensemble.thresholds.strategies.strategy import strategy_of
from tagstack.meta.metrics.counts import Counts
from tagstack.meta.metrics.intervals import (
    f_interval,
    least_trials,
    lower_bound,
    share_interval,
    too_good_for,
)

BASE = np.float32(0.01)


def proposed(drawn: Any, chosen: Any) -> NDArray[np.float32]:
    proposal = strategy_of(chosen.strategy).propose(drawn.sample, chosen)
    return np.asarray(thresholds_from_logits(proposal.logits, drawn.sample.curves.floor)[0])


def cuts(drawn: Any, tag: int) -> NDArray[np.float32]:
    values = np.unique(drawn.dense[:, tag])
    return values[values > BASE]


@pytest.mark.parametrize("levels", [0, 7])
@pytest.mark.parametrize("bound", ["none", "wilson", "clopper_pearson"])
def test_precision_takes_the_laxest_cut_whose_bound_reaches_the_target(
    draw: Callable[..., Any], settings_with: Callable[..., Any], bound: str, levels: int
) -> None:
    drawn = draw(3, levels=levels)
    chosen = settings_with(strategy="precision_at_least", precision=0.6, bound=bound)
    found = proposed(drawn, chosen)
    n_own = 0
    for tag in range(4):
        fine = []
        for cut in cuts(drawn, tag):
            decided = drawn.dense[:, tag] >= cut
            hits, n = int((decided & drawn.labels[:, tag]).sum()), int(decided.sum())
            if reference_bound(hits, n, bound) >= 0.6:
                fine.append(cut)
        if fine:
            assert found[tag] == pytest.approx(min(fine), rel=1e-6)
            assert precision_score(drawn.labels[:, tag], drawn.dense[:, tag] >= found[tag]) >= 0.6
            n_own += 1
    assert n_own >= 3


def reference_bound(hits: int, n: int, bound: str) -> float:
    if bound == "none":
        return hits / n
    method = {"wilson": "wilson", "clopper_pearson": "exact"}[bound]
    test = binomtest(hits, n, alternative="greater")
    return float(test.proportion_ci(confidence_level=0.95, method=method).low)


def test_recall_takes_the_strictest_cut_that_keeps_enough(
    draw: Callable[..., Any], settings_with: Callable[..., Any]
) -> None:
    drawn = draw(4)
    chosen = settings_with(strategy="recall_at_least", recall=0.7, bound="none")
    found = proposed(drawn, chosen)
    for tag in range(4):
        true = drawn.dense[drawn.labels[:, tag], tag]
        kept = [cut for cut in cuts(drawn, tag) if (true >= cut).mean() >= 0.7]
        assert found[tag] == pytest.approx(max(kept), rel=1e-6)


@pytest.mark.parametrize("average", ["macro", "micro"])
def test_p_equals_r_predicts_as_many_as_are_true(
    draw: Callable[..., Any], settings_with: Callable[..., Any], average: str
) -> None:
    drawn = draw(5)
    found = proposed(drawn, settings_with(strategy="p_equals_r", average=average))
    decided = drawn.dense >= found
    if average == "macro":
        assert (decided.sum(0) == drawn.labels.sum(0)).all()
        return
    assert len(set(found.tolist())) == 1
    off = [abs(int((drawn.dense >= np.float32(t)).sum()) - int(drawn.labels.sum())) for t in GRID]
    assert abs(int(decided.sum()) - int(drawn.labels.sum())) == min(off)


@pytest.mark.parametrize("worth", [(1.0, -1.0, 0.0, 0.0), (2.0, -0.5, -1.0, 0.25)])
def test_no_cut_is_worth_more_than_the_expected_one(
    draw: Callable[..., Any], settings_with: Callable[..., Any], worth: tuple[float, ...]
) -> None:
    utility = dict(zip(("tp", "fp", "fn", "tn"), worth, strict=True))
    drawn = draw(6, n_images=2000)
    chosen = settings_with(strategy="expected_utility", objective="utility", utility=utility)
    found = proposed(drawn, chosen)
    assert found == pytest.approx(break_even(chosen))

    def expected(cut: float) -> float:
        p = drawn.dense.astype(float)
        tagged = p * worth[0] + (1 - p) * worth[1]
        left = p * worth[2] + (1 - p) * worth[3]
        return float(np.where(p >= cut, tagged, left).sum())

    best = max(expected(cut) for cut in np.linspace(0.02, 0.98, 97))
    assert expected(float(found[0])) >= best


def test_scut_for_utility_is_the_best_cut_of_each_tag(
    draw: Callable[..., Any], settings_with: Callable[..., Any]
) -> None:
    drawn = draw(7)
    utility = {"tp": 1.0, "fp": -0.5, "fn": -0.2, "tn": 0.1}
    chosen = settings_with(
        strategy="scut", objective="utility", utility=utility, shrinkage=[0], max_rate=100, cv=False
    )
    found = proposed(drawn, chosen)

    def worth(tag: int, cut: float) -> float:
        true, tagged = drawn.labels[:, tag], drawn.dense[:, tag] >= cut
        hits, correct = (true & tagged).sum(), (~true & ~tagged).sum()
        wrong, missed = (~true & tagged).sum(), (true & ~tagged).sum()
        return float(hits - 0.5 * wrong - 0.2 * missed + 0.1 * correct)

    for tag in range(4):
        best = max(worth(tag, cut) for cut in cuts(drawn, tag))
        assert worth(tag, found[tag]) == pytest.approx(best)


def test_fbr_cuts_hopeless_tags_at_the_highest_score(
    draw: Callable[..., Any], settings_with: Callable[..., Any], rng: np.random.Generator
) -> None:
    drawn = draw(8, n_images=500)
    drawn.labels[:, 2] = rng.random(500) < 0.05  # the scores know nothing of it

    def fitted(fbr: float) -> Any:
        chosen = settings_with(strategy="scut", fbr=fbr, shrinkage=[0], max_rate=100)
        folds = np.arange(500) % 5
        return fit_thresholds(drawn.proba, drawn.matrix, drawn.vocabulary, folds, chosen).value

    plain, strict = fitted(0.0), fitted(0.3)
    assert (drawn.dense[:, 2] >= plain[2]).sum() > 5
    assert (drawn.dense[:, 2] >= strict[2]).sum() == 1
    assert (plain[[0, 1, 3]] == strict[[0, 1, 3]]).all()


def test_without_cv_the_cut_is_of_all_images_at_once(
    draw: Callable[..., Any], settings_with: Callable[..., Any]
) -> None:
    drawn = draw(9)
    folds = np.arange(300) % 5
    values = [
        fit_thresholds(
            drawn.proba, drawn.matrix, drawn.vocabulary, folds,
            settings_with(strategy="scut", cv=cv, shrinkage=[0], max_rate=100),
        ).value
        for cv in (True, False)
    ]  # fmt: skip
    assert (values[0] != values[1]).any()
    whole = proposed(drawn, settings_with(strategy="scut", shrinkage=[0], max_rate=100, cv=False))
    assert values[1] == pytest.approx(whole)


def test_floors_and_the_frequency_filter_are_limits(
    draw: Callable[..., Any], settings_with: Callable[..., Any]
) -> None:
    drawn = draw(10)
    drawn.labels[:, 3] = False
    drawn.labels[:4, 3] = True
    folds = np.arange(300) % 5

    def fitted(**changes: Any) -> Any:
        chosen = settings_with(strategy="plugin_f", **changes)
        return fit_thresholds(drawn.proba, drawn.matrix, drawn.vocabulary, folds, chosen)

    plain = fitted()
    limited = fitted(min_frequency=5, tag_floors={"t[0]": 0.9}, category_floors={"b": 0.2})
    assert limited.value[0] == np.float32(0.9)
    assert limited.value[1] == max(plain.value[1], np.float32(0.2))
    assert limited.value[2] == plain.value[2]
    assert np.isinf(limited.value[3])
    assert [limited.state[tag] for tag in (0, 2, 3)] == ["fixed", "tuned", "fixed"]
    assert not fitted(min_frequency=5).cutting.decided(drawn.proba).toarray()[:, 3].any()


def test_patterns_give_some_tags_another_objective(
    draw: Callable[..., Any], settings_with: Callable[..., Any]
) -> None:
    drawn = draw(11)
    folds = np.arange(300) % 5
    plain, other = settings_with(strategy="plugin_f"), settings_with(strategy="fixed", value=0.77)
    by_tag = (("category:b", other), ("t3", settings_with(strategy="fixed", value=0.66)))
    one = fit_thresholds(drawn.proba, drawn.matrix, drawn.vocabulary, folds, plain)
    two = fit_thresholds(drawn.proba, drawn.matrix, drawn.vocabulary, folds, plain, by_tag=by_tag)
    assert two.value.tolist() == [
        one.value[0], np.float32(0.77), one.value[2], np.float32(0.66),
    ]  # fmt: skip
    assert two.objective == ("macro F1", "fixed:0.77", "macro F1", "fixed:0.66")
    assert two.state == ("tuned", "fixed", "tuned", "fixed")


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.6, 0.99))
@hypothesis_settings(deadline=None, max_examples=60)
def test_bounds_are_scipys(hits: int, missed: int, confidence: float) -> None:
    n = hits + missed
    one = np.array([hits]), np.array([n])
    if n == 0:
        assert lower_bound(*one, confidence, "wilson")[0] == 0
        assert np.isnan(share_interval(*one, confidence)[0][0])
        return
    test = binomtest(hits, n, alternative="greater")
    for bound, method in (("wilson", "wilson"), ("clopper_pearson", "exact")):
        due = test.proportion_ci(confidence_level=confidence, method=method).low
        assert lower_bound(*one, confidence, bound)[0] == pytest.approx(due, abs=1e-9)  # type: ignore[arg-type]
    both = binomtest(hits, n).proportion_ci(confidence_level=confidence, method="wilson")
    low, high = share_interval(*one, confidence)
    assert (low[0], high[0]) == pytest.approx((both.low, both.high), abs=1e-9)
    due = binomtest(hits, n, 0.7, alternative="greater").pvalue
    assert too_good_for(*one, 0.7)[0] == pytest.approx(due)


def test_twenty_nine_right_ones_prove_ninety_percent() -> None:
    assert least_trials(0.9, 0.95) == 29
    assert too_good_for(np.array([29]), np.array([29]), 0.9)[0] <= 0.05
    assert too_good_for(np.array([28]), np.array([28]), 0.9)[0] > 0.05


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_the_interval_of_f_covers_as_often_as_it_says(
    beta: float, rng: np.random.Generator
) -> None:
    chance = np.array([0.3, 0.2, 0.1, 0.4])  # hit, missed, wrong, neither
    truth = (1 + beta**2) * 0.3 / ((1 + beta**2) * 0.3 + beta**2 * 0.2 + 0.1)
    hit, missed, wrong, _ = rng.multinomial(120, chance, size=4000).T
    counts = Counts(hits=hit, predicted=hit + wrong, positives=hit + missed)
    low, high = f_interval(counts, beta, 0.9)
    covered = float(((low <= truth) & (truth <= high)).mean())
    assert 0.85 < covered < 0.95
    found = counts.f_beta(beta)
    assert ((low <= found) & (found <= high)).all()


def test_no_proposal_lets_unlisted_pairs_pass() -> None:
    floor = np.array([0.01, 0.5], np.float32)
    values = thresholds_from_logits(np.array([-np.inf, -np.inf]), floor)
    assert (values > floor).all()
    assert values[1] == pytest.approx(0.5)
