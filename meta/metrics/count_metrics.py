"""Scores that are a function of one tag's counts: what thresholds and the gate can raise.

A package's metric may look at everything that was decided, and then stands in comparisons alone.
One that needs no more than how often a tag was right, wrong, missed and rightly left out says so
(`Score.of_counts`), and can be raised as well: cut by cut, tag by tag.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import METRICS
from tagstack.meta.metrics.counts import Counts, defined_mean
from tagstack.meta.metrics.scores import Judged, OfCounts, Score

Floats = NDArray[np.float64]


def score_of_counts(
    name: str,
    title: str,
    of_counts: OfCounts,
    *,
    meaning: str = "",
    larger_is_better: bool = True,
    digits: int = 3,
) -> Score:
    """Return a score that is a function of each tag's counts: its mean over tags with a positive.

    Parameters
    ----------
    name, title, meaning : str
    of_counts : callable
        Takes four arrays of one shape, float64, not negative: true positives, false positives,
        false negatives and true negatives of a tag; returns its values, of the same shape, NaN
        where undefined. Counts may be weighted or expected, so no whole numbers.
    larger_is_better : bool
    digits : int
    """

    def mean(judged: Judged) -> float:
        n_images = np.full(judged.labels.shape[1], float(judged.labels.shape[0]))
        if judged.unknown is not None:
            n_images -= np.asarray(judged.unknown.sum(axis=0, dtype=np.int64)).ravel()
        counts, held = judged.by_tag, judged.by_tag.positives > 0
        return defined_mean(of_counts(*_four(counts.take(held), n_images[held])))

    return Score(
        name=name,
        title=title,
        meaning=meaning,
        larger_is_better=larger_is_better,
        needs="decisions",
        function=mean,
        digits=digits,
        of_counts=of_counts,
    )


@dataclass(frozen=True)
class CountMetric:
    """A registered metric as something to raise: of less is better, the negative.

    Parameters
    ----------
    name : str
        Its entry point; what it holds is loaded where it is used, also in another process.
    """

    name: str

    @cached_property
    def _score(self) -> Score:
        offer = METRICS.offer(self.name)
        found = offer.load()
        if not isinstance(found, Score) or found.of_counts is None:
            msg = (
                f"The {offer} is no function of a tag's counts, so that nothing can be raised by "
                "it; it stands in comparisons alone. Expected one of score_of_counts "
                "(docs/plug-ins.md)."
            )
            raise TagstackError(msg)
        return found

    def __call__(self, counts: Counts, n_pairs: NDArray[np.number] | float) -> Floats:
        """Return each entry's value, the larger the better; NaN where nothing is true.

        Parameters
        ----------
        counts : Counts
        n_pairs : array or float
            How many pairs each tag has; broadcasts to the counts' shape.

        Raises
        ------
        TagstackError
            If the metric is no function of counts, or returns something else than values.
        """
        own, offer = self._score, METRICS.offer(self.name)
        assert own.of_counts is not None
        four = _four(counts, np.asarray(n_pairs, np.float64))
        with offer.blamed(), np.errstate(divide="ignore", invalid="ignore"):
            value = np.asarray(own.of_counts(*four), np.float64)
        if value.shape != four[0].shape:
            self._refuse(f"an array of shape {value.shape}", four[0].shape)
        value = np.where(four[0] + four[2] > 0, value, np.nan)  # nothing is true: undefined
        if np.isinf(value).any():
            self._refuse("infinite values", four[0].shape)
        return self.as_named(value)

    def _refuse(self, fault: str, shape: tuple[int, ...]) -> None:
        msg = (
            f"The {METRICS.offer(self.name)} returned {fault}; expected one finite number or NaN "
            f"for each of {shape}. Report this to its authors."
        )
        raise TagstackError(msg)

    def as_named(self, value: Floats) -> Floats:
        """Return values to raise as the package's own, or the other way round. Of their shape."""
        return value if self._score.larger_is_better else -value


def metric_of(name: str) -> CountMetric | None:
    """Return the metric of a name in the settings; None for "".

    Raises
    ------
    TagstackError
        If there is none, or it is no function of counts, or one that grows with them.
    """
    if not name:
        return None
    found, one = CountMetric(name), np.array([1, 2])
    counts = Counts(hits=10 * one, predicted=15 * one, positives=14 * one)
    value = found(counts, 100 * one)
    if not np.isclose(value[0], value[1], equal_nan=True):
        msg = (
            f"The metric {name!r} is {value[0]:g} for some counts and {value[1]:g} for twice of "
            "each. Expected a function of shares, so that a fold and all images can be compared: "
            "let it divide by what it counts."
        )
        raise TagstackError(msg)
    return found


def _four(counts: Counts, n_pairs: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return true and false positives, false and true negatives, of one shape."""
    hits, given, true = (
        np.asarray(own, np.float64) for own in (counts.hits, counts.predicted, counts.positives)
    )
    found = hits, given - hits, true - hits, n_pairs - given - true + hits
    # What is left of sums of weights by rounding is nothing.
    right, wrong, missed, rest = (np.maximum(own, 0.0) for own in np.broadcast_arrays(*found))
    return right, wrong, missed, rest
