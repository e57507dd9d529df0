"""How far the members err together: what a stack can gain from them at all.

Members that are right and wrong on the same pairs add nothing to each other, however good each is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.pairs import Level1Scores
from tagstack.meta.groundwork import Ground
from tagstack.meta.influence import Rankings, expected_f1_cuts
from tagstack.meta.truth import PairTruth

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Diversity:
    """Measures of every pair of members, over the candidate pairs that both know.

    Parameters
    ----------
    members : tuple of str
    disagreement : array of shape (n_members, n_members), float64, in [0, 1]
        Share of the pairs on which exactly one of the two is right; 0 on the diagonal.
    q_statistic : array of shape (n_members, n_members), float64, in [-1, 1]
        1: right and wrong together; 0: independent; below 0: where one errs, the other is right.
        NaN where undefined, as for two members that never err.
    """

    members: tuple[str, ...]
    disagreement: Floats
    q_statistic: Floats


def diversity(ground: Ground, scores: Level1Scores, truth: PairTruth) -> Diversity:
    """Return the diversity of the members' out-of-fold decisions.

    Each member tags what reaches its own plug-in threshold for the tag. Only pairs that some
    member makes plausible are looked at: on all others every member is right.

    Parameters
    ----------
    ground : Ground
        Cross-fitted: calibrated logits of images that the calibration did not see.
    scores : Level1Scores
    truth : PairTruth

    References
    ----------
    Kuncheva & Whitaker (2003), "Measures of diversity in classifier ensembles and their
    relationship with the ensemble accuracy".
    """
    rows = ground.rows[truth.known[ground.rows]]
    tag, true = scores.pairs.tag[rows].astype(np.int64), truth.listed[rows]
    members = ground.members
    n = len(scores.members)
    right = np.empty((n, len(rows)), bool)
    for m in range(n):
        cuts = _cuts(expit(members.listed[m]), expit(members.base[m]), scores)
        with np.errstate(invalid="ignore"):  # an abstaining member tags nothing
            right[m] = (expit(members.listed[m, rows]) >= cuts[tag]) == true
    known = scores.knows[:, tag]
    tables = np.array([[_table(right, known, a, b) for b in range(n)] for a in range(n)])
    return Diversity(
        members=scores.members,
        disagreement=_share(tables[..., 0, 1] + tables[..., 1, 0], tables.sum(axis=(-1, -2))),
        q_statistic=_q_statistic(tables),
    )


def _cuts(listed: Floats, base: Floats, scores: Level1Scores) -> Floats:
    """Return one member's threshold of each tag, shape (n_tags,)."""
    pairs, n_tags = scores.pairs, scores.pairs.n_tags
    n_unlisted = pairs.n_images - np.bincount(pairs.tag, minlength=n_tags)
    value = np.concatenate([listed, base]).astype(np.float32)
    count = np.concatenate([np.ones(len(pairs), np.int64), n_unlisted])
    none = np.zeros(len(value), np.int64)
    rankings = Rankings(
        key=np.concatenate([pairs.tag, np.arange(n_tags)]).astype(np.int64),
        value=value,
        count=count,
        true=none,
        n_true=np.zeros(n_tags, np.int64),
    )
    return expected_f1_cuts(rankings, ~np.isnan(value) & (count > 0))


def _table(right: NDArray[np.bool_], known: NDArray[np.bool_], a: int, b: int) -> Floats:
    """Return how many pairs both err on, one, the other, none: array of shape (2, 2)."""
    both = known[a] & known[b]
    index = 2 * right[a, both] + right[b, both]
    return np.bincount(index, minlength=4).reshape(2, 2).astype(np.float64)


def _q_statistic(tables: Floats) -> Floats:
    together = tables[..., 1, 1] * tables[..., 0, 0]
    apart = tables[..., 0, 1] * tables[..., 1, 0]
    return _share(together - apart, together + apart)


def _share(part: Floats, whole: Floats) -> Floats:
    share: Floats = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share
