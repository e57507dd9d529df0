"""What unlabelled images add to published thresholds: weights, scales and rates of tags.

Nothing here sees a label. Pictures show how often each tagger would give a tag and how far the
taggers agree; the tag files say how often a tag should come. Both are believed only as far as they
carry: a handful of pictures changes next to nothing, and a folder whose tags are not distributed
as in training (all shoes, one character) is not bent towards the published counts.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.orders import falling_within, middle_after_first
from tagstack.base_models.pairs import Level1Scores
from tagstack.configs.start import StartSettings
from tagstack.meta.labels.drawn_images import drawn_images
from tagstack.meta.start.agreement import member_weights
from tagstack.meta.start.answer import StartAnswer, published_answer
from tagstack.meta.start.published import Published, known_mean

Floats = NDArray[np.float64]

_SEEN = 20  # expected and given, together: fewer tell nothing about how a folder is distributed
_ENOUGH_TAGS = 5
_PLAUSIBLE = -3.0  # logit over a member's threshold from which on a pair tells how it spreads
_LIMITS = (0.1, 10.0)  # of one member's spread relative to the others'
_MOST_PAIRS = 4_000_000  # of drawn images: twenty thousand tell a folder's habits; each is sorted
_NORMAL_MAD = 1.4826  # times the median absolute deviation = the standard deviation of a normal


@dataclass(frozen=True, kw_only=True)
class Adapted:
    """An answer that has seen unlabelled images, and what it made of them.

    Parameters
    ----------
    answer : StartAnswer
    n_images : int
        That were looked at.
    tags_per_image : float
        That the answer gives on these images, before any rules.
    count_share : float, in [0, 1]
        How far the rates of tags were moved from what the taggers give to what the counts say.
    rate_spread : float
        Standard deviation, over frequent tags, of the logarithm of given over expected rates;
        NaN where too few tags are frequent enough to tell.
    copies : tuple of tuple of str
        Members that are so alike that they share one weight.
    """

    answer: StartAnswer
    n_images: int
    tags_per_image: float
    count_share: float
    rate_spread: float
    copies: tuple[tuple[str, ...], ...]


def adapted_answer(published: Published, scores: Level1Scores, settings: StartSettings) -> Adapted:
    """Return the answer for pictures like these.

    Parameters
    ----------
    published : Published
        Of the scores' members, over their vocabulary.
    scores : Level1Scores
        Of unlabelled images, at least one. Of very many, drawn ones are looked at.
    settings : StartSettings
    """
    drawn = drawn_images(np.diff(scores.pairs.indptr), _MOST_PAIRS, seed=0)
    if len(drawn) < scores.n_images:
        scores = scores.take(drawn)
    plain = published_answer(published, scores.floor, settings)
    given = _count(scores, plain.apply(scores)[0] >= 0)
    expected = _expected(published, scores)
    share, spread_of_rates = _count_share(given, expected, settings)
    target = np.where(np.isnan(expected), given, expected)
    weight, copies = member_weights(scores, target, settings)
    answer = replace(plain, weight=weight, spread=_spread(plain, scores, target, settings))
    goal = _goal(given, expected, share, settings)
    answer = replace(answer, cut=_cut(answer, scores, given, goal, settings))
    final = np.count_nonzero(answer.apply(scores)[0] >= 0)
    return Adapted(
        answer=answer,
        n_images=scores.n_images,
        tags_per_image=final / scores.n_images,
        count_share=share,
        rate_spread=spread_of_rates,
        copies=tuple(tuple(scores.members[own] for own in group) for group in copies),
    )


def _count(scores: Level1Scores, kept: NDArray[np.bool_]) -> Floats:
    """Return on how many images each tag is kept."""
    n_tags = scores.pairs.n_tags
    return np.bincount(scores.pairs.tag[kept], minlength=n_tags).astype(np.float64)


def _expected(published: Published, scores: Level1Scores) -> Floats:
    """Return on how many of the images each tag should be by the counts; NaN where unknown.

    Files say how often a tag was counted, not of how many images. As many tags as the members
    give by their own thresholds, on average, is what the counts are scaled to.
    """
    tag = scores.pairs.tag
    given = np.full(published.threshold.shape, np.nan)
    for own, values in enumerate(scores.logit):
        counts = _count(scores, values >= published.threshold[own, tag])
        given[own] = np.where(scores.knows[own], counts, np.nan)
    frequency = np.exp(-published.rarity)
    counted = ~np.isnan(frequency)
    if not counted.any():
        return frequency
    scale = known_mean(given)[counted].sum() / frequency[counted].sum()
    return np.asarray(np.minimum(frequency * scale, scores.n_images), np.float64)


def _count_share(given: Floats, expected: Floats, settings: StartSettings) -> tuple[float, float]:
    """Return how far to believe the counts, and how far rates lie from them.

    Given and expected rates differ by the errors of both. Published thresholds miss a rate by
    about ``settings.rate_error``; what goes beyond is that this folder is no sample of what the
    taggers were trained on. The share is that of two measurements weighed by their variances.
    """
    with np.errstate(invalid="ignore"):
        frequent = given + expected >= _SEEN
    if np.count_nonzero(frequent) < _ENOUGH_TAGS:
        return 0.0, float("nan")
    apart = np.log((given[frequent] + 0.5) / (expected[frequent] + 0.5))
    spread = _NORMAL_MAD * float(np.median(np.abs(apart - np.median(apart))))
    if spread == 0:
        return settings.count_share, spread
    return min(settings.count_share, (settings.rate_error / spread) ** 2), spread


def _spread(
    plain: StartAnswer, scores: Level1Scores, target: Floats, settings: StartSettings
) -> Floats:
    """Return each member's spread, tag by tag where a tag is frequent enough to tell it."""
    overall = _relative(_overall_spread(plain, scores)[:, None])
    by_tag = _relative(_tag_spread(scores))
    own = target / (target + settings.rate_positives)
    return np.asarray(np.exp(own * np.log(by_tag) + (1 - own) * np.log(overall)), np.float64)


