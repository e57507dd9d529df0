from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import average_precision_score, f1_score

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.comparison.evaluator import Evaluator, Scope, only_tags
from tagstack.ensemble.comparison.resamples import Telling
from tagstack.meta.metrics.bootstrap import Weightings, difference, interval, verdict
from tagstack.meta.metrics.tag_tests import compare_tags


def all_weights(groups: Any, **options: Any) -> Any:
    return np.hstack(list(Weightings(np.asarray(groups), **options).blocks()))


def test_the_first_column_is_the_sample_and_groups_stay_together() -> None:
    groups = np.array([7, 3, 3, 7, 1, 9, 9, 9])
    weights = all_weights(groups, resamples=50, seed=0)
    assert weights.shape == (8, 51)
    assert (weights[:, 0] == 1).all()
    for group in np.unique(groups):
        members = weights[groups == group]
        assert (members == members[0]).all()
    drawn = [weights[groups == group][0] for group in np.unique(groups)]
    assert (np.sum(drawn, axis=0) == 4).all()


def test_a_longer_run_begins_like_a_shorter_one() -> None:
    groups = np.arange(30)
    short, long = (all_weights(groups, resamples=n, seed=3) for n in (20, 100))
    assert np.array_equal(long[:, :21], short)
    assert not np.array_equal(all_weights(groups, resamples=20, seed=4), short)


def test_repeats_follow_each_other_with_the_next_seed() -> None:
    groups = np.arange(30) // 2
    both = all_weights(groups, resamples=70, seed=3, repeats=2)
    assert both.shape == (30, 141)
    one, two = (all_weights(groups, resamples=70, seed=seed) for seed in (3, 4))
    assert np.array_equal(both, np.hstack([one, two[:, 1:]]))


def test_no_image_is_refused() -> None:
    with pytest.raises(TagstackError, match="The comparison has 0 images"):
        all_weights(np.zeros(0, int), resamples=100, seed=0)


@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_scikit_learn_on_repeated_rows(
    make_proba: Callable[..., Any], seed: int
) -> None:
    proba, labels = make_proba(seed=seed, n_images=60)
    rng = np.random.default_rng(seed)
    decided = rng.random(labels.shape) < 0.4
    chosen = np.array([True, False, True, True, False, True])
    scopes = (
        Scope(key="all", kind="vocabulary", title="", tags=np.ones(6, bool), whole=True),
        Scope(key="some", kind="vocabulary", title="", tags=chosen, whole=True),
    )
    evaluator = Evaluator(
        proba, sparse.csr_array(decided), sparse.csr_array(labels), scopes, beta=1.0
    )
    weights = rng.integers(0, 3, size=(60, 1)).astype(np.float32)
    found = evaluator.evaluate(weights).scores
    rows = np.repeat(np.arange(60), weights[:, 0].astype(int))
    dense = proba.dense()[rows]
    for scope in scopes:
        true, ours = labels[rows][:, scope.tags], decided[rows][:, scope.tags]
        ap = [
            average_precision_score(t, p)
            for t, p in zip(true.T, dense[:, scope.tags].T, strict=True)
            if t.any()
        ]
        kept = true.any(0)
        expected = {
            "micro_f": f1_score(true.ravel(), ours.ravel()),
            "macro_f": f1_score(true[:, kept], ours[:, kept], average="macro", zero_division=0),
            "sample_f": f1_score(
                true[true.any(1)], ours[true.any(1)], average="samples", zero_division=0
            ),
            "macro_ap": np.mean(ap),
            "micro_ap": average_precision_score(true.ravel(), dense[:, scope.tags].ravel()),
        }
        for name, value in expected.items():
            assert found[scope.key, name][0] == pytest.approx(value), (scope.key, name)


def test_only_tags_keeps_the_probabilities(make_proba: Callable[..., Any]) -> None:
    proba, _ = make_proba(seed=5)
    tags = np.array([False, True, True, False, True, False])
    assert np.array_equal(only_tags(proba, tags).dense(), proba.dense()[:, tags])


def test_intervals_are_centred_on_the_value() -> None:
    samples = np.concatenate([[0.5], np.linspace(0.6, 0.8, 1001)])
    found = interval(samples, 0.9)
    assert found.value == 0.5
    assert (found.low, found.high) == pytest.approx((0.41, 0.59))


def test_what_two_rungs_share_cancels() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=1001)
    found = difference(shared + 0.01, shared, 0.95)
    assert (found.low, found.high) == pytest.approx((0.01, 0.01))
    assert found.verdict == "better"


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.1, 0.2, "better"),
        (-0.2, -0.1, "worse"),
        (-0.1, 0.1, "no significant difference"),
        (0.0, 0.1, "no significant difference"),
        (np.nan, np.nan, "undefined"),
    ],
)
def test_verdicts(low: float, high: float, word: str) -> None:
    assert verdict(low, high) == word


def test_an_undefined_score_has_no_interval() -> None:
    found = interval(np.full(11, np.nan), 0.95)
    assert np.isnan([found.value, found.low, found.high]).all()


def test_the_interval_of_a_difference_holds_the_truth_about_as_often_as_it_says(
    make_rung: Callable[..., Any],
) -> None:
    rng = np.random.default_rng(0)
    prior = np.geomspace(0.02, 0.3, 10)
    scope = (Scope(key="all", kind="vocabulary", title="", tags=np.ones(10, bool)),)

    def draw(n_images: int, resamples: int) -> Any:
        labels = rng.random((n_images, 10)) < prior
        signal = np.where(labels, 1.5, -1.5)
        samples = []
        noise = rng.normal(size=(2, n_images, 10)) * np.array([1.2, 1.5])[:, None, None]
        evaluators = []
        for one in noise:
            rung = make_rung("any", 1 / (1 + np.exp(-signal - one)))
            truth = sparse.csr_array(labels)
            evaluators.append(Evaluator(rung.proba, rung.decided, truth, scope, 1.0))
        weights = all_weights(
            np.arange(n_images), resamples=resamples, seed=int(rng.integers(10**9))
        )
        for evaluator in evaluators:
            samples.append(evaluator.evaluate(weights).scores["all", "macro_f"])
        return samples

    ours, theirs = draw(100_000, 1)
    truth = ours[0] - theirs[0]
    held = 0
    for _ in range(100):
        ours, theirs = draw(400, 150)
        found = difference(ours, theirs, 0.95)
        held += found.low <= truth <= found.high
    assert 87 <= held  # 95 expected; fewer than 87 of 100 happens once in about 1,500 such runs


def test_tags_that_nobody_gave_or_holds_have_no_row_and_change_nothing() -> None:
    """Of a hundred thousand tags few are seen on some hundred images."""
    rng = np.random.default_rng(3)
    dense, labels = rng.random((40, 4)).astype(np.float32), rng.random((40, 4)) < 0.4
    weights = np.ones((40, 2), np.float32)
    weights[:, 1] = rng.integers(0, 3, 40)
    found = []
    for places, n_tags in (([0, 1, 2, 3], 4), ([2, 30, 31, 90], 100)):
        indptr = np.arange(41, dtype=np.int64) * 4
        pairs = Pairs(indptr=indptr, tag=np.tile(np.array(places, np.int32), 40), n_tags=n_tags)
        base = np.zeros(n_tags, np.float32)
        proba = PairProba(pairs=pairs, proba=dense.ravel(), base=base)
        decided, true = np.zeros((2, 40, n_tags), bool)
        decided[:, places], true[:, places] = dense > 0.5, labels
        scope = Scope(key="all", kind="", title="", tags=np.ones(n_tags, bool), whole=True)
        sparse_ones = (sparse.csr_array(decided), sparse.csr_array(true))
        found.append(Evaluator(proba, *sparse_ones, (scope,), 1.0).evaluate(weights))
    assert {key: value.tolist() for key, value in found[0].scores.items()} == {
        key: value.tolist() for key, value in found[1].scores.items()
    }
    assert found[1].tag_f.tolist() == found[0].tag_f.tolist()
    assert found[1].tag_f.shape == (4, 2)


def test_few_groups_widen_one_difference_as_they_widen_those_of_tags() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(0.5, 0.05, (2, 401)).astype(np.float32)
    for n_groups in (3, 8, 500):
        found = difference(ours.astype(float), theirs.astype(float), 0.95, n_groups - 1)
        tests = compare_tags(
            ours[None], theirs[None], np.array([n_groups]), confidence=0.95,
            false_discovery_rate=0.05, freedom=np.array([n_groups - 1.0]),
        )  # fmt: skip
        np.testing.assert_allclose(
            [found.low, found.high], [tests.low[0], tests.high[0]], atol=1e-6
        )
    plain = difference(ours.astype(float), theirs.astype(float), 0.95)
    assert found.low < plain.low < plain.high < found.high
    one = difference(ours.astype(float), theirs.astype(float), 0.95, 0)
    assert (one.low, one.high) == (-1, 1)  # one group says nothing
    assert difference(ours.astype(float), ours.astype(float), 0.95, -1).high == 0  # nor differs
    value = interval(ours.astype(float), 0.95, 0)
    assert (value.low, value.high) == (0, 1)


def test_a_part_knows_by_how_many_groups_it_is_told() -> None:
    ours = np.array([[1, 0], [1, 0], [0, 0], [0, 1]], bool)
    theirs = np.array([[1, 0], [0, 0], [0, 0], [0, 1]], bool)
    labels = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], bool)
    groups = np.array([0, 0, 1, 2])
    one, two, true = (sparse.csr_array(own) for own in (ours, theirs, labels))
    found = Telling.of(one, two, true, groups)
    assert found.groups == pytest.approx(4**2 / (2**2 + 1 + 1))
    assert found.differing == 1
    assert found.freedom("macro_f", paired=True) == 0
    assert found.freedom("macro_ap", paired=True) == pytest.approx(found.groups - 1)
    assert found.freedom("macro_f", paired=False) == found.groups - 1
    assert Telling.of(one, two, true, groups, np.array([False, True])).groups == 1
