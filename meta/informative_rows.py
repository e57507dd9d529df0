"""Fewer rows that say as much: those whose outcome a pilot model did not foresee.

Most candidate pairs are negatives that any model gets right. They are thinned and the rest counted
up, so that sums over the rows keep their expectation and the cost of a fit stops growing with the
images. No row that is kept by certainty changes its weight.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_AT_RANDOM = 0.25  # part of the rows that is drawn whatever the pilot says: bounds the weights


def informative_rows(
    proba: Floats, true: NDArray[np.bool_], weight: Floats, n_rows: int, seed: int
) -> tuple[NDArray[np.int64], Floats]:
    """Return about ``n_rows`` rows, ascending, and their new weights.

    Rows of weight 0 are left out. With as many rows as asked for or fewer, all others are kept
    with their weights.

    Parameters
    ----------
    proba : array of shape (n,), float64, in [0, 1]
        What a pilot model says, best one that was fitted on other images.
    true : array of shape (n,), bool
    weight : array of shape (n,), float64, not negative
    n_rows : int, positive
    seed : int
        Where the systematic draw starts.

    Returns
    -------
    rows : array of shape (n_kept,), int64
    weight : array of shape (n_kept,), float64, positive

    References
    ----------
    Fithian & Hastie (2014), "Local case-control sampling: efficient subsampling in imbalanced data
    sets"; here with weights by inverse chance (Horvitz & Thompson 1952) instead of an offset, and
    some rows at random (Hesterberg 1995, defensive mixtures).
    """
    counted = np.flatnonzero(weight > 0)
    if len(counted) <= n_rows:
        return counted, weight[counted]
    surprise = np.abs(true[counted] - proba[counted]) * weight[counted]
    foreseen = weight[counted] * (surprise.sum() / weight[counted].sum() + 1e-12)
    chance = _chances((1 - _AT_RANDOM) * surprise + _AT_RANDOM * foreseen, n_rows)
    # Systematic: evenly spaced over the rows, so every image and every tag gives its share.
    place = np.floor(np.cumsum(chance) + np.random.default_rng(seed).random())
    drawn = np.flatnonzero((np.diff(place, prepend=0.0) >= 1.0) | (chance >= 1.0))
    return counted[drawn], weight[counted[drawn]] / chance[drawn]


def _chances(surprise: Floats, n_rows: int) -> Floats:
    """Return chances in proportion to ``surprise``, at most 1, that add up to about ``n_rows``."""
    factor = n_rows / surprise.sum()
    for _ in range(20):
        chance = np.minimum(surprise * factor, 1.0)
        total = chance.sum()
        if total > 0.999 * n_rows:
            break
        factor *= n_rows / total
    chances: Floats = np.minimum(surprise * factor, 1.0)
    return chances
