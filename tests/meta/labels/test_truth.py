"""Truth of pairs: unknown pairs have no say, exactly, and nothing else changes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import average_precision_score

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.configs.errors import TagstackError
from tagstack.meta.features.context import log_lift
from tagstack.meta.labels.truth import Evidence, KnownPairs, PairTruth, without_unknown
from tagstack.meta.metrics.ranking import average_precision

MakeLabelled = Callable[..., Any]


def random_case(seed: int) -> tuple[Pairs, Any, Any]:
    """Listed pairs, dense labels and dense unknown flags."""
    rng = np.random.default_rng(seed)
    listed = rng.random((30, 5)) < 0.6
    pairs = Pairs(
        indptr=np.concatenate([[0], np.cumsum(listed.sum(1))]).astype(np.int64),
        tag=np.nonzero(listed)[1].astype(np.int32),
        n_tags=5,
    )
    return pairs, rng.random((30, 5)) < 0.4, rng.random((30, 5)) < 0.2


@given(st.integers(0, 10_000))
def test_counts_agree_with_a_loop_over_all_pairs(seed: int) -> None:
    pairs, labels, unknown = random_case(seed)
    truth = PairTruth.of(pairs, sparse.csr_array(labels), sparse.csr_array(unknown))
    listed = np.zeros(labels.shape, bool)
    listed[pairs.image, pairs.tag] = True
    for tag in range(5):
        rest = ~listed[:, tag] & ~unknown[:, tag]
        assert truth.n_true[tag] == (labels[:, tag] & rest).sum()
        assert truth.n_false[tag] == (~labels[:, tag] & rest).sum()
    at = pairs.image, pairs.tag
    np.testing.assert_array_equal(truth.known, ~unknown[at])
    np.testing.assert_array_equal(truth.listed, labels[at] & ~unknown[at])
    np.testing.assert_array_equal(truth.weight, truth.known.astype(float))


@given(st.integers(0, 10_000))
def test_average_precision_without_unknown_pairs_is_that_of_the_known_ones(seed: int) -> None:
    pairs, labels, unknown = random_case(seed)
    rng = np.random.default_rng(seed)
    proba = PairProba(
        pairs=pairs,
        proba=(0.1 + 0.8 * rng.random(len(pairs))).astype(np.float32),
        base=np.full(5, 0.01, np.float32),
    )
    masked = without_unknown(proba, sparse.csr_array(unknown))
    got = average_precision(masked, sparse.csr_array(labels & ~unknown))
    dense = proba.dense()
    for tag in range(5):
        known = ~unknown[:, tag]
        if labels[known, tag].any():
            expected = average_precision_score(labels[known, tag], dense[known, tag])
            assert got[tag] == pytest.approx(expected)


def test_unknown_pairs_are_never_tagged_and_abstentions_stay() -> None:
    pairs, _, unknown = random_case(3)
    base = np.array([0.1, np.nan, 0.2, 0.3, 0.4], np.float32)
    value = np.full(len(pairs), 0.7, np.float32)
    value[pairs.tag == 1] = np.nan
    proba = PairProba(pairs=pairs, proba=value, base=base)
    masked = without_unknown(proba, sparse.csr_array(unknown)).dense()
    assert np.isnan(masked[:, 1]).all()
    others = np.array([0, 2, 3, 4])
    assert (masked[:, others][unknown[:, others]] == 0).all()
    known = ~unknown[:, others]
    np.testing.assert_array_equal(masked[:, others][known], proba.dense()[:, others][known])
    assert without_unknown(proba, sparse.csr_array((30, 5), dtype=bool)) is proba


def test_what_was_found_once_is_for_the_same_pairs_alone() -> None:
    pairs, _, unknown = random_case(3)
    known = KnownPairs.of(pairs, sparse.csr_array(unknown))
    assert known.are(pairs)
    assert known.are(Pairs(indptr=pairs.indptr.copy(), tag=pairs.tag.copy(), n_tags=5))
    assert not known.are(Pairs(indptr=pairs.indptr, tag=pairs.tag, n_tags=6))
    moved = pairs.indptr.copy()
    moved[1] = moved[2]  # the pairs of the second image are the first's
    assert not known.are(Pairs(indptr=moved, tag=pairs.tag, n_tags=5))
    other = pairs.tag.copy()
    other[pairs.indptr[1] - 1] = 4 if other[pairs.indptr[1] - 1] < 4 else 3
    assert not known.are(Pairs(indptr=pairs.indptr, tag=other, n_tags=5))
    assert not known.are(pairs.take(np.arange(29)))


def test_labels_under_unknown_are_dropped() -> None:
    _, labels, unknown = random_case(5)
    evidence = Evidence.of(sparse.csr_array(labels), sparse.csr_array(unknown))
    np.testing.assert_array_equal(evidence.labels.toarray(), labels & ~unknown)
    np.testing.assert_array_equal(evidence.n_known, 30 - unknown.sum(0))


def test_evidence_refuses_another_shape() -> None:
    labels = sparse.csr_array((3, 2), dtype=bool)
    with pytest.raises(TagstackError, match=r"labels' shape \(3, 2\), got \(2, 2\)"):
        Evidence.of(labels, sparse.csr_array((2, 2), dtype=bool))


def test_lifts_of_two_tags_come_from_images_where_both_are_known() -> None:
    rng = np.random.default_rng(1)
    labels, unknown = rng.random((400, 4)) < 0.3, np.zeros((400, 4), bool)
    labels[:, 1] |= labels[:, 0] & (rng.random(400) < 0.7)
    unknown[:150, :2] = True
    lift = log_lift(Evidence.of(sparse.csr_array(labels), sparse.csr_array(unknown)))
    known = log_lift(Evidence.of(sparse.csr_array(labels[150:])))
    assert lift[0, 1] == pytest.approx(known[0, 1])
    assert lift[0, 1] > 0.3
    both = np.log((labels[150:, 0] & labels[150:, 2]).sum() + 10) - np.log(
        labels[150:, 0].sum() * labels[150:, 2].sum() / 250 + 10
    )
    assert lift[0, 2] == pytest.approx(both)


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_weights_of_images_count_as_copies_of_them_do(seed: int) -> None:
    pairs, labels, unknown = random_case(seed)
    times = np.random.default_rng(seed).integers(1, 4, 30)
    evidence = Evidence.of(sparse.csr_array(labels), sparse.csr_array(unknown), times.astype(float))
    copied = np.repeat(np.arange(30), times)
    copies = Evidence.of(sparse.csr_array(labels[copied]), sparse.csr_array(unknown[copied]))
    one, other = evidence.truth(pairs), copies.truth(pairs.take(copied))
    np.testing.assert_allclose(one.n_true, other.n_true, atol=1e-9)
    np.testing.assert_allclose(one.n_false, other.n_false, atol=1e-9)
    by_tag = [
        np.bincount(p.tag, t.weight, p.n_tags).astype(float)
        for p, t in ((pairs, one), (pairs.take(copied), other))
    ]
    np.testing.assert_allclose(by_tag[0], by_tag[1])
    np.testing.assert_allclose(evidence.known_weight, copies.known_weight)
