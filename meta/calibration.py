"""Platt calibration of each member, per tag, shrunk to the tag's category and that to all tags.

A member's calibrated logit is ``intercept + slope * logit``, monotone in every tag. A member that
lacks a tag abstains: its calibrated logit is NaN.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Level1Scores, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.meta.newton import TagRows, fit_hierarchy, tag_rows
from tagstack.meta.truth import PairTruth

# A member that is noise on a tag would get slope zero or less: its ranking would be lost or
# turned round by a handful of labels.
_MIN_SLOPE = 0.05


@dataclass(frozen=True, kw_only=True)
class MemberLogits:
    """Every member's logit for every pair, listed and not, after calibration.

    Parameters
    ----------
    listed : array of shape (n_members, n_pairs), float64
        NaN where the member abstains.
    base : array of shape (n_members, n_tags), float64
        The value of a pair that is not listed; NaN where the member lacks the tag.
    """

    listed: NDArray[np.float64]
    base: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PlattCalibration:
    """Fitted intercepts and slopes, arrays of shape (n_members, n_tags), float64."""

    intercept: NDArray[np.float64]
    slope: NDArray[np.float64]

    def apply(self, scores: Level1Scores) -> MemberLogits:
        """Return the calibrated logits of scores with the same members and tags."""
        tag = scores.pairs.tag
        listed = self.intercept[:, tag] + self.slope[:, tag] * scores.logit
        base = self.intercept + self.slope * scores.floor[:, None].astype(np.float64)
        return MemberLogits(listed=listed, base=np.where(scores.knows, base, np.nan))


def category_numbers(vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Return the category of each tag as a number, in the order of the categories' names."""
    _, numbers = np.unique(np.array(vocabulary.categories, dtype=str), return_inverse=True)
    return numbers.astype(np.int64)


def fit_platt(scores: Level1Scores, truth: PairTruth, strength: float) -> PlattCalibration:
    """Return the calibration of every member, fitted on these scores and labels.

    Parameters
    ----------
    scores : Level1Scores
    truth : PairTruth
    strength : float, positive
        Precision of a tag's coefficients round those of its category.

    References
    ----------
    Platt (1999), "Probabilistic outputs for support vector machines".
    """
    category = category_numbers(scores.vocabulary)
    fitted = [_fit_member(scores, m, truth, category, strength) for m in range(len(scores.members))]
    theta = np.stack(fitted)
    return PlattCalibration(intercept=theta[:, :, 0], slope=theta[:, :, 1])


def fit_monotone(
    listed: NDArray[np.float64],
    base: NDArray[np.float64],
    pairs: Pairs,
    truth: PairTruth,
    category: NDArray[np.int64],
    strength: float,
) -> NDArray[np.float64]:
    """Return intercept and positive slope of each tag, shape (n_tags, 2), for any logits.

    Parameters
    ----------
    listed : array of shape (n_pairs,), float64
        NaN where there is no logit: such rows are left out.
    base : array of shape (n_tags,), float64
    """
    known = ~np.isnan(base)
    rows = regression_rows(listed[None], base[None], pairs, truth, category, known)
    precision = np.full(2, float(strength))
    theta = fit_hierarchy(rows, np.array([0.0, 1.0]), precision)
    theta[:, 1] = np.maximum(theta[:, 1], _MIN_SLOPE)
    return theta


def regression_rows(
    listed: NDArray[np.float64],
    base: NDArray[np.float64],
    pairs: Pairs,
    truth: PairTruth,
    category: NDArray[np.int64],
    known: NDArray[np.bool_],
) -> TagRows:
    """Return one row per listed pair and two weighted rows per tag for its unlisted pairs.

    Parameters
    ----------
    listed : array of shape (n_features, n_pairs), float64
    base : array of shape (n_features, n_tags), float64
    pairs, truth, category
    known : array of shape (n_tags,), bool
        Tags whose rows count; the others get weight 0.
    """
    tags = np.arange(pairs.n_tags)
    tag = np.concatenate([pairs.tag, tags, tags]).astype(np.int64)
    weight = np.concatenate([truth.weight, truth.n_true, truth.n_false]) * known[tag]
    columns = np.concatenate([listed, base, base], axis=1)
    true = np.concatenate([truth.listed, np.ones(len(tags), bool), np.zeros(len(tags), bool)])
    return tag_rows(columns, true, weight, tag, category)


def _fit_member(
    scores: Level1Scores,
    member: int,
    truth: PairTruth,
    category: NDArray[np.int64],
    strength: float,
) -> NDArray[np.float64]:
    floor = np.where(scores.knows[member], np.float64(scores.floor[member]), np.nan)
    listed = scores.logit[member].astype(np.float64)
    return fit_monotone(listed, floor, scores.pairs, truth, category, strength)
