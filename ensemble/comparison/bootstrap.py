"""Paired bootstrap over image groups: how sure a score, and a difference of two rungs, is.

Every resample draws as many groups as there are, with replacement; images of a group come along
together. All rungs see the same resamples, so that what is common to two rungs cancels in their
difference. Thresholds stay as they are: the interval speaks about other images of the same kind,
not about another fit.

Intervals are percentiles of the resampled values, shifted so that their mean stands on the sample's
own value. A resample repeats images, and a rare tag whose few positives repeat (or are not drawn at
all) looks easier than it is: unshifted, the interval of a macro average can lie beside its value.
On simulated test sets (250 of 1,500 images, 60 tags, 2 to 225 positives a tag) the shifted 95 %
intervals of the difference of two rungs held the true one in 92 to 97 % of the sets for every
score; for the height of macro average precision itself they did so in 67 % only (unshifted 24 %),
because average precision on few positives is itself too high. Trust differences before heights.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BETTER, WORSE, UNDECIDED = "better", "worse", "no significant difference"
UNDEFINED = "undefined"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value with a two-sided, centred percentile interval; NaN where undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Difference(Interval):
    """A difference with its interval and, in words, whether the interval excludes 0."""

    verdict: str


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """The same interval from each seed's resamples alone: how much of it is chance.

    Parameters
    ----------
    low, high : tuple of float
        Ends of the interval, one for each seed.
    verdicts : tuple of str
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    verdicts: tuple[str, ...]

    @property
    def spread(self) -> float:
        """How far the ends lie apart at most; NaN where undefined."""
        return max(max(self.low) - min(self.low), max(self.high) - min(self.high))


def interval(samples: NDArray[np.float64], confidence: float) -> Interval:
    """Return the interval of resampled values, of which the first is the sample's own."""
    low, high = _percentiles(samples, confidence)
    return Interval(value=float(samples[0]), low=low, high=high)


def difference(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], confidence: float
) -> Difference:
    """Return ours minus theirs, resample by resample, with a verdict.

    Parameters
    ----------
    ours, theirs : array of shape (1 + n_resamples,), float64
        Scores on the sample itself, then on the same resamples.
    confidence : float
        Of the two-sided interval, in (0.5, 1).
    """
    values = ours - theirs
    low, high = _percentiles(values, confidence)
    return Difference(value=float(values[0]), low=low, high=high, verdict=verdict(low, high))


def repeats(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], confidence: float, seeds: int
) -> Repeats:
    """Return the interval of a difference by each seed alone.

    Parameters
    ----------
    ours, theirs : array of shape (1 + seeds * n_resamples,), float64
        Scores on the sample itself, then on the resamples of one seed after the other.
    confidence : float
    seeds : int
    """
    values = ours - theirs
    ends = [
        _percentiles(np.concatenate([values[:1], own]), confidence)
        for own in values[1:].reshape(seeds, -1)
    ]
    return Repeats(
        low=tuple(low for low, _ in ends),
        high=tuple(high for _, high in ends),
        verdicts=tuple(verdict(low, high) for low, high in ends),
    )


def verdict(low: float, high: float) -> str:
    """Return in words what an interval of a difference says."""
    if np.isnan(low) or np.isnan(high):
        return UNDEFINED
    if low > 0:
        return BETTER
    return WORSE if high < 0 else UNDECIDED


def _percentiles(samples: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    resampled = samples[1:][~np.isnan(samples[1:])]
    if np.isnan(samples[0]) or not len(resampled):
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail]) - (resampled.mean() - samples[0])
    return float(low), float(high)
