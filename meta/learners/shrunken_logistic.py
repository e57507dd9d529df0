"""The shrunken logistic: one weight per member and tag, held to the category's and to all tags'.

The workhorse. Every pair has its probability, also the pairs that the tree learners never see,
and a tag with few positives falls back to the weights that serve its category.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.pairs import Pairs
from tagstack.meta.calibrators.calibration import MemberLogits, regression_rows
from tagstack.meta.calibrators.newton import TagRows, fit_hierarchy
from tagstack.meta.features.pair_features import informative_rows, subset
from tagstack.meta.labels.truth import PairTruth

Floats = NDArray[np.float64]

_MANY = 300_000  # listed pairs from which on those that the members' mean foresees are thinned


@dataclass(frozen=True, kw_only=True)
class ShrunkenLogistic:
    """Fitted coefficients: intercept, then one weight per member; shape (n_tags, 1 + n_members)."""

    theta: Floats

    def apply(self, members: MemberLogits, pairs: Pairs) -> tuple[Floats, Floats]:
        """Return the logits of the listed pairs (n_pairs,) and of unlisted ones (n_tags,)."""
        listed = self.theta[pairs.tag, 0].copy()
        base = self.theta[:, 0].copy()
        filled, filled_base = filled_in(members.listed), filled_in(members.base)
        for m in range(len(filled)):
            listed += self.theta[pairs.tag, 1 + m] * filled[m]
            base += self.theta[:, 1 + m] * filled_base[m]
        return listed, base


def fit_shrunken_logistic(
    members: MemberLogits,
    pairs: Pairs,
    truth: PairTruth,
    category: NDArray[np.int64],
    strength: float,
) -> ShrunkenLogistic:
    """Return the coefficients of all tags, fitted at once.

    Parameters
    ----------
    members : MemberLogits
        Calibrated logits.
    pairs, truth, category
    strength : float, positive
        Precision of a tag's weights round those of its category.
    """
    return fit_on_rows(logistic_rows(members, pairs, truth, category), strength)


def logistic_rows(
    members: MemberLogits, pairs: Pairs, truth: PairTruth, category: NDArray[np.int64]
) -> TagRows:
    """Return what the coefficients are fitted on, the same for every strength."""
    known = np.logical_not(np.isnan(members.base).all(axis=0))
    listed, pairs, truth = _thinned(filled_in(members.listed), pairs, truth)
    return regression_rows(listed, filled_in(members.base), pairs, truth, category, known)


def fit_on_rows(rows: TagRows, strength: float) -> ShrunkenLogistic:
    """Return the coefficients of all tags, fitted on what `logistic_rows` returned."""
    n_members = len(rows.design) - 1
    prior = np.concatenate([[0.0], np.full(n_members, 1.0 / n_members)])
    precision = np.full(1 + n_members, float(strength))
    return ShrunkenLogistic(theta=fit_hierarchy(rows, prior, precision))


def _thinned(logit: Floats, pairs: Pairs, truth: PairTruth) -> tuple[Floats, Pairs, PairTruth]:
    """Return the listed pairs that are fitted on, as they are if there are not too many."""
    if len(pairs) <= _MANY:
        return logit, pairs, truth
    pilot = expit(logit.mean(axis=0))
    rows, weight = informative_rows(pilot, truth.listed, truth.weight, _MANY, seed=0)
    fewer = replace(truth, listed=truth.listed[rows], known=truth.known[rows], weight=weight)
    return logit[:, rows], subset(pairs, rows), fewer


def filled_in(logit: Floats) -> Floats:
    """Return logits of shape (n_members, n) with abstentions as the mean of those who know.

    So an abstaining member's weight goes to the others, in proportion. 0 where nobody knows.
    """
    known = ~np.isnan(logit)
    count = known.sum(axis=0)
    mean = np.where(known, logit, 0.0).sum(axis=0) / np.maximum(count, 1)
    return np.where(known, logit, mean)
