from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import average_precision_score

from tagstack.meta.metrics.ranking import average_precision, micro_average_precision
from tagstack.meta.metrics.weighted_ranking import ranked_positives, without_abstentions


@pytest.mark.parametrize("seed", range(8))
def test_weights_equal_repeated_rows(make_proba: Callable[..., Any], seed: int) -> None:
    proba, labels = make_proba(seed=seed)
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 4, size=(len(labels), 3)).astype(np.float32)
    found = ranked_positives(proba, sparse.csr_array(labels)).average_precision(weights)
    together = ranked_positives(proba, sparse.csr_array(labels), together=True)
    dense = proba.dense()
    for draw in range(3):
        rows = np.repeat(np.arange(len(labels)), weights[:, draw].astype(int))
        for tag in range(labels.shape[1]):
            true = labels[rows, tag]
            expected = average_precision_score(true, dense[rows, tag]) if true.any() else np.nan
            assert found[tag, draw] == pytest.approx(expected, nan_ok=True)
        micro = average_precision_score(labels[rows].ravel(), dense[rows].ravel())
        assert together.average_precision(weights)[0, draw] == pytest.approx(micro)


@pytest.mark.parametrize("together", [False, True])
def test_compiled_code_agrees_with_the_sparse_products(
    make_proba: Callable[..., Any], together: bool
) -> None:
    pytest.importorskip("numba", reason="the compiled areas need the extra `fast`")
    proba, labels = make_proba(seed=11, n_images=400, n_tags=30)
    labels[:, 3] = False
    ranked = ranked_positives(proba, sparse.csr_array(labels), together=together)
    weights = np.random.default_rng(0).integers(0, 3, size=(400, 70)).astype(np.float32)
    weights[labels[:, 5], 7] = 0  # a tag whose positives a resample leaves out
    compiled = ranked.average_precision(weights, compiled=True)
    plain = ranked.average_precision(weights, compiled=False)
    assert together or np.isnan(compiled[5, 7])
    assert compiled == pytest.approx(plain, rel=1e-12, nan_ok=True)


def test_equal_weights_equal_the_plain_average_precision(make_proba: Callable[..., Any]) -> None:
    proba, labels = make_proba(seed=3, n_images=300, n_tags=20)
    matrix = sparse.csr_array(labels)
    ones = np.ones((300, 1), np.float32)
    found = ranked_positives(proba, matrix).average_precision(ones)[:, 0]
    assert found == pytest.approx(average_precision(proba, matrix), nan_ok=True)
    micro = ranked_positives(proba, matrix, together=True).average_precision(ones)[0, 0]
    assert micro == pytest.approx(micro_average_precision(proba, matrix))


def test_an_unknown_tag_ranks_nothing(make_proba: Callable[..., Any]) -> None:
    proba, labels = make_proba(seed=1)
    proba.base[1] = np.nan
    proba.proba[proba.pairs.tag == 1] = np.nan
    ranked = ranked_positives(without_abstentions(proba), sparse.csr_array(labels))
    found = ranked.average_precision(np.ones((len(labels), 1), np.float32))
    assert found[1, 0] == pytest.approx(labels[:, 1].mean())


def test_no_positive_at_all_is_undefined(make_proba: Callable[..., Any]) -> None:
    proba, labels = make_proba(seed=1)
    nothing = sparse.csr_array(np.zeros_like(labels))
    found = ranked_positives(proba, nothing).average_precision(
        np.ones((len(labels), 2), np.float32)
    )
    assert np.isnan(found).all()
