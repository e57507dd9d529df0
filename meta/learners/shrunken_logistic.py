"""The shrunken logistic: one weight per member and tag, held to the category's and to all tags'.

The workhorse. Every pair has its probability, also the pairs that the tree learners never see,
and a tag with few positives falls back to the weights that serve its category.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.pairs import Pairs
from tagstack.meta.calibrators.calibration import MemberLogits, regression_rows
from tagstack.meta.calibrators.newton import fit_hierarchy
from tagstack.meta.calibrators.tag_rows import TagRows
from tagstack.meta.features.pair_rows import informative_rows
from tagstack.meta.labels.truth import PairTruth

Floats = NDArray[np.float64]

MANY = 300_000  # listed pairs from which on those that the members' mean foresees are thinned


@dataclass(frozen=True, kw_only=True)
class ShrunkenLogistic:
    """Fitted coefficients: intercept, then one weight per member; shape (n_tags, 1 + n_members)."""

    theta: Floats

    def apply(self, members: MemberLogits, pairs: Pairs) -> tuple[Floats, Floats]:
        """Return the logits of the listed pairs (n_pairs,) and of unlisted ones (n_tags,)."""
        return self.listed(members.listed, pairs.tag), self.base(members.base)

    def listed(self, members: NDArray[np.floating], tag: NDArray[np.int32]) -> Floats:
        """Return the logits of pairs from the members' calibrated ones, shape (n_pairs,)."""
        logit: Floats = self.theta[tag, 0]
        for m, filled in enumerate(filled_in(members), 1):
            logit += self.theta[tag, m] * filled
        return logit

    def base(self, members: Floats) -> Floats:
        """Return the logits of unlisted pairs from the members' own, shape (n_tags,)."""
        return self.listed(members, np.arange(len(self.theta), dtype=np.int32))


def logistic_rows(
    members: MemberLogits, pairs: Pairs, truth: PairTruth, category: NDArray[np.int64]
) -> TagRows:
    """Return what the coefficients are fitted on, the same for every strength."""
    filled = filled_in(members.listed)
    rows, weight = drawn_rows(expit(filled.mean(axis=0)), truth.listed, truth.weight)
    fewer = replace(truth, listed=truth.listed[rows], known=truth.known[rows], weight=weight)
    return rows_of(filled[:, rows], members.base, pairs.tag[rows], fewer, category)


def drawn_rows(
    pilot: NDArray[np.floating], true: NDArray[np.bool_], weight: NDArray[np.floating]
) -> tuple[NDArray[np.int64], Floats]:
    """Return the listed pairs that are fitted on, and their weights.

    All that count, if there are not too many; else those are thinned that the members foresee.

    Parameters
    ----------
    pilot : array of shape (n_pairs,), floating
        Probability that the members' mean logit gives.
    true, weight : arrays of shape (n_pairs,)
    """
    return informative_rows(pilot, true, weight, MANY, seed=0)


def rows_of(
    filled: Floats,
    base: Floats,
    tag: NDArray[np.int32],
    truth: PairTruth,
    category: NDArray[np.int64],
) -> TagRows:
    """Return what the coefficients are fitted on, from listed pairs that were drawn.

    Parameters
    ----------
    filled : array of shape (n_members, n_drawn), float64
        As `filled_in` returns it.
    base : array of shape (n_members, n_tags), float64
    tag : array of shape (n_drawn,), int32
    truth : PairTruth
        Of the drawn pairs.
    category : array of shape (n_tags,), int64
    """
    known = np.logical_not(np.isnan(base).all(axis=0))
    return regression_rows(filled, filled_in(base), tag, truth, category, known)


def rows_of_some(rows: TagRows, members: Sequence[int]) -> TagRows:
    """Return the rows of some members, from rows whose columns are all members' as they are.

    They are sorted already, and stay so; those of tags that none of them knows are left out.

    Parameters
    ----------
    rows : TagRows
        NaN where a member abstains.
    members : sequence of int
    """
    said = rows.design[1 + np.array(members)]
    known = ~np.isnan(said).all(axis=0)
    found = replace(rows, design=np.concatenate([rows.design[:1], filled_in(said)]))
    return found if known.all() else found.only(known)


def fit_on_rows(rows: TagRows, strength: float) -> ShrunkenLogistic:
    """Return the coefficients of all tags, fitted on what `logistic_rows` returned."""
    n_members = len(rows.design) - 1
    prior = np.concatenate([[0.0], np.full(n_members, 1.0 / n_members)])
    precision = np.full(1 + n_members, float(strength))
    return ShrunkenLogistic(theta=fit_hierarchy(rows, prior, precision))


def filled_in(logit: NDArray[np.floating]) -> Floats:
    """Return logits of shape (n_members, n) with abstentions as the mean of those who know.

    So an abstaining member's weight goes to the others, in proportion. 0 where nobody knows.
    """
    logit = np.asarray(logit, np.float64)
    known = ~np.isnan(logit)
    count = known.sum(axis=0)
    mean = np.where(known, logit, 0.0).sum(axis=0) / np.maximum(count, 1)
    return np.where(known, logit, mean)
