"""Weights of taggers from how far they agree on unlabelled images.

Where taggers err independently, the agreement of two is the product of how well each knows the
truth, so three or more reveal their own skill without a label: the correlations of their votes are
of rank one off the diagonal.

References
----------
Parisi, Strino, Nadler & Kluger (2014), "Ranking and combining multiple predictors without labeled
data"; Jaffe, Nadler & Kluger (2015), "Estimating the accuracies of multiple classifiers without
labeled data". Taggers that are near copies break the assumption and count as one.
"""

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.orders import falling_within
from tagstack.base_models.pairs import Level1Scores
from tagstack.configs.start import StartSettings

Floats = NDArray[np.float64]

_ROUNDS = 200
_SKILL = (0.05, 0.98)  # a weight must be finite, and nobody is of no use at all


def member_weights(
    scores: Level1Scores, target: Floats, settings: StartSettings
) -> tuple[Floats, tuple[tuple[int, ...], ...]]:
    """Return the members' weights, which sum to 1, and the groups of near copies among them.

    Parameters
    ----------
    scores : Level1Scores
    target : array of shape (n_tags,), float64
        On how many images a member's vote counts: its highest scores. So that taggers that give
        many tags and taggers that give few agree on what they rank alike.
    settings : StartSettings
        Its ``weight_images`` is the number of images at which agreement counts as much as equal
        weights.
    """
    agreement = vote_correlations(scores, np.round(target).astype(np.int64))
    groups = near_copies(agreement, settings.copies)
    skill = one_factor(_between(agreement, groups))
    of_group = skill / (1 - skill**2)
    weight = np.empty(len(agreement))
    for group, value in zip(groups, of_group / of_group.sum(), strict=True):
        weight[list(group)] = value / len(group)
    sure = scores.n_images / (scores.n_images + settings.weight_images)
    weight = sure * weight + (1 - sure) / len(weight)
    return weight, tuple(group for group in groups if len(group) > 1)


def vote_correlations(scores: Level1Scores, count: NDArray[np.int64]) -> Floats:
    """Return the mean over tags of the correlation of two members' votes, 1 on the diagonal.

    Parameters
    ----------
    scores : Level1Scores
    count : array of shape (n_tags,), int64
        Each member votes for a tag on so many images, where it scores highest.
    """
    n_tags, tag = scores.pairs.n_tags, scores.pairs.tag
    votes = [_votes(values, tag, count) for values in scores.logit]
    rates = [np.bincount(tag[vote], minlength=n_tags) / scores.n_images for vote in votes]
    found = np.eye(len(votes))
    for i in range(len(votes)):
        for j in range(i):
            both = np.bincount(tag[votes[i] & votes[j]], minlength=n_tags) / scores.n_images
            spread = np.sqrt(np.prod([rate * (1 - rate) for rate in (rates[i], rates[j])], axis=0))
            told = scores.knows[i] & scores.knows[j] & (spread > 0)
            product = rates[i] * rates[j]
            values = (both - product)[told] / spread[told]
            found[i, j] = found[j, i] = values.mean() if told.any() else 0.0
    return found


def _votes(
    values: NDArray[np.float32], tag: NDArray[np.int32], count: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return whether a pair is among its tag's ``count`` highest; ties go to earlier images."""
    order = falling_within(tag, values)
    n_values = np.bincount(tag, minlength=len(count))
    place = np.arange(len(tag)) - np.repeat(np.cumsum(n_values) - n_values, n_values)
    vote = np.zeros(len(tag), bool)
    vote[order] = place < count[tag[order]]
    return vote & ~np.isnan(values)


def near_copies(agreement: Floats, limit: float) -> tuple[tuple[int, ...], ...]:
    """Return the members in groups: chained by agreements of at least ``limit``."""
    group = np.arange(len(agreement))
    for i, j in zip(*np.nonzero(np.triu(agreement >= limit, 1)), strict=True):
        group[group == group[j]] = group[i]
    return tuple(tuple(np.flatnonzero(group == name).tolist()) for name in dict.fromkeys(group))


def _between(agreement: Floats, groups: tuple[tuple[int, ...], ...]) -> Floats:
    """Return the mean agreement of every two groups."""
    mean = [[agreement[np.ix_(a, b)].mean() for b in groups] for a in groups]
    return np.array(mean, np.float64)


def one_factor(correlation: Floats) -> Floats:
    """Return members' correlation with the one thing that all measure, shape (n_members,).

    Principal factors: the diagonal is what the factor explains, found by repetition. Two members
    cannot tell which of them knows better, and get the same.
    """
    skill = np.full(len(correlation), np.sqrt(np.clip(_off_diagonal(correlation), *_SKILL)))
    if len(correlation) < 3:
        return skill
    reduced = correlation.copy()
    for _ in range(_ROUNDS):
        np.fill_diagonal(reduced, skill**2)
        values, vectors = np.linalg.eigh(reduced)
        skill = np.clip(np.abs(vectors[:, -1]) * np.sqrt(max(values[-1], 0.0)), *_SKILL)
    return skill


def _off_diagonal(correlation: Floats) -> float:
    """Return the mean of all but the diagonal; of a single member, a half."""
    n = len(correlation)
    return float((correlation.sum() - np.trace(correlation)) / (n * (n - 1))) if n > 1 else 0.5
