from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from tagstack.base_models.pairs import Pairs
from tagstack.meta.features import PairTable
from tagstack.meta.out_of_fold import cross_fitted_logit


class Witness:
    """A learner that remembers whom it was fitted on and says so of whomever it predicts."""

    fits: list[set[int]]

    def __init__(self, fits: list[set[int]]) -> None:
        self.fits = fits

    def fit(
        self,
        table: PairTable,
        true: NDArray[np.bool_],
        weight: NDArray[np.float64] | None = None,
    ) -> Self:
        self.seen = set(table.values[:, 0].astype(int).tolist())
        self.fits.append(self.seen)
        return self

    def predict_logit(self, table: PairTable) -> NDArray[np.float64]:
        own = table.values[:, 0].astype(int)
        assert not self.seen & set(own.tolist())
        return own.astype(np.float64)

    def save(self, directory: Path) -> None:
        raise NotImplementedError

    def restore(self, directory: Path) -> Self:
        raise NotImplementedError


@pytest.fixture
def case() -> tuple[PairTable, NDArray[np.int64]]:
    """A table of 50 images with 4 pairs each, whose only column is the image, and five folds."""
    pairs = Pairs(
        indptr=np.arange(0, 201, 4, dtype=np.int64),
        tag=np.tile(np.arange(4, dtype=np.int32), 50),
        n_tags=4,
    )
    values = pairs.image[:, None].astype(np.float32)
    return PairTable(pairs=pairs, names=("image",), values=values, logit=np.zeros(200)), (
        np.random.default_rng(0).permutation(50) % 5
    )


@pytest.mark.parametrize(
    ("enough", "n_fits"), [(None, 5), (10**6, 5), (170, 5), (120, 3), (80, 2), (1, 2)]
)
def test_no_image_is_predicted_by_a_fit_that_saw_it(
    case: tuple[PairTable, NDArray[np.int64]], enough: int | None, n_fits: int
) -> None:
    table, folds = case
    fits: list[set[int]] = []

    def make() -> Any:
        return Witness(fits)

    true, weight = np.zeros(200, bool), np.ones(200)
    logit = cross_fitted_logit(make, table, true, folds, weight, enough)
    np.testing.assert_array_equal(logit, table.pairs.image)
    assert len(fits) == n_fits
    if enough is not None and enough < 170:
        assert min(len(seen) for seen in fits) * 4 >= enough


def test_a_fold_stays_whole_when_folds_are_held_out_together(
    case: tuple[PairTable, NDArray[np.int64]],
) -> None:
    table, folds = case
    fits: list[set[int]] = []
    make: Callable[[], Any] = lambda: Witness(fits)  # noqa: E731
    named = replace(table, names=("image",))
    cross_fitted_logit(make, named, np.zeros(200, bool), folds + 7, np.ones(200), 80)
    for seen in fits:
        for fold in range(5):
            assert len({int(i) in seen for i in np.flatnonzero(folds == fold)}) == 1
