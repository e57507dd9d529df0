"""Candidate pairs: the (image, tag) pairs that any member makes plausible.

Trees see only these, so their cost follows the plausible tags of an image and not the
vocabulary. The rule reads nothing but the image's own calibrated logits; true tags that no
member makes plausible are not added for fitting, or fit and prediction would differ.
"""

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Pairs
from tagstack.meta.calibration import MemberLogits


def candidate_rows(
    members: MemberLogits, pairs: Pairs, *, per_image: int, min_logit: float
) -> NDArray[np.int64]:
    """Return the positions of the candidate pairs, ascending.

    Parameters
    ----------
    members : MemberLogits
        Calibrated logits of ``pairs``.
    pairs : Pairs
    per_image : int
        At most this many pairs of an image, the most plausible ones; of equals the lower tag.
    min_logit : float
        A pair is plausible if a member's calibrated logit reaches this.

    Returns
    -------
    array of shape (n_candidates,), int64
    """
    best = np.fmax.reduce(members.listed, axis=0)
    plausible = np.flatnonzero(best >= min_logit)
    image = pairs.image[plausible]
    order = plausible[np.lexsort((-best[plausible], image))]
    first = np.searchsorted(pairs.image[order], pairs.image[order])
    return np.sort(order[np.arange(len(order)) - first < per_image])


def subset(pairs: Pairs, rows: NDArray[np.int64]) -> Pairs:
    """Return the pairs at the positions ``rows`` (ascending), images kept as they are."""
    counts = np.bincount(pairs.image[rows], minlength=pairs.n_images)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Pairs(indptr=indptr, tag=pairs.tag[rows], n_tags=pairs.n_tags)


def recall(rows: NDArray[np.int64], listed: NDArray[np.bool_], n_true: int) -> float:
    """Return the share of all ``n_true`` true pairs that are candidates; NaN without any."""
    return float(listed[rows].sum() / n_true) if n_true else float("nan")
