from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn import metrics as reference

from tagstack.meta.metrics.label_ranking import label_ranking


@pytest.mark.parametrize("seed", range(5))
def test_equals_scikit_learn_with_ties_and_unlisted_pairs(
    make_proba: Callable[..., Any], seed: int
) -> None:
    proba, labels = make_proba(seed=seed)
    labelled = labels.any(1)
    found = label_ranking(proba, sparse.csr_array(labels))
    dense = proba.dense()[labelled]
    expected = reference.label_ranking_average_precision_score(labels[labelled], dense)
    assert found.lrap == pytest.approx(expected)
    assert found.coverage == pytest.approx(reference.coverage_error(labels[labelled], dense))
    assert found.n_images == labelled.sum()


def test_a_tag_without_probability_ranks_last(make_proba: Callable[..., Any]) -> None:
    proba, labels = make_proba(seed=0)
    proba.base[0] = np.nan
    proba.proba[proba.pairs.tag == 0] = np.nan
    only = np.zeros_like(labels)
    only[:, 0] = True
    assert label_ranking(proba, sparse.csr_array(only)).coverage == labels.shape[1]


def test_no_label_at_all_is_undefined(make_proba: Callable[..., Any]) -> None:
    proba, labels = make_proba(seed=0)
    found = label_ranking(proba, sparse.csr_array(np.zeros_like(labels)))
    assert np.isnan(found.lrap)
    assert found.n_images == 0
