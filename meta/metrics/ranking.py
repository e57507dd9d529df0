"""Average precision on sparse probabilities, by scikit-learn's definition.

Equal probabilities form one step of the curve, so that the order of rows never decides. All
unlisted pairs of a tag share its base value and therefore enter as one such step; nothing dense
is ever made. Reporting metrics at a threshold live in `tagstack.meta.metrics.metrics`.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.meta.labels.truth import pair_labels, unlisted_counts


def average_precision(proba: PairProba, labels: sparse.csr_array) -> NDArray[np.float64]:
    """Return each tag's average precision over all images.

    Parameters
    ----------
    proba : PairProba
    labels : csr_array of shape (n_images, n_tags), bool

    Returns
    -------
    array of shape (n_tags,), float64, in [0, 1]
        NaN for a tag without positives or without probabilities.

    Raises
    ------
    TagstackError
        If the labels have another shape than the probabilities.
    """
    tag, value, count, true = _steps(proba, labels)
    return area_of_steps(tag, value, count, true, proba.pairs.n_tags)


def micro_average_precision(proba: PairProba, labels: sparse.csr_array) -> float:
    """Return the average precision of all (image, tag) pairs ranked together.

    Tags without probabilities (NaN base) are left out, positives included. NaN where no pair
    is positive.

    Raises
    ------
    TagstackError
        If the labels have another shape than the probabilities.
    """
    tag, value, count, true = _steps(proba, labels)
    return float(area_of_steps(np.zeros_like(tag), value, count, true, 1)[0])


def _steps(
    proba: PairProba, labels: sparse.csr_array
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return (tag, value, n_pairs, n_true) of every listed pair and every tag's unlisted rest."""
    listed = pair_labels(proba.pairs, labels)
    n_unlisted, n_true = unlisted_counts(proba.pairs, listed, labels)
    tag = np.concatenate([proba.pairs.tag, np.arange(proba.pairs.n_tags)]).astype(np.int64)
    value = np.concatenate([proba.proba, proba.base])
    count = np.concatenate([np.ones(len(listed), np.int64), n_unlisted])
    true = np.concatenate([listed.astype(np.int64), n_true])
    kept = ~np.isnan(proba.base)[tag] & (count > 0)
    return tag[kept], value[kept], count[kept], true[kept]


def area_of_steps(
    tag: NDArray[np.int64],
    value: NDArray[np.float32],
    count: NDArray[np.int64],
    true: NDArray[np.int64],
    n_tags: int,
) -> NDArray[np.float64]:
    """Return the area under each tag's precision-recall steps, NaN without positives.

    Parameters
    ----------
    tag : array of shape (n_steps,), int64, in [0, n_tags)
        Or any other number that keeps rankings apart, such as fold and tag in one.
    value : array of shape (n_steps,), float32, not negative
        Equal values of a tag become one step.
    count, true : arrays of shape (n_steps,), int64
        How many pairs have that value, and how many of them are true.
    n_tags : int

    Returns
    -------
    array of shape (n_tags,), float64
    """
    key = _descending_key(tag, value)
    order = np.argsort(key)
    key, tag = key[order], tag[order]
    starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]][: len(key)])
    if not len(starts):
        return np.full(n_tags, np.nan)
    tag = tag[starts]
    step_true = np.add.reduceat(true[order], starts)
    step_count = np.add.reduceat(count[order], starts)
    precision = _running(step_true, tag) / _running(step_count, tag)
    area = np.bincount(tag, weights=step_true * precision, minlength=n_tags)
    total = np.bincount(tag, weights=step_true, minlength=n_tags)
    relative: NDArray[np.float64] = np.full(n_tags, np.nan)
    np.divide(area, total, out=relative, where=total > 0)
    return relative


def _descending_key(tag: NDArray[np.int64], value: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return one integer per row that sorts by tag, then by falling value.

    The bits of a non-negative float order like the float itself; adding 0.0 turns -0.0 to 0.0.
    """
    bits = (value.astype(np.float32) + np.float32(0.0)).view(np.uint32)
    falling = np.uint64(0xFFFFFFFF) - bits.astype(np.uint64)
    return (tag.astype(np.uint64) << np.uint64(32)) | falling


def _running(counts: NDArray[np.int64], tag: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the running sum of counts that starts anew with each tag."""
    total = np.cumsum(counts)
    first = np.flatnonzero(np.r_[True, tag[1:] != tag[:-1]])
    before = total[first] - counts[first]
    lengths = np.diff(np.r_[first, len(tag)])
    running: NDArray[np.int64] = total - np.repeat(before, lengths)
    return running
