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

from tagstack.meta.features.context import log_lift
from tagstack.meta.labels.truth import Evidence

Floats = NDArray[np.float64]

_PSEUDO_POSITIVES = 10.0  # at this many positives a skill is half the tag's own
_PSEUDO_IMAGES = 1.0
_LEAST_WEIGHT = 1e-9


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
        """The same by tag: who speaks for it; shape (n_tags, n_tags)."""
        return sparse.csc_array(self.lift)


class MemberSums:
    """What members say of true and of all pairs of each tag, added up a few pairs at a time.

    Parameters
    ----------
    n_members, n_tags : int
    """

    def __init__(self, n_members: int, n_tags: int) -> None:
        self.n_tags = n_tags
        self.logit, self.weight = (np.zeros((2, n_members, n_tags)) for _ in range(2))
        self.positives = np.zeros(n_tags)

    def add(
        self,
        members: Floats,
        tag: NDArray[np.int32],
        true: NDArray[np.bool_],
        weight: NDArray[np.floating],
    ) -> None:
        """Add listed pairs.

        Parameters
        ----------
        members : array of shape (n_members, n_pairs), float64
            Calibrated logits, NaN where a member abstains.
        tag, true, weight : arrays of shape (n_pairs,)
        """
        positive = np.flatnonzero(true & (weight > 0))
        self.positives += self._by_tag(tag[positive], weight[positive])
        for m, logit in enumerate(members):
            self._add_of_member(0, m, logit, tag, weight)
            self._add_of_member(1, m, logit[positive], tag[positive], weight[positive])

    def _add_of_member(
        self,
        kind: int,
        member: int,
        logit: Floats,
        tag: NDArray[np.int32],
        weight: NDArray[np.floating],
    ) -> None:
        known = ~np.isnan(logit)
        counted = weight * known
        self.weight[kind, member] += self._by_tag(tag, counted)
        self.logit[kind, member] += self._by_tag(tag, counted * np.where(known, logit, 0.0))

    def _by_tag(self, tag: NDArray[np.int32], values: NDArray[np.floating]) -> Floats:
        return np.bincount(tag, weights=values, minlength=self.n_tags).astype(np.float64)


def tag_statistics(
    sums: MemberSums,
    base: Floats,
    unlisted: tuple[NDArray[np.int64], NDArray[np.int64]],
    evidence: Evidence,
    category: NDArray[np.int64],
) -> TagStatistics:
    """Return the statistics of labelled images.

    Parameters
    ----------
    sums : MemberSums
        Of all listed pairs.
    base : array of shape (n_members, n_tags), float64
        What members say of the others, NaN where they abstain.
    unlisted : two arrays of shape (n_tags,), int64
        How many others are true, and how many false.
    evidence : Evidence
    category : array of shape (n_tags,), int64
    """
    n_true, n_false = unlisted
    positives = sums.positives + n_true
    mean = positives.sum() / max(evidence.known_weight.sum(), 1)
    share = (positives + _PSEUDO_IMAGES * mean) / (evidence.known_weight + _PSEUDO_IMAGES)
    true_mean = _mean(sums.logit[1], sums.weight[1], base, n_true)
    false_mean = _mean(
        sums.logit[0] - sums.logit[1], sums.weight[0] - sums.weight[1], base, n_false
    )
    skill = [
        _skill(separation, ~np.isnan(own), positives, category)
        for separation, own in zip(true_mean - false_mean, base, strict=True)
    ]
    prior = logit_of(np.clip(share, 1e-6, 1 - 1e-6))
    return TagStatistics(prior=prior, skill=np.stack(skill), lift=log_lift(evidence))


def _skill(
    separation: Floats,
    known: NDArray[np.bool_],
    positives: Floats,
    category: NDArray[np.int64],
) -> Floats:
    """Return one member's shrunken separation of each tag, NaN for tags it lacks."""
    weight = np.where(known & (positives > 0) & np.isfinite(separation), positives, 0)
    usable = np.where(weight > 0, separation, 0.0)
    total = np.bincount(category, weights=weight)
    centre = np.bincount(category, weights=weight * usable) / np.maximum(total, 1)
    own = weight / (weight + _PSEUDO_POSITIVES)
    shrunk = own * usable + (1 - own) * centre[category]
    return np.where(known, shrunk, np.nan)


def _mean(logit: Floats, weight: Floats, base: Floats, n_unlisted: NDArray[np.int64]) -> Floats:
    """Return each member's mean logit of each tag over weighted listed pairs and unlisted ones."""
    total = logit + np.where(n_unlisted > 0, base * n_unlisted, 0.0)
    count = weight + n_unlisted
    mean: Floats = np.full(total.shape, np.nan)
    # What is left of a difference of equal sums is no weight.
    np.divide(total, count, out=mean, where=count > _LEAST_WEIGHT)
    return mean
