"""Which tags of two ways of tagging surely differ, with false discoveries bounded."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from tagstack.base_models.orders import distinct
from tagstack.meta.metrics.bootstrap import BETTER, FEWEST_GROUPS, UNDECIDED, WORSE, widened
from tagstack.meta.metrics.counts import canonical


@dataclass(frozen=True, kw_only=True)
class TagTests:
    """What is sure about the score of every tag, "ours" against "theirs".

    Parameters
    ----------
    difference, low, high : array of shape (n_tags,), float64
        Ours minus theirs with its centred percentile interval; NaN where undefined.
    p_value : array of shape (n_tags,), float64
        Two-sided; NaN for tags that are not tested.
    q_value : array of shape (n_tags,), float64
        Benjamini-Hochberg adjusted over the tested tags, NaN as above.
    verdict : tuple of str
        ``better``, ``worse`` or ``no significant difference``.
    """

    difference: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    p_value: NDArray[np.float64]
    q_value: NDArray[np.float64]
    verdict: tuple[str, ...]

    def of_all(self, tags: NDArray[np.int64], n_tags: int) -> "TagTests":
        """Return the same for a whole vocabulary, of which ``tags`` are those here, ascending."""
        columns = np.full((5, n_tags), np.nan)
        columns[:, tags] = self.difference, self.low, self.high, self.p_value, self.q_value
        verdict = np.full(n_tags, UNDECIDED, object)
        verdict[tags] = self.verdict
        difference, low, high, p_value, q_value = columns
        return TagTests(
            difference=difference,
            low=low,
            high=high,
            p_value=p_value,
            q_value=q_value,
            verdict=tuple(map(str, verdict)),
        )


def compare_tags(
    ours: NDArray[np.float32],
    theirs: NDArray[np.float32],
    n_groups: NDArray[np.int64],
    *,
    confidence: float,
    false_discovery_rate: float,
    freedom: NDArray[np.float64] | None = None,
) -> TagTests:
    """Return which tags one rung scores better on, as far as paired resamples of groups tell.

    The p-value is the larger of two: the share of the centred resamples beyond 0, doubled, and
    that of a normal distribution with their standard error. The first alone would be 0 where no
    resample of a thousand lies beyond, which no correction for thousands of tags could question;
    the second alone would trust the shape of what three positives give.

    Parameters
    ----------
    ours, theirs : array of shape (n_tags, 1 + n_resamples), float32
        A score of every tag, in [0, 1], on the sample itself, then on the same resamples; NaN
        where undefined.
    n_groups : array of shape (n_tags,), int64
        Groups of images on which the two decide differently. Tags with fewer than six are not
        tested: resamples of so few say nothing sure.
    confidence : float, in (0.5, 1)
        Of the intervals, which stand for each tag alone.
    false_discovery_rate : float, in (0, 1)
    freedom : array of shape (n_tags,), float64, optional
        Degrees of freedom of each difference, where they are few: intervals and p-values are then
        as wide as Student's distribution makes them, since resamples of few groups spread too
        little. See `effective_groups`.

    References
    ----------
    Efron & Tibshirani (1993), "An Introduction to the Bootstrap", chapters 15 and 16; Benjamini &
    Hochberg (1995), "Controlling the false discovery rate".
    """
    from scipy.stats import false_discovery_control  # a second to import: here alone it is needed

    values = ours - theirs
    low, high = _row_intervals(values, confidence)
    if freedom is not None:
        low, high = widened(values[:, 0], (low, high), confidence, freedom)
    low, high = (np.clip(ends, -1, 1) for ends in (low, high))
    tested = (n_groups >= FEWEST_GROUPS) & ~np.isnan(low)
    p_value = np.full(len(values), np.nan)
    p_value[tested] = _p_values(
        values[tested].astype(np.float64), None if freedom is None else freedom[tested]
    )
    q_value = np.full(len(values), np.nan)
    if tested.any():
        q_value[tested] = false_discovery_control(p_value[tested])
    found = np.nan_to_num(q_value, nan=1.0) <= false_discovery_rate
    verdict = np.where(found, np.where(values[:, 0] > 0, BETTER, WORSE), UNDECIDED)
    return TagTests(
        difference=values[:, 0].astype(np.float64),
        low=low,
        high=high,
        p_value=p_value,
        q_value=q_value,
        verdict=tuple(map(str, verdict)),
    )


def differing_groups(
    ours: sparse.csr_array, theirs: sparse.csr_array, groups: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Return per tag in how many groups of images two sets of decisions differ, shape (n_tags,).

    Parameters
    ----------
    ours, theirs : csr_array of shape (n_images, n_tags), bool
    groups : array of shape (n_images,), integer
    """
    differ = sparse.coo_array(canonical(ours, theirs.shape) != canonical(theirs))
    n_tags = differ.shape[1]
    group = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    once = distinct(group[differ.row] * n_tags + differ.col)
    return np.bincount(once % n_tags, minlength=n_tags).astype(np.int64)


def _p_values(
    values: NDArray[np.float64], freedom: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return two-sided p-values of rows, of which the first column is the sample's own."""
    own, resampled = values[:, 0], values[:, 1:]
    centred = resampled - np.nanmean(resampled, axis=1, keepdims=True) + own[:, None]
    defined = ~np.isnan(centred)
    beyond = np.minimum((centred <= 0).sum(1), (centred >= 0).sum(1)) / defined.sum(1)
    error = np.nanstd(resampled, axis=1)
    steps = np.divide(np.abs(own), error, out=np.zeros_like(own), where=error > 0)
    if freedom is None:
        tail = special.ndtr(-steps)
    else:
        held = np.maximum(freedom, 1.0)
        tail = np.where(freedom >= 1, special.stdtr(held, -steps * np.sqrt(held / (held + 1))), 0.5)
    return np.asarray(np.minimum(1, 2 * np.maximum(beyond, tail)))


def _row_intervals(
    values: NDArray[np.float32], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both ends of each row's centred percentile interval; NaN entries do not count."""
    ascending = np.sort(values[:, 1:], axis=1).astype(np.float64)  # NaN last
    n_defined = (~np.isnan(ascending)).sum(1)
    total = np.nansum(ascending, axis=1)
    mean = np.divide(total, n_defined, out=np.full(len(total), np.nan), where=n_defined > 0)
    tail = (1 - confidence) / 2
    low, high = (_quantile(ascending, n_defined, q) for q in (tail, 1 - tail))
    return low - mean + values[:, 0], high - mean + values[:, 0]


def _quantile(
    ascending: NDArray[np.float64], n_defined: NDArray[np.intp], q: float
) -> NDArray[np.float64]:
    at = np.maximum(n_defined - 1, 0) * q
    below = np.floor(at).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(n_defined - 1, 0))
    rows = np.arange(len(ascending))
    low, high = ascending[rows, below], ascending[rows, above]
    return np.where(n_defined > 0, low + (high - low) * (at - below), np.nan)
