"""What labelled images say about each tag: how common it is, how well each member knows it.

Counts of rare tags are shrunk to those of the category (empirical Bayes), so that a tag with two
positives does not look certain.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import logit as logit_of

from tagstack.base_models.pairs import Pairs
from tagstack.meta.calibrators.calibration import MemberLogits
from tagstack.meta.features.context import log_lift
from tagstack.meta.labels.truth import Evidence, PairTruth

Floats = NDArray[np.float64]

_PSEUDO_POSITIVES = 10.0  # at this many positives a skill is half the tag's own
_PSEUDO_IMAGES = 1.0


@dataclass(frozen=True, kw_only=True)
class TagStatistics:
    """Fitted tables.

    Parameters
    ----------
    prior : array of shape (n_tags,), float64
        Logit of the tag's share of images.
    skill : array of shape (n_members, n_tags), float64
        How far apart a member holds true and false pairs: difference of the mean calibrated
        logits, shrunk to the category's. NaN where the member lacks the tag.
    lift : csr_array of shape (n_tags, n_tags)
        See `tagstack.meta.features.context.log_lift`.
    """

    prior: Floats
    skill: Floats
    lift: sparse.csr_array

    @cached_property
    def heard(self) -> sparse.csc_array:
        """The same by tag: who speaks for it."""
        return sparse.csc_array(self.lift)


def tag_statistics(
    members: MemberLogits,
    pairs: Pairs,
    truth: PairTruth,
    evidence: Evidence,
    category: NDArray[np.int64],
) -> TagStatistics:
    """Return the statistics of labelled images."""
    positives = _positives(pairs, truth)
    mean = positives.sum() / max(evidence.n_known.sum(), 1)
    share = (positives + _PSEUDO_IMAGES * mean) / (evidence.n_known + _PSEUDO_IMAGES)
    skill = [
        _skill(listed, base, pairs, truth, positives, category)
        for listed, base in zip(members.listed, members.base, strict=True)
    ]
    prior = logit_of(np.clip(share, 1e-6, 1 - 1e-6))
    return TagStatistics(prior=prior, skill=np.stack(skill), lift=log_lift(evidence))


def _positives(pairs: Pairs, truth: PairTruth) -> Floats:
    """Return the weighted number of true pairs of each tag, listed or not."""
    weight = np.where(truth.listed, truth.weight, 0.0)
    listed = np.bincount(pairs.tag, weights=weight, minlength=pairs.n_tags)
    return np.asarray(listed + truth.n_true, np.float64)


def _skill(
    listed: Floats,
    base: Floats,
    pairs: Pairs,
    truth: PairTruth,
    positives: Floats,
    category: NDArray[np.int64],
) -> Floats:
    """Return one member's shrunken separation of each tag, NaN for tags it lacks."""
    known = ~np.isnan(base)
    true_mean = _mean(listed, base, pairs, truth.weight * truth.listed, truth.n_true)
    false_mean = _mean(listed, base, pairs, truth.weight * ~truth.listed, truth.n_false)
    separation = true_mean - false_mean
    weight = np.where(known & (positives > 0) & np.isfinite(separation), positives, 0)
    usable = np.where(weight > 0, separation, 0.0)
    total = np.bincount(category, weights=weight)
    centre = np.bincount(category, weights=weight * usable) / np.maximum(total, 1)
    own = weight / (weight + _PSEUDO_POSITIVES)
    shrunk = own * usable + (1 - own) * centre[category]
    return np.where(known, shrunk, np.nan)


def _mean(
    listed: Floats,
    base: Floats,
    pairs: Pairs,
    weight: Floats,
    n_unlisted: NDArray[np.int64],
) -> Floats:
    """Return each tag's mean logit over the weighted listed pairs and its unlisted ones."""
    n_tags = pairs.n_tags
    rows = np.flatnonzero((weight > 0) & ~np.isnan(listed))
    tag, weight = pairs.tag[rows], weight[rows]
    total = np.bincount(tag, weights=weight * listed[rows], minlength=n_tags)
    count = np.bincount(tag, weights=weight, minlength=n_tags) + n_unlisted
    total = total + np.where(n_unlisted > 0, base * n_unlisted, 0.0)
    mean: Floats = np.full(n_tags, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean
