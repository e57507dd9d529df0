"""Calibration of each member, and of each learned rung, per tag.

The maps themselves are in `calibrators`; this applies them to scores. A member that lacks a tag
abstains: its calibrated logit is NaN.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Level1Scores, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators.protocol import How, Sample, TagMaps
from tagstack.meta.calibrators.registry import fit_maps
from tagstack.meta.calibrators.tag_rows import TagRows, tag_rows
from tagstack.meta.labels.truth import PairTruth


@dataclass(frozen=True, kw_only=True)
class MemberLogits:
    """Every member's logit for every pair, listed and not, after calibration.

    Parameters
    ----------
    listed : array of shape (n_members, n_pairs), floating
        NaN where the member abstains.
    base : array of shape (n_members, n_tags), float64
        The value of a pair that is not listed; NaN where the member lacks the tag.
    """

    listed: NDArray[np.floating]
    base: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MemberCalibration:
    """Fitted maps, one `TagMaps` for each member."""

    maps: tuple[TagMaps, ...]

    def apply(self, scores: Level1Scores) -> MemberLogits:
        """Return the calibrated logits of scores with the same members and tags."""
        return MemberLogits(
            listed=self.listed(scores.logit, scores.pairs.tag), base=self.base(scores)
        )

    def listed(self, logit: NDArray[np.float32], tag: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return calibrated logits of some pairs, shape (n_members, n_pairs)."""
        found = np.empty(logit.shape)
        for m, maps in enumerate(self.maps):
            found[m] = maps.apply(tag, logit[m])
        return found

    def base(self, scores: Level1Scores) -> NDArray[np.float64]:
        """Return the calibrated logits of what is not listed, shape (n_members, n_tags)."""
        tags = np.arange(len(scores.vocabulary))
        found = [maps.apply(tags, own) for maps, own in zip(self.maps, floors(scores), strict=True)]
        return np.stack(found)


def floors(scores: Level1Scores) -> NDArray[np.float64]:
    """Return the logit of each member's unlisted pairs, shape (n_members, n_tags)."""
    return np.where(scores.knows, scores.floor[:, None].astype(np.float64), np.nan)


def category_numbers(vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Return the category of each tag as a number, in the order of the categories' names.

    Shape (n_tags,).
    """
    _, numbers = np.unique(np.array(vocabulary.categories, dtype=str), return_inverse=True)
    return numbers.astype(np.int64)


def member_how(settings: StackSettings, strength: float) -> How:
    """Return how members are calibrated under these settings, at a chosen strength."""
    return How(kind=settings.calibrator, pool=settings.calibration_pool, strength=strength)


def rung_how(settings: StackSettings) -> How:
    """Return how the learned rungs are calibrated at last under these settings."""
    return How(
        kind=settings.rung_calibrator, pool=settings.rung_pool, strength=settings.rung_strength
    )


def member_samples(scores: Level1Scores, truth: PairTruth) -> Iterator[Sample]:
    """Yield what each member's calibration is fitted on."""
    category = category_numbers(scores.vocabulary)
    for logit, base in zip(scores.logit, floors(scores), strict=True):
        yield Sample.of(logit.astype(np.float64), base, scores.pairs, truth, category)


def fit_monotone(
    listed: NDArray[np.float64],
    base: NDArray[np.float64],
    pairs: Pairs,
    truth: PairTruth,
    category: NDArray[np.int64],
    how: How,
) -> TagMaps:
    """Return rising maps of each tag for any logits.

    Parameters
    ----------
    listed : array of shape (n_pairs,), float64
        NaN where there is no logit: such rows are left out.
    base : array of shape (n_tags,), float64
    pairs, truth, category, how
    """
    return fit_maps(Sample.of(listed, base, pairs, truth, category), how)


def regression_rows(
    listed: NDArray[np.float64],
    base: NDArray[np.float64],
    listed_tag: NDArray[np.int32],
    truth: PairTruth,
    category: NDArray[np.int64],
    known: NDArray[np.bool_],
) -> TagRows:
    """Return one row per listed pair and two weighted rows per tag for its unlisted pairs.

    Parameters
    ----------
    listed : array of shape (n_features, n_pairs), float64
    base : array of shape (n_features, n_tags), float64
    listed_tag : array of shape (n_pairs,), int32
    truth, category
    known : array of shape (n_tags,), bool
        Tags whose rows count; the others get weight 0.
    """
    tags = np.arange(len(category))
    tag = np.concatenate([listed_tag, tags, tags]).astype(np.int64)
    weight = np.concatenate([truth.weight, truth.n_true, truth.n_false]) * known[tag]
    columns = np.concatenate([listed, base, base], axis=1)
    true = np.concatenate([truth.listed, np.ones(len(tags), bool), np.zeros(len(tags), bool)])
    return tag_rows(columns, true, weight, tag, category)