def _relative(spread: Floats) -> Floats:
    """Return spreads relative to their mean over the members; 1 where there is none."""
    mean = known_mean(np.where(spread > 0, spread, np.nan))
    ratio = np.where((spread > 0) & (mean > 0), spread / np.where(mean > 0, mean, 1.0), 1.0)
    return np.asarray(np.clip(ratio, *_LIMITS), np.float64)


def _overall_spread(plain: StartAnswer, scores: Level1Scores) -> Floats:
    """Return the standard deviation of each member's logits over its thresholds, where any is."""
    over = scores.logit - plain.zero[:, scores.pairs.tag]
    best = np.max(np.nan_to_num(over, nan=-np.inf), axis=0, initial=-np.inf)
    plausible = over[:, best > _PLAUSIBLE]
    return np.array(
        [np.std(own[~np.isnan(own)]) if (~np.isnan(own)).any() else 0.0 for own in plausible]
    )


def _tag_spread(scores: Level1Scores) -> Floats:
    """Return the standard deviation of each member's logits of each tag over all images."""
    n_tags, tag = scores.pairs.n_tags, scores.pairs.tag
    spread = np.zeros(scores.knows.shape)
    for own, values in enumerate(scores.logit):
        over = np.nan_to_num(values - scores.floor[own], nan=0.0).astype(np.float64)
        mean = np.bincount(tag, weights=over, minlength=n_tags) / scores.n_images
        square = np.bincount(tag, weights=over**2, minlength=n_tags) / scores.n_images
        spread[own] = np.sqrt(np.maximum(square - mean**2, 0.0))
    return spread


def _goal(given: Floats, expected: Floats, share: float, settings: StartSettings) -> Floats:
    """Return on how many images each tag shall be: between given and expected, on a log scale."""
    counted = ~np.isnan(expected)
    wanted = np.where(counted, expected, given)
    own = share * wanted / (wanted + settings.rate_positives)
    least = np.maximum(given, 0.5)
    return np.asarray(
        np.where(counted, least ** (1 - own) * np.maximum(wanted, 0.5) ** own, given), np.float64
    )


def _cut(
    answer: StartAnswer,
    scores: Level1Scores,
    given: Floats,
    goal: Floats,
    settings: StartSettings,
) -> Floats:
    """Return each tag's cut: as many tags in all as before, and as often each as its goal.

    A tag of few images has too few logits for a cut of its own, and keeps most of the common one.
    """
    logit, _ = answer.apply(scores)
    common = (
        _top(logit, int(given.sum()))
        * scores.n_images
        / (scores.n_images + settings.rate_positives)
    )
    expected = np.maximum(given, goal)
    share = np.where(expected >= 1, expected / (expected + settings.rate_positives), 0.0)
    own = tag_cuts(logit, scores.pairs.tag, np.round(goal).astype(np.int64))
    return np.asarray(common + share * (np.where(np.isnan(own), common, own) - common), np.float64)


def _top(values: Floats, count: int) -> float:
    """Return the middle between the last of the ``count`` largest values and the next; 0 for none.

    With nothing beyond, it is the last.
    """
    if not 0 < count <= len(values):
        return 0.0
    if count == len(values):
        return float(values.min())
    ends = np.partition(values, [len(values) - count - 1, len(values) - count])
    return float(ends[len(values) - count - 1 : len(values) - count + 1].mean())


def tag_cuts(values: Floats, tag: NDArray[np.int32], count: NDArray[np.int64]) -> Floats:
    """Return for each tag the cut that its ``count`` largest values reach, shape (n_tags,).

    See `orders.middle_after_first`.

    Parameters
    ----------
    values : array of shape (n_pairs,), float64
    tag : array of shape (n_pairs,), int32
    count : array of shape (n_tags,), int64
    """
    ordered = values[falling_within(tag, values)]
    starts = np.concatenate([[0], np.cumsum(np.bincount(tag, minlength=len(count)))])
    return middle_after_first(starts, count, lambda rows: ordered[rows])
