import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics import average_precision_score

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.configs.errors import TagstackError
from tagstack.meta.metrics import ranking
from tagstack.meta.metrics.ranking import (
    average_precision,
    falling_order,
    known_average_precision,
    micro_average_precision,
)


def random_case(
    seed: int, n_images: int = 40, n_tags: int = 5, levels: int = 6
) -> tuple[PairProba, sparse.csr_array]:
    """Probabilities with many ties, some pairs unlisted; some tags may lack positives."""
    rng = np.random.default_rng(seed)
    listed = rng.random((n_images, n_tags)) < 0.6
    indptr = np.concatenate([[0], np.cumsum(listed.sum(1))]).astype(np.int64)
    pairs = Pairs(indptr=indptr, tag=np.nonzero(listed)[1].astype(np.int32), n_tags=n_tags)
    proba = (rng.integers(0, levels, len(pairs)) / (levels - 1)).astype(np.float32)
    base = (rng.integers(0, levels, n_tags) / (levels - 1)).astype(np.float32)
    labels = sparse.csr_array(rng.random((n_images, n_tags)) < rng.choice([0.0, 0.1, 0.5], n_tags))
    return PairProba(pairs=pairs, proba=proba, base=base), labels


def reference(truth: NDArray[np.bool_], score: NDArray[np.float32]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(average_precision_score(truth, score)) if truth.any() else np.nan


@pytest.mark.parametrize("n", [0, 1, 3000])
def test_compiled_code_orders_every_float_as_numpy_does(n: int, rng: np.random.Generator) -> None:
    compiled = pytest.importorskip(
        "tagstack.meta.metrics.compiled_rankings", reason="needs the extra `fast`"
    )
    bits = rng.integers(0, 0x7F800001, n, np.uint32)  # to infinity
    bits[n // 2 :] = bits[: n - n // 2]
    bits[::7] = rng.choice([0, 0x80000000, 1], len(bits[::7]))  # both zeros, the least float
    value = bits.view(np.float32)
    assert compiled.falling(value).tolist() == falling_order(value).tolist()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_agrees_with_scikit_learn_under_ties_and_unlisted_pairs(seed: int) -> None:
    proba, labels = random_case(seed)
    truth, score = labels.toarray(), proba.dense()

    expected = [reference(truth[:, t], score[:, t]) for t in range(truth.shape[1])]

    np.testing.assert_allclose(average_precision(proba, labels), expected, rtol=1e-12)
    expected_micro = reference(truth.ravel(), score.ravel())
    np.testing.assert_allclose(micro_average_precision(proba, labels), expected_micro, rtol=1e-12)


@given(seed=st.integers(0, 10_000), together=st.sampled_from([1, 90, 10_000]))
@settings(max_examples=30, deadline=None)
def test_tables_with_unknown_pairs_agree_with_scikit_learn(seed: int, together: int) -> None:
    proba, labels = random_case(seed)
    truth, score = labels.toarray(), proba.dense()
    known = np.random.default_rng(seed).random(truth.shape) < 0.7

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_DENSE", together)  # a few tags at a time
        found = known_average_precision(score, truth, known)

    expected = [reference(truth[k, t], score[k, t]) for t, k in enumerate(known.T)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_tag_without_probabilities_is_nan_and_left_out_of_micro() -> None:
    proba, labels = random_case(3)
    proba.proba[proba.pairs.tag == 1] = np.nan
    proba.base[1] = np.nan
    others = [0, 2, 3, 4]

    expected = reference(labels.toarray()[:, others].ravel(), proba.dense()[:, others].ravel())

    assert np.isnan(average_precision(proba, labels)[1])
    assert micro_average_precision(proba, labels) == pytest.approx(expected, rel=1e-12)


def test_order_of_images_does_not_matter() -> None:
    proba, labels = random_case(7)
    shuffled = np.random.default_rng(1).permutation(labels.shape[0])

    np.testing.assert_array_equal(
        average_precision(proba, labels), average_precision(proba.take(shuffled), labels[shuffled])
    )


def test_no_positive_anywhere_is_nan() -> None:
    proba, labels = random_case(7)
    none = sparse.csr_array(labels.shape, dtype=bool)

    assert np.isnan(micro_average_precision(proba, none))
    assert np.isnan(average_precision(proba, none)).all()


def test_labels_of_another_shape_are_refused() -> None:
    proba, labels = random_case(7)
    with pytest.raises(TagstackError, match=r"labels must have shape \(40, 5\).*got \(39, 5\)"):
        average_precision(proba, labels[:39])
