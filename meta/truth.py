"""Labels seen through sparse pairs: which listed pairs are true, and what the unlisted ones hold.

The (image, tag) pairs that no member scored above its floor are never listed. They still count:
most are negatives, a few are positives that every member missed.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import Pairs
from tagstack.configs.errors import TagstackError


def pair_labels(pairs: Pairs, labels: sparse.csr_array) -> NDArray[np.bool_]:
    """Return whether each listed pair is labelled true.

    Parameters
    ----------
    pairs : Pairs
    labels : csr_array of shape (n_images, n_tags), bool

    Returns
    -------
    array of shape (n_pairs,), bool

    Raises
    ------
    TagstackError
        If the labels have another shape than the pairs.
    """
    expected = (pairs.n_images, pairs.n_tags)
    if labels.shape != expected:
        msg = f"labels must have shape {expected} to match the scores, got {labels.shape}."
        raise TagstackError(msg)
    true = labels.tocoo()
    held = true.data.astype(bool)
    true_keys = _keys(true.coords[0][held], true.coords[1][held], pairs.n_tags)
    return np.isin(_keys(pairs.image, pairs.tag, pairs.n_tags), true_keys)


def positives_per_tag(labels: sparse.csr_array) -> NDArray[np.int64]:
    """Return how many images carry each tag, shape (n_tags,), int64."""
    counts = labels.astype(bool).sum(axis=0)
    return np.asarray(counts, dtype=np.int64).ravel()


def unlisted_counts(
    pairs: Pairs, listed: NDArray[np.bool_], labels: sparse.csr_array
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many unlisted pairs each tag has, and how many of them are true.

    Parameters
    ----------
    pairs : Pairs
    listed : array of shape (n_pairs,), bool
        What `pair_labels` returned for these pairs.
    labels : csr_array of shape (n_images, n_tags), bool

    Returns
    -------
    n_unlisted, n_true : arrays of shape (n_tags,), int64
    """
    n_listed = np.bincount(pairs.tag, minlength=pairs.n_tags)
    n_true_listed = np.bincount(pairs.tag[listed], minlength=pairs.n_tags)
    return pairs.n_images - n_listed, positives_per_tag(labels) - n_true_listed


def _keys(image: NDArray[np.int32], tag: NDArray[np.int32], n_tags: int) -> NDArray[np.int64]:
    keys: NDArray[np.int64] = image.astype(np.int64) * n_tags + tag
    return keys
