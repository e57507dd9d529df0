"""Confidence sequences for the mean of bounded numbers: an interval that is right at any time.

Two gamblers bet on every candidate mean, one that the numbers run above it and one below. A
candidate is left once the better one's half of the capital has passed ``1 / alpha``: if it is the
truth, that ever happens with probability at most ``alpha`` (Ville), however often one looks and for
whatever reason one stops. The stakes follow what was seen before, so that the interval shrinks
almost as fast as one for a number of observations that was fixed beforehand.

References
----------
Waudby-Smith & Ramdas (2024), "Estimating means of bounded random variables by betting": the hedged
capital process with plug-in empirical Bernstein stakes.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_GRID = 2001  # candidates: steps of a thousandth of the largest possible difference
_MOST = 0.5  # share of the capital that is ever staked


class BettingSequence:
    """The interval of a mean, brought up to date with every number.

    Parameters
    ----------
    alpha : float, in (0, 1)
        Chance that the interval ever misses the mean.
    low, high : float
        What the numbers never leave.
    candidates : array of shape (n_candidates,), float64, optional
        Means that are looked at, ascending, within ``low`` and ``high``.

    Raises
    ------
    ValueError
        From `add` and `add_one`, for a number out of range.
    """

    def __init__(
        self, alpha: float, low: float, high: float, candidates: Floats | None = None
    ) -> None:
        self._alpha, self._low, self._span = alpha, low, high - low
        given = np.linspace(low, high, _GRID) if candidates is None else candidates
        self.candidates = np.asarray(given, np.float64)
        self._mean = (self.candidates - low) / self._span
        self._up, self._down = np.zeros_like(self._mean), np.zeros_like(self._mean)
        self._most = np.zeros_like(self._mean)
        self._sum: Floats = np.full(1, 0.5)
        self._squares: Floats = np.full(1, 0.25)
        self.n = 0

    def add(self, values: Iterable[float]) -> None:
        """Take numbers in the order in which they came."""
        for value in values:
            self.add_one(np.full(1, value))

    def add_one(self, value: Floats) -> None:
        """Take one number, or one for each candidate: then these are sequences side by side.

        Parameters
        ----------
        value : array of shape (1,) or (n_candidates,), float64
        """
        unit = (value - self._low) / self._span
        if not ((unit >= -1e-12) & (unit <= 1 + 1e-12)).all():
            raise ValueError(f"{value} is not within {self._low} and {self._low + self._span}")
        self._bet(np.clip(unit, 0.0, 1.0))

    @property
    def interval(self) -> tuple[float, float]:
        """The mean is between these; where none is left, both are the mean of the numbers."""
        kept = np.flatnonzero(self._most < -np.log(self._alpha))
        if not len(kept):
            return self.mean, self.mean
        step = np.diff(self.candidates).max(initial=0.0)
        low, high = self.candidates[kept[0]] - step, self.candidates[kept[-1]] + step
        return max(float(low), self._low), min(float(high), self._low + self._span)

    @property
    def mean(self) -> float:
        """Of the numbers; NaN without any."""
        if not self.n:
            return float("nan")
        return float(self._low + self._span * (self._sum[0] - 0.5) / self.n)

    def rejected(self) -> NDArray[np.bool_]:
        """Return which candidates were ever left, shape (n_candidates,), bool."""
        return np.asarray(self._most >= -np.log(self._alpha))

    def _bet(self, unit: Floats) -> None:
        n = self.n + 1
        variance = self._squares / n
        stake = np.sqrt(2 * np.log(2 / self._alpha) / (variance * n * np.log1p(n)))
        m = self._mean
        above = np.minimum(stake, _MOST / np.maximum(m, 1e-12))
        below = np.minimum(stake, _MOST / np.maximum(1 - m, 1e-12))
        self._up += np.log1p(above * (unit - m))
        self._down += np.log1p(below * (m - unit))
        capital = np.maximum(self._up, self._down) - np.log(2)  # half of it each
        np.maximum(self._most, capital, out=self._most)
        self.n, self._sum = n, self._sum + unit
        self._squares = self._squares + (unit - self._sum / (n + 1)) ** 2
