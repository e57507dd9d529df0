"""Per-tag tests of two sets of decisions, and what remains after testing thousands of tags.

The test asks whether the images on which exactly one of two rungs is right favour one of them. It
treats images as independent; near-duplicates in the test set make it too sure, which the bootstrap
over groups is not.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats

from tagstack.ensemble.comparison.bootstrap import BETTER, UNDECIDED, WORSE
from tagstack.ensemble.comparison.metrics import canonical

# Of five discordant images not even all five on one side give p < 0.05: 2 * 0.5**5 = 0.0625.
_FEWEST_DISCORDANT = 6


@dataclass(frozen=True, kw_only=True)
class TagTests:
    """The outcome for every tag of "ours" against "theirs".

    Parameters
    ----------
    only_ours, only_theirs : array of shape (n_tags,), int64
        Images on which only that rung is right about the tag.
    p_value : array of shape (n_tags,), float64
        Exact two-sided McNemar test; NaN for tags with fewer than six discordant images, which
        could not reach 0.05 and are not tested.
    q_value : array of shape (n_tags,), float64
        Benjamini-Hochberg adjusted over the tested tags, NaN as above.
    verdict : tuple of str
        ``better``, ``worse`` or ``no significant difference``.
    """

    only_ours: NDArray[np.int64]
    only_theirs: NDArray[np.int64]
    p_value: NDArray[np.float64]
    q_value: NDArray[np.float64]
    verdict: tuple[str, ...]


def compare_tags(
    ours: sparse.csr_array,
    theirs: sparse.csr_array,
    labels: sparse.csr_array,
    *,
    false_discovery_rate: float,
) -> TagTests:
    """Return exact McNemar tests per tag, adjusted for testing many tags.

    Parameters
    ----------
    ours, theirs, labels : csr_array of shape (n_images, n_tags), bool
    false_discovery_rate : float, in (0, 1)

    References
    ----------
    McNemar (1947), "Note on the sampling error of the difference between correlated proportions";
    Benjamini & Hochberg (1995), "Controlling the false discovery rate".
    """
    only_ours, only_theirs = _discordant(ours, theirs, labels)
    discordant = only_ours + only_theirs
    tested = discordant >= _FEWEST_DISCORDANT
    p_value = np.full(len(discordant), np.nan)
    fewer = np.minimum(only_ours, only_theirs)[tested]
    p_value[tested] = np.minimum(1, 2 * stats.binom.cdf(fewer, discordant[tested], 0.5))
    q_value = np.full(len(discordant), np.nan)
    if tested.any():
        q_value[tested] = stats.false_discovery_control(p_value[tested])
    found = np.nan_to_num(q_value, nan=1.0) <= false_discovery_rate
    verdict = np.where(found, np.where(only_ours > only_theirs, BETTER, WORSE), UNDECIDED)
    return TagTests(
        only_ours=only_ours,
        only_theirs=only_theirs,
        p_value=p_value,
        q_value=q_value,
        verdict=tuple(map(str, verdict)),
    )


def _discordant(
    ours: sparse.csr_array, theirs: sparse.csr_array, labels: sparse.csr_array
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return per tag on how many images only ours, and only theirs, agrees with the label."""
    # int8 so that a difference of two decisions has a sign; exactly one of the two is then right.
    signed = canonical(ours, labels.shape).astype(np.int8) - canonical(theirs).astype(np.int8)
    signed = sparse.csc_array(signed)
    signed.eliminate_zeros()
    true = sparse.csc_array(canonical(labels), dtype=np.int8)
    # +1 on a true pair and -1 on a false pair are in our favour.
    on_true = sparse.csc_array(signed.multiply(true))
    ours_up, theirs_up = _signs(signed)
    ours_true, theirs_true = _signs(on_true)
    return ours_true + theirs_up - theirs_true, theirs_true + ours_up - ours_true


def _signs(matrix: sparse.csc_array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many entries of each column are above and below 0."""
    column = np.repeat(np.arange(matrix.shape[1]), np.diff(matrix.indptr))
    return (
        np.bincount(column[matrix.data > 0], minlength=matrix.shape[1]).astype(np.int64),
        np.bincount(column[matrix.data < 0], minlength=matrix.shape[1]).astype(np.int64),
    )
