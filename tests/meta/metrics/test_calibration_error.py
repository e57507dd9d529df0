from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import brier_score_loss, log_loss

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.meta.labels.truth import positives_per_tag
from tagstack.meta.metrics.calibration_error import (
    blocks_of,
    classwise_error,
    equal_mass_bins,
    probability_scores,
    reliability,
)


def scores(proba: PairProba, labels: Any, **changes: Any) -> Any:
    options: dict[str, Any] = {"n_bins": 5, "floor": 0.0, "min_positives": 1, **changes}
    matrix = sparse.csr_array(labels)
    return probability_scores(blocks_of(proba, matrix), positives_per_tag(matrix), **options)


@pytest.mark.parametrize("seed", range(3))
def test_brier_and_log_loss_equal_scikit_learn(make_proba: Callable[..., Any], seed: int) -> None:
    proba, labels = make_proba(seed=seed)
    dense = proba.dense().astype(float).ravel()
    found = scores(proba, labels)
    assert found.brier == pytest.approx(brier_score_loss(labels.ravel(), dense))
    clipped = np.clip(dense, 1e-7, 1 - 1e-7)
    assert found.log_loss == pytest.approx(log_loss(labels.ravel(), clipped))


def test_unknown_tags_are_left_out_and_counted(make_proba: Callable[..., Any]) -> None:
    proba, labels = make_proba(seed=0)
    proba.base[2] = np.nan
    proba.proba[proba.pairs.tag == 2] = np.nan
    found = scores(proba, labels)
    kept = np.arange(labels.shape[1]) != 2
    expected = ((proba.dense()[:, kept] - labels[:, kept]) ** 2).mean()
    assert found.brier == pytest.approx(expected, rel=1e-6)
    assert found.n_proba_tags == labels.shape[1] - 1


def column(values: Any, true: Any) -> tuple[PairProba, sparse.csr_array]:
    n = len(values)
    pairs = Pairs(indptr=np.arange(n + 1), tag=np.zeros(n, np.int32), n_tags=1)
    proba = PairProba(pairs=pairs, proba=np.array(values, np.float32), base=np.zeros(1, np.float32))
    return proba, sparse.csr_array(np.array(true, bool)[:, None])


def test_classwise_error_of_known_bins() -> None:
    proba, labels = column([0.1, 0.2, 0.6, 0.8], [False, False, True, False])
    bins = equal_mass_bins(blocks_of(proba, labels), n_bins=2, floor=0.0)
    assert bins.weight.tolist() == [2, 2]
    assert bins.proba == pytest.approx([0.15, 0.7])
    assert bins.true == pytest.approx([0, 0.5])
    assert classwise_error(bins, 1)[0] == pytest.approx((0.15 + 0.2) / 2)


def test_pairs_below_the_floor_do_not_hide_the_error() -> None:
    proba, labels = column([0.001] * 96 + [0.9] * 4, [False] * 98 + [True] * 2)
    with_floor = scores(proba, labels.toarray(), floor=0.01)
    assert with_floor.classwise_ece == pytest.approx(0.4, abs=1e-6)
    assert scores(proba, labels.toarray()).classwise_ece < 0.05


def test_equal_probabilities_share_a_bin_whatever_their_order(rng: np.random.Generator) -> None:
    values = np.repeat([0.2, 0.5, 0.7], 20)
    true = rng.random(60) < values
    order = rng.permutation(60)
    one = equal_mass_bins(blocks_of(*column(values, true)), n_bins=4, floor=0.0)
    two = equal_mass_bins(blocks_of(*column(values[order], true[order])), n_bins=4, floor=0.0)
    assert np.array_equal(one.true, two.true)
    assert len(one.proba) == 3


def test_honest_probabilities_lie_on_the_diagonal(rng: np.random.Generator) -> None:
    values = rng.random(40_000)
    blocks = blocks_of(*column(values, rng.random(40_000) < values))
    bins = reliability(blocks, n_bins=10, floor=0.01)
    assert len(bins.proba) == 10
    assert np.abs(bins.proba - bins.true).max() < 0.03


def test_tags_with_few_positives_do_not_enter_the_error(make_proba: Callable[..., Any]) -> None:
    proba, labels = make_proba(seed=0)
    assert scores(proba, labels, min_positives=10_000).n_ece_tags == 0
    assert np.isnan(scores(proba, labels, min_positives=10_000).classwise_ece)
