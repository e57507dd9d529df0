"""Rows of one source of logits counted together: what a calibration of millions of pairs needs.

Rows of one fold, tag and label whose logits are nearly the same become one row. They are counted a
few at a time, and what is left can be asked for without each fold in turn: a pair is read once,
however many folds there are.
"""

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.orders import sorted_by

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS_PER_UNIT = 16  # of a merged logit: the mean of a bin stands for values 1/32 away at most
MAX_BINS = 1024  # of one tag, so that a stray value cannot ask for millions
_MANY = 4_000_000  # counted cells from which on they are added up before more come


class Tally:
    """Counts rows by fold, tag, label and bin of their logit.

    Parameters
    ----------
    low, high : float
        No logit lies outside.
    n_tags : int
    """

    def __init__(self, low: float, high: float, n_tags: int) -> None:
        self.low, self.n_tags = low, n_tags
        self.n_bins = min(MAX_BINS, int((high - low) * BINS_PER_UNIT) + 1)
        self._per_unit = self.n_bins / max(high - low, 1e-9)
        self._cells: list[tuple[Ints, Floats, Floats]] = []

    def add(
        self, logit: Floats, true: NDArray[np.bool_], weight: Floats, tag: Ints, fold: Ints
    ) -> None:
        """Count rows, all of shape (n_rows,)."""
        place = ((logit - self.low) * self._per_unit).astype(np.int64)
        key = (fold * self.n_tags + tag) * self.n_bins + np.clip(place, 0, self.n_bins - 1)
        self._cells.append(summed(2 * key + true, weight, weight * logit))
        if len(self._cells) > 1 and sum(len(key) for key, _, _ in self._cells) > _MANY:
            self._cells = [self._together()]

    def rows(self, left_out: int | None) -> tuple[Floats, NDArray[np.bool_], Floats, Ints]:
        """Return mean logit, label, weight and tag of the counted rows, a fold left out.

        Each of shape (n_cells,).
        """
        self._cells = [self._together()]
        key, weight, total = self._cells[0]
        size = 2 * self.n_tags * self.n_bins
        if left_out is not None:
            kept = np.flatnonzero(key // size != left_out)
            key, weight, total = key[kept], weight[kept], total[kept]
        key, weight, total = summed(key % size, weight, total)
        return total / weight, key % 2 == 1, weight, key // (2 * self.n_bins)

    def _together(self) -> tuple[Ints, Floats, Floats]:
        if len(self._cells) == 1:
            return self._cells[0]
        if not self._cells:
            return np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
        parts = zip(*self._cells, strict=True)
        key, weight, total = (np.concatenate(part) for part in parts)
        return summed(key, weight, total)


def summed(key: Ints, weight: Floats, total: Floats) -> tuple[Ints, Floats, Floats]:
    """Return each key once, ascending, with the sums of its two values, all (n_keys,)."""
    order = _ascending(key)
    key = key[order]
    first = np.flatnonzero(np.r_[True, key[1:] != key[:-1]][: len(key)])
    if not len(first):
        return key, weight, total
    return key[first], np.add.reduceat(weight[order], first), np.add.reduceat(total[order], first)


def _ascending(key: Ints) -> Ints:
    """Return the stable order of non-negative keys: by counting, where they are small enough."""
    if int(key.max(initial=0)) < 2**32:
        return sorted_by(np.arange(len(key)), key.astype(np.uint32))
    return np.argsort(key, kind="stable")
