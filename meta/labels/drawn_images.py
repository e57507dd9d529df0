"""Whole images drawn by a seed, where looking at all of them would buy nothing."""

import numpy as np
from numpy.typing import NDArray


def drawn_images(counts: NDArray[np.integer], max_pairs: int, seed: int) -> NDArray[np.int64]:
    """Return ascending images that hold at most about ``max_pairs`` pairs; all if they do.

    Parameters
    ----------
    counts : array of shape (n_images,), integer
        Pairs of each image.
    max_pairs : int, positive
    seed : int

    Returns
    -------
    array of shape (n_drawn,), int64
        At least one image.
    """
    if counts.sum() <= max_pairs:
        return np.arange(len(counts))
    order = np.random.default_rng(seed).permutation(len(counts))
    n_drawn = int(np.searchsorted(np.cumsum(counts[order]), max_pairs, side="right"))
    return np.sort(order[: max(1, n_drawn)])
