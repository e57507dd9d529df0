"""What taggers' own files say of their tags: thresholds, and how frequent a tag is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit as logit_of

from tagstack.base_models.vocabulary import Vocabulary

Floats = NDArray[np.float64]
_MARGIN = 1e-6  # keeps the logit of a threshold of 0 or 1 finite


class PublishedMember(Protocol):
    """A loaded tagger, or what a score store keeps of one."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Its own tags in output order."""

    @property
    def published_thresholds(self) -> NDArray[np.float32]:
        """Of its own tags, shape (n_own_tags,)."""

    @property
    def published_counts(self) -> NDArray[np.float32]:
        """Training images with each of its own tags, shape (n_own_tags,); NaN where nobody says."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """The members' files over their joint vocabulary.

    Parameters
    ----------
    threshold : array of shape (n_members, n_tags), float64
        Logit of each published threshold; NaN where a member does not know the tag.
    rarity : array of shape (n_tags,), float64, at least 0
        How many times rarer than its file's most frequent tag a tag is, as a logarithm: the mean
        over the members that count it; NaN where none does.
    by_tag : array of shape (n_members,), bool
        Whether a member publishes thresholds tag by tag, not one for a whole category.
    """

    threshold: Floats
    rarity: Floats
    by_tag: NDArray[np.bool_]

    @classmethod
    def of(cls, members: Sequence[PublishedMember], vocabulary: Vocabulary) -> "Published":
        """Return what the files of ``members`` say of a vocabulary that holds their tags."""
        threshold = np.full((len(members), len(vocabulary)), np.nan)
        rarity = np.full_like(threshold, np.nan)
        for own, member in enumerate(members):
            places = [vocabulary.index[tag] for tag in member.vocabulary.tags]
            cut = member.published_thresholds.astype(np.float64)
            threshold[own, places] = logit_of(np.clip(cut, _MARGIN, 1 - _MARGIN))
            counts = member.published_counts.astype(np.float64)
            if not np.isnan(counts).all():
                rarity[own, places] = np.log(np.nanmax(counts) / counts)
        by_tag = np.array([_differs_by_tag(member) for member in members], bool)
        return cls(threshold=threshold, rarity=known_mean(rarity), by_tag=by_tag)

    @property
    def n_counted(self) -> int:
        """Tags whose frequency some file tells."""
        return int(np.count_nonzero(~np.isnan(self.rarity)))


def _differs_by_tag(member: PublishedMember) -> bool:
    """Return whether a category has tags with different thresholds."""
    of_category: dict[str, float] = {}
    cuts = zip(member.vocabulary.categories, member.published_thresholds.tolist(), strict=True)
    return any(of_category.setdefault(category, cut) != cut for category, cut in cuts)


def known_mean(values: Floats) -> Floats:
    """Return the mean of what is not NaN, shape without the first axis; NaN where all is."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.asarray(total / np.where(known.any(axis=0), known.sum(axis=0), np.nan), np.float64)
