"""Areas under many weighted precision-recall curves in compiled code; needs the extra ``fast``.

It does what `weighted_ranking` does with sparse products, about ten times as fast: every step adds
a few rows of the weights, which stay in the processor's cache, and nothing in between is stored.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.compilation import compiled


def areas(
    of: NDArray[np.int64],
    passed: sparse.csr_array,
    hits: sparse.csr_array,
    weights: NDArray[np.float32],
    n_tags: int,
) -> NDArray[np.float64]:
    """Return the average precision of each tag under each weighting.

    Parameters
    ----------
    of, passed, hits, n_tags
        As in `weighted_ranking.RankedPositives`.
    weights : array of shape (n_images + 1, n_weightings), float32
        How often each image counts; the last row is the sum of all.

    Returns
    -------
    array of shape (n_tags, n_weightings), float64
        NaN where no positive has weight.
    """
    result = np.full((n_tags, weights.shape[1]), np.nan)
    _fill(
        of,
        passed.indptr.astype(np.int64),
        passed.indices.astype(np.int32),
        passed.data,
        hits.indptr.astype(np.int64),
        hits.indices.astype(np.int32),
        hits.data,
        np.ascontiguousarray(weights),
        result,
    )
    return result


@compiled
def _fill(  # type: ignore[no-untyped-def]  # numba infers the types, and mypy knows none of numba
    of, passed_from, passed_at, sign, hits_from, hits_at, many, weights, result
):
    n_weightings = weights.shape[1]
    met = np.zeros(n_weightings)
    found = np.zeros(n_weightings)
    hit = np.zeros(n_weightings)
    area = np.zeros(n_weightings)
    last = len(of) - 1
    for step in range(len(of)):
        if step == 0 or of[step] != of[step - 1]:
            met[:] = 0
            found[:] = 0
            area[:] = 0
        for entry in range(passed_from[step], passed_from[step + 1]):
            factor, row = sign[entry], weights[passed_at[entry]]
            for w in range(n_weightings):
                met[w] += factor * row[w]
        hit[:] = 0
        for entry in range(hits_from[step], hits_from[step + 1]):
            factor, row = many[entry], weights[hits_at[entry]]
            for w in range(n_weightings):
                hit[w] += factor * row[w]
        for w in range(n_weightings):
            found[w] += hit[w]
            # Weights are whole numbers: where less than 1 is met, nothing was hit either.
            area[w] += hit[w] * found[w] / max(met[w], 1.0)
        if step == last or of[step + 1] != of[step]:
            for w in range(n_weightings):
                if found[w] > 0:
                    result[of[step], w] = area[w] / found[w]
