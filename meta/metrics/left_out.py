"""Pairs whose label nobody knows: they count neither for nor against any rung.

Such a pair is listed with the value `LEFT_OUT`, which no probability has. Every judgement of this
room skips it: it is neither met in a ranking nor binned, and no decision or label stands there.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.meta.metrics.counts import canonical

LEFT_OUT = np.float32(-1)


def without(proba: PairProba, unknown: sparse.csr_array) -> PairProba:
    """Return the probabilities with some pairs taken out of the judgement.

    Parameters
    ----------
    proba : PairProba
    unknown : csr_array of shape (n_images, n_tags), bool
        Pairs to take out, listed so far or not.

    Returns
    -------
    PairProba
        With every pair of ``unknown`` listed, its value `LEFT_OUT`.

    Raises
    ------
    TagstackError
        If the shapes differ.
    """
    pairs = proba.pairs
    unknown = canonical(unknown, (pairs.n_images, pairs.n_tags))
    row = np.repeat(np.arange(pairs.n_images, dtype=np.int64), np.diff(unknown.indptr))
    out = row * pairs.n_tags + unknown.indices
    key = pairs.keys()
    kept = ~np.isin(key, out)
    every = np.concatenate([key[kept], out])
    value = np.concatenate([proba.proba[kept], np.full(len(out), LEFT_OUT)])
    order = np.argsort(every)
    counts = np.bincount(every // pairs.n_tags, minlength=pairs.n_images)
    listed = Pairs(
        indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        tag=(every[order] % pairs.n_tags).astype(np.int32),
        n_tags=pairs.n_tags,
    )
    return PairProba(pairs=listed, proba=value[order].astype(np.float32), base=proba.base)


def is_left_out(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which values mark a pair that is left out; NaN does not.

    Of the shape of ``values``.
    """
    return np.asarray(values == LEFT_OUT)
