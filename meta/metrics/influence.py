"""How much each row of many rankings moves their average precision and F1.

The influence of a row is the derivative of the score by the row's weight, at weight one. Summed
over the rows of a group of images it says what the score owes to that group, and from there how
sure a difference of two scores is, exactly, in one pass and without drawing resamples.

References
----------
Efron (1982), "The jackknife, the bootstrap and other resampling plans" (infinitesimal jackknife).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.meta.metrics.count_metrics import CountMetric
from tagstack.meta.metrics.counts import Counts
from tagstack.meta.metrics.ranking import Rankings, curve_of, from_here, so_far, worth_compiling

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_STEP = 1e-4  # of a pair: far above rounding, far below one pair


def average_precision_influence(rankings: Rankings) -> tuple[Floats, Floats]:
    """Return each ranking's average precision and its derivative by each row's weight.

    Returns
    -------
    area : array of shape (n_keys,), float64
        NaN without true pairs.
    influence : array of shape (n_rows,), float64
        Per pair of the row; rows of several pairs must be all true or all false. Summed over all
        pairs of a ranking, with those never found, it is 0: a score does not know how many
        images there are.
    """
    if worth_compiling(len(rankings.key)):
        from tagstack.meta.metrics.compiled_rankings import influences

        r = rankings
        return influences(r.by_value(), r.key, r.value, r.count, r.true, r.n_true)
    curve = curve_of(rankings)
    steps = curve.true / np.maximum(curve.n_above, 1)
    rest_true = from_here(steps, curve.key)
    rest_both = from_here(steps * curve.precision, curve.key)
    # Rows of one step share what a true and what any pair does there.
    n_true = rankings.n_true[curve.key]
    per_true = np.where(n_true > 0, 1.0 / np.maximum(n_true, 1), 0.0)
    area = np.nan_to_num(curve.area)[curve.key]
    of_true = (curve.precision + rest_true - area) * per_true
    of_any = rest_both * per_true
    influence = np.where(rankings.true > 0, of_true[curve.step], 0.0) - of_any[curve.step]
    return curve.area, influence


def f1(rankings: Rankings, tagged: NDArray[np.bool_]) -> Floats:
    """Return each ranking's F1 when the rows ``tagged`` are; NaN without true pairs.

    Shape (n_rankings,).
    """
    return _counts(rankings, tagged).f_beta(1.0)


def f1_influence(rankings: Rankings, tagged: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return each ranking's F1 and its derivative by each row's weight; see above.

    Shapes (n_rankings,) and (n_rows,).
    """
    counts = _counts(rankings, tagged)
    score, asked = counts.f_beta(1.0), counts.predicted + counts.positives
    key, positive = rankings.key, rankings.true > 0
    pull = 2.0 * (tagged & positive) - np.nan_to_num(score)[key] * (tagged * 1.0 + positive)
    influence = pull / np.maximum(asked, 1)[key]
    return score, np.where(rankings.n_true[key] > 0, influence, 0.0)


def expected_f1_cuts(rankings: Rankings, seen: NDArray[np.bool_]) -> Floats:
    """Return each ranking's cut ``F* / 2``, from the probabilities of the rows ``seen`` alone.

    F* is the highest F1 that calibrated probabilities lead to expect; no label is read.

    Returns
    -------
    array of shape (n_keys,), float64
        Infinite for a ranking without a row.

    References
    ----------
    Lipton, Elkan & Naryanaswamy (2014), "Optimal thresholding of classifiers to maximize F1
    measure".
    """
    order = rankings.descending()
    order = order[seen[order]]
    key, count = rankings.key[order], rankings.count[order].astype(np.float64)
    mass = rankings.value[order].astype(np.float64) * count
    total = np.bincount(key, weights=mass, minlength=len(rankings.n_true))
    expected = 2 * so_far(mass, key) / np.maximum(so_far(count, key) + total[key], 1e-12)
    best = np.zeros(len(rankings.n_true))
    np.maximum.at(best, key, expected)
    return np.where(best > 0, best / 2, np.inf)


def expected_cuts(
    rankings: Rankings, seen: NDArray[np.bool_], metric: CountMetric, n_pairs: Ints
) -> Floats:
    """Return each ranking's cut with the highest metric that probabilities lead to expect.

    Shape (n_keys,), float64; infinite where no cut is expected to be better than none. No label is
    read.

    Parameters
    ----------
    rankings : Rankings
    seen : array of shape (n_rows,), bool
        The rows whose probabilities are looked at.
    metric : CountMetric
    n_pairs : array of shape (n_keys,), int64
        How many pairs those are of, unlisted ones included.
    """
    order = rankings.descending()
    order = order[seen[order]]
    key, count = rankings.key[order], rankings.count[order].astype(np.float64)
    mass = rankings.value[order].astype(np.float64) * count
    total = np.bincount(key, weights=mass, minlength=len(rankings.n_true))
    right: NDArray[Any] = so_far(mass, key)
    met: NDArray[Any] = so_far(rankings.count[order], key)
    expected = Counts(hits=right, predicted=met, positives=total[key])
    none = Counts(hits=0 * total, predicted=0 * total, positives=total)
    gain = metric(expected, n_pairs[key]) - np.nan_to_num(metric(none, n_pairs))[key]
    best = np.zeros(len(total))
    np.fmax.at(best, key, gain)
    at = np.flatnonzero((gain == best[key]) & (gain > 0))
    cuts = np.full(len(total), np.inf)
    np.fmin.at(cuts, key[at], rankings.value[order][at])
    return cuts


def metric_influence(
    rankings: Rankings, tagged: NDArray[np.bool_], metric: CountMetric, n_pairs: Ints
) -> tuple[Floats, Floats]:
    """Return each ranking's metric, and its derivative by each row's weight.

    Shapes (n_rankings,) and (n_rows,); the derivative is by differences.

    Parameters
    ----------
    rankings : Rankings
    tagged : array of shape (n_rows,), bool
    metric : CountMetric
    n_pairs : array of shape (n_rankings,), int64
        How many pairs each has, unlisted ones included.
    """
    counts = _counts(rankings, tagged)
    value, rows = metric(counts, n_pairs), (rankings.true > 0) + 2 * tagged
    influence = np.zeros(len(tagged))
    for kind in range(4):  # a false or true row, left out or tagged
        true, given = kind % 2, kind // 2
        moved: list[NDArray[Any]] = [
            count + _STEP * step
            for count, step in (
                (counts.hits, true and given),
                (counts.predicted, given),
                (counts.positives, true),
            )
        ]
        more = Counts(hits=moved[0], predicted=moved[1], positives=moved[2])
        slope = (metric(more, n_pairs + _STEP) - value) / _STEP
        influence = np.where(rows == kind, np.nan_to_num(slope)[rankings.key], influence)
    return value, np.where(rankings.n_true[rankings.key] > 0, influence, 0.0)


def _counts(rankings: Rankings, tagged: NDArray[np.bool_]) -> Counts:
    """Return what tagging these rows would do in each ranking."""
    size = len(rankings.n_true)
    return Counts(
        hits=_total(rankings.true * tagged, rankings.key, size),
        predicted=_total(rankings.count * tagged, rankings.key, size),
        positives=rankings.n_true,
    )


def _total(values: Ints, key: Ints, size: int) -> Ints:
    return np.bincount(key, weights=values, minlength=size).astype(np.int64)
