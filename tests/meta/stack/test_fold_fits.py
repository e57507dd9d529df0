from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from tagstack.base_models.pairs import Pairs
from tagstack.meta.features.pair_table import PairTable
from tagstack.meta.stack.fold_fits import FoldFits, best_stage


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
    logit = FoldFits.of(make, table, true, folds, weight, enough).logit()
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
    FoldFits.of(make, named, np.zeros(200, bool), folds + 7, np.ones(200), 80)
    for seen in fits:
        for fold in range(5):
            assert len({int(i) in seen for i in np.flatnonzero(folds == fold)}) == 1


class Stages(Witness):
    """After each further round, it is ever surer of everything."""

    def __init__(self, fits: list[set[int]], rounds: int) -> None:
        super().__init__(fits)
        self.rounds = rounds

    def predict_logit(self, table: PairTable) -> NDArray[np.float64]:
        return super().predict_logit(table) * 0 + self.rounds

    def stopped_at(self, rounds: int) -> "Stages":
        stopped = Stages(self.fits, rounds)
        stopped.seen = self.seen
        return stopped


@pytest.mark.parametrize(
    ("metric", "best"),
    [
        (lambda logit: -abs(logit[0] - 6), 6),
        (lambda logit: min(logit[0], 6), 6),  # of equals the least
        (lambda logit: logit[0] if logit[0] < 4 else np.nan, 3),
        (lambda logit: np.nan, 12),
    ],
)
def test_the_left_out_folds_say_where_to_stop(
    case: tuple[PairTable, NDArray[np.int64]], metric: Callable[[Any], float], best: int
) -> None:
    table, folds = case
    made: Callable[[], Any] = lambda: Stages([], 12)  # noqa: E731
    fits = FoldFits.of(made, table, np.zeros(200, bool), folds, np.ones(200))
    images, seen = np.array([3, 7, 20]), []

    def looked_at(logit: NDArray[np.floating]) -> float:
        seen.append(logit)
        return metric(logit)

    assert best_stage(fits, (3, 6, 9, 12), images, looked_at) == best
    assert [logit.tolist() for logit in seen] == [[rounds] * 12 for rounds in (3, 6, 9, 12)]
    assert (fits.stopped_at(best).logit() == best).all()
    assert best_stage(fits, (12,), images, looked_at) == 12
    assert len(seen) == 4


def test_logits_of_some_images_are_those_of_all(case: tuple[PairTable, NDArray[np.int64]]) -> None:
    table, folds = case
    made: Callable[[], Any] = lambda: Witness([])  # noqa: E731
    fits = FoldFits.of(made, table, np.zeros(200, bool), folds, np.ones(200))
    images = np.array([0, 4, 5, 31, 49])
    np.testing.assert_array_equal(fits.logit_of(images), fits.logit()[table.pairs.rows(images)])
