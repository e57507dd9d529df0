"""How far a share seen on some images may be from the share on all: bounds and intervals.

Images are taken as independent; whoever has several of one source (a title, a series) should count
one of each, as :mod:`~tagstack.ensemble.thresholds.certification` does.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv, ndtri

from tagstack.meta.metrics.counts import Counts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bound = Literal["none", "wilson", "clopper_pearson"]


def lower_bound(hits: Ints, trials: Ints, confidence: float, bound: Bound) -> Floats:
    """Return what a share is at least, with this one-sided confidence; 0 without trials.

    Parameters
    ----------
    hits, trials : arrays of one shape, int64, ``0 <= hits <= trials``
    confidence : float, in (0.5, 1)
    bound : {"none", "wilson", "clopper_pearson"}
        "none" is the share itself; Wilson's score bound is right on average; Clopper and
        Pearson's never promises too much.

    References
    ----------
    Wilson (1927), "Probable inference, the law of succession, and statistical inference".
    Clopper & Pearson (1934), "The use of confidence or fiducial limits".
    """
    if bound == "none":
        return np.where(trials > 0, hits / np.maximum(trials, 1), 0.0)
    if bound == "wilson":
        low = _wilson(hits, trials, float(ndtri(confidence)), -1)
    else:
        low = betaincinv(np.maximum(hits, 1), trials - hits + 1, 1 - confidence)
        low = np.where(hits > 0, low, 0.0)
    return np.where(trials > 0, low, 0.0)


def share_interval(hits: Ints, trials: Ints, confidence: float) -> tuple[Floats, Floats]:
    """Return Wilson's two-sided interval of a share; NaN without trials.

    Low and high end, each of the shape of ``hits``.
    """
    z = float(ndtri((1 + confidence) / 2))
    ends = [_wilson(hits, trials, z, side) for side in (-1, 1)]
    low, high = (np.where(trials > 0, end, np.nan) for end in ends)
    return low, high


def f_interval(counts: Counts, beta: float, confidence: float) -> tuple[Floats, Floats]:
    """Return an interval of F-beta; NaN where there is no positive.

    Low and high end, each of the counts' shape.

    Of the images that have the tag or get it, the share of hits is a binomial share; F-beta grows
    with it, so the ends of its Wilson interval give those of F-beta. Where missed and wrong tags
    cost differently, the interval is widened by what their unknown split adds to the variance.
    """
    missed = counts.positives - counts.hits
    wrong = counts.predicted - counts.hits
    union = missed + wrong + counts.hits
    n_errors, b2 = missed + wrong, beta**2
    cost = np.where(n_errors > 0, (b2 * missed + wrong) / np.maximum(n_errors, 1), (b2 + 1) / 2)
    score = np.nan_to_num(counts.f_beta(beta))
    of_hits = counts.hits * ((1 + b2) * (1 - score)) ** 2
    taken = of_hits + n_errors * (cost * score) ** 2
    full = of_hits + (missed * b2**2 + wrong) * score**2
    wider = np.sqrt(np.where(taken > 0, full / np.maximum(taken, 1e-12), 1.0))
    z = float(ndtri((1 + confidence) / 2)) * np.maximum(wider, 1.0)
    ends = []
    for side in (-1, 1):
        share = _wilson(counts.hits, union, z, side)
        hit = (1 + b2) * share
        value = hit / np.maximum(hit + cost * (1 - share), 1e-12)
        ends.append(np.where(counts.positives > 0, value, np.nan))
    return ends[0], ends[1]


def too_good_for(hits: Ints, trials: Ints, target: float) -> Floats:
    """Return the p-value of "the true share is at most ``target``"; 1 without trials.

    Of the shape of ``hits``.

    Exact: the chance of at least so many hits if the share were just ``target``.
    """
    # The binomial tail as an incomplete beta function: scipy.stats takes a second to import.
    tail = betainc(np.maximum(hits, 1), np.maximum(trials - hits, 0) + 1, target)
    return np.asarray(np.where((trials > 0) & (hits > 0), tail, 1.0))


def least_trials(target: float, confidence: float) -> int:
    """Return how many trials without a failure it takes to reject "at most ``target``"."""
    return int(np.ceil(np.log(1 - confidence) / np.log(target)))


def _wilson(hits: Ints, trials: Ints, z: float | Floats, side: int) -> NDArray[np.float64]:
    n = np.maximum(trials, 1)
    share = hits / n
    middle = share + z**2 / (2 * n)
    spread = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.asarray(np.clip((middle + side * spread) / (1 + z**2 / n), 0.0, 1.0))
