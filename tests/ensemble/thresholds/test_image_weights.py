"""Thresholds where images weigh: curves count them as copies, and the heavier ones decide."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.configs.settings import load_settings
from tagstack.ensemble.thresholds.curves import Sorted
from tagstack.ensemble.thresholds.fitting import fit_thresholds


def test_curves_of_weighted_images_count_as_those_of_copies(draw: Callable[..., Any]) -> None:
    drawn = draw(0, 40, levels=9)
    rng = np.random.default_rng(0)
    times = rng.integers(1, 4, 40)
    copied = np.repeat(np.arange(40), times)
    implied = rng.random(len(drawn.proba.pairs)) < 0.2
    own = Sorted.from_pairs(drawn.proba, drawn.matrix, implied, None, times.astype(float))
    of = np.concatenate([np.arange(*drawn.proba.pairs.indptr[i : i + 2]) for i in copied])
    copies = Sorted.from_pairs(drawn.proba.take(copied), drawn.matrix[copied], implied[of])
    some = np.arange(40) % 3 > 0
    one, other = own.select(some), copies.select(some[copied])
    at = rng.random(4).astype(np.float32)
    for mine, theirs in (
        (one.counts(at), other.counts(at)),
        (one.grid_counts(), other.grid_counts()),
    ):
        np.testing.assert_allclose(mine.hits, theirs.hits)
        np.testing.assert_allclose(mine.predicted, theirs.predicted)
        np.testing.assert_allclose(mine.positives, theirs.positives)
    np.testing.assert_allclose(
        one.cut_counts().hits[one.is_cut], other.cut_counts().hits[other.is_cut]
    )
    np.testing.assert_array_equal(
        one.n_positives, own.select(some).n_positives
    )  # images, unweighed


@pytest.mark.parametrize("strategy", ["joint_f", "scut", "plugin_f", "one_threshold"])
def test_what_weighs_more_decides(draw: Callable[..., Any], strategy: str) -> None:
    """Half the images want a low threshold, half a high one."""
    drawn = draw(0, 400)
    low = np.arange(400) % 2 == 0
    dense = np.where(low[:, None] & (drawn.dense != 0.01), drawn.dense * 0.4, drawn.dense)
    listed = drawn.dense != np.float32(0.01)
    pairs = Pairs(
        indptr=np.concatenate([[0], np.cumsum(listed.sum(1))]).astype(np.int64),
        tag=np.nonzero(listed)[1].astype(np.int32),
        n_tags=4,
    )
    base = np.full(4, 0.001, np.float32)
    proba = PairProba(pairs=pairs, proba=dense[listed].astype(np.float32), base=base)
    settings = load_settings(
        changes={"thresholds": {"strategy": strategy, "guarantee": "none"}}
    ).thresholds

    def value(weight: Any) -> float:
        found = fit_thresholds(
            proba,
            sparse.csr_array(drawn.labels),
            drawn.vocabulary,
            np.arange(400) // 2 % 4,
            settings,
            image_weight=weight,
        )
        return float(found.value.mean())

    of_low, of_high = (value(np.where(own, 1.9, 0.1)) for own in (low, ~low))
    assert of_low < of_high
    assert value(np.ones(400)) == pytest.approx(value(None), abs=1e-6)
