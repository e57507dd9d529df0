"""The sparse (image, tag) pairs on which every later stage works, and values attached to them.

A vocabulary of 10,000 tags gives an image some hundred plausible tags. Those pairs are listed
explicitly; all others share one value per tag, so cost follows the pairs, not the vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.base_models.vocabulary import Vocabulary

BLOCK_PAIRS = 500_000
"""Pairs that work on all of them takes at once: a column of some megabytes, however many images."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs grouped by image (rows of a CSR matrix), tags ascending within an image.

    Parameters
    ----------
    indptr : array of shape (n_images + 1,), int64
        The pairs of image ``i`` are ``indptr[i]:indptr[i + 1]``.
    tag : array of shape (n_pairs,), int32
        Tag index of each pair, in ``[0, n_tags)``.
    n_tags : int
        Size of the vocabulary that ``tag`` points into.
    """

    indptr: NDArray[np.int64]
    tag: NDArray[np.int32]
    n_tags: int

    def __len__(self) -> int:
        return len(self.tag)

    @property
    def n_images(self) -> int:
        """Number of images, those without a pair included."""
        return len(self.indptr) - 1

    @cached_property
    def image(self) -> NDArray[np.int32]:
        """Image index of each pair, shape (n_pairs,), int32, ascending."""
        return np.repeat(np.arange(self.n_images, dtype=np.int32), np.diff(self.indptr))

    def keys(self) -> NDArray[np.int64]:
        """Return ``image * n_tags + tag`` of each pair, shape (n_pairs,), int64, ascending."""
        return self.image.astype(np.int64) * self.n_tags + self.tag

    def rows(self, images: NDArray[np.intp]) -> NDArray[np.int64]:
        """Return the positions of the pairs of ``images``, in that order.

        Parameters
        ----------
        images : array of shape (n_chosen,), integer
            Image indices, in any order.

        Returns
        -------
        array of shape (n_chosen_pairs,), int64
        """
        counts = np.diff(self.indptr)[images]
        starts = np.repeat(self.indptr[:-1][images] - np.cumsum(counts) + counts, counts)
        return starts + np.arange(counts.sum(), dtype=np.int64)

    def find(
        self, indptr: NDArray[np.integer], tag: NDArray[np.integer]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return where other pairs of the same images would lie among these, and which are there.

        Two arrays of shape (n_wanted,).

        Parameters
        ----------
        indptr : array of shape (n_images + 1,), integer
            The wanted pairs of image ``i`` are ``indptr[i]:indptr[i + 1]``.
        tag : array of shape (n_wanted,), integer, ascending within an image
        """
        place, found = np.zeros(len(tag), np.int64), np.zeros(len(tag), bool)
        for images, rows in self.blocks():
            own = slice(int(indptr[images.start]), int(indptr[images.stop]))
            counts = np.diff(indptr[images.start : images.stop + 1])
            wanted = np.repeat(np.arange(images.start, images.stop), counts) * self.n_tags
            wanted = wanted + tag[own]
            keys = self.image[rows].astype(np.int64) * self.n_tags + self.tag[rows]
            at = np.searchsorted(keys, wanted)
            place[own] = rows.start + at
            inside = np.flatnonzero(at < len(keys))
            found[own.start + inside] = keys[at[inside]] == wanted[inside]
        return place, found

    def blocks(self, n_pairs: int = BLOCK_PAIRS) -> Iterator[tuple[slice, slice]]:
        """Yield images and their pairs, a few at a time, in order; together all of them.

        Parameters
        ----------
        n_pairs : int, positive
            At most so many at once, except where one image has more.
        """
        start, n_images = 0, self.n_images
        while start < n_images:
            most = self.indptr[start] + n_pairs
            stop = max(start + 1, int(np.searchsorted(self.indptr, most, side="right")) - 1)
            yield slice(start, stop), slice(int(self.indptr[start]), int(self.indptr[stop]))
            start = stop

    def take(self, images: NDArray[np.intp]) -> "Pairs":
        """Return the pairs of ``images`` alone, renumbered ``0..len(images) - 1``."""
        counts = np.diff(self.indptr)[images]
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Pairs(indptr=indptr, tag=self.tag[self.rows(images)], n_tags=self.n_tags)


@dataclass(frozen=True, kw_only=True)
class Level1Scores:
    """Every member's logit for every listed pair of some images, over one shared vocabulary.

    Parameters
    ----------
    images : tuple of str
        Name of each image: its path relative to the scored folder, in POSIX form.
    vocabulary : Vocabulary
        Union of the members' tags.
    members : tuple of str
        Member names; their order is the order of the first axis below.
    knows : array of shape (n_members, n_tags), bool
        Whether a member has the tag at all; a member that does not abstains.
    floor : array of shape (n_members,), float32
        Logit of a tag that the member knows but scored below the store's floor.
    pairs : Pairs
        Every (image, tag) pair that at least one member scored at or above its floor.
    logit : array of shape (n_members, n_pairs), float32
        NaN where the member abstains, ``floor`` where it scored below the floor.
    features : tuple of arrays of shape (n_images, n_features), float16
        Of each member, without columns for one that keeps none; empty where nobody asked.
    """

    images: tuple[str, ...]
    vocabulary: Vocabulary
    members: tuple[str, ...]
    knows: NDArray[np.bool_]
    floor: NDArray[np.float32]
    pairs: Pairs
    logit: NDArray[np.float32]
    features: tuple[NDArray[np.float16], ...] = ()

    @property
    def n_images(self) -> int:
        """Number of images."""
        return len(self.images)

    def take(self, images: NDArray[np.intp], spill: Spill = IN_MEMORY) -> "Level1Scores":
        """Return the scores of the images at these indices, in that order.

        ``spill`` says where their logits lie.
        """
        pairs = self.pairs.take(images)
        logit = spill.empty((len(self.members), len(pairs)), np.float32)
        for some, own in pairs.blocks():
            logit[:, own] = self.logit[:, self.pairs.rows(images[some])]
            spill.let_go()
        return Level1Scores(
            images=tuple(self.images[i] for i in images),
            vocabulary=self.vocabulary,
            members=self.members,
            knows=self.knows,
            floor=self.floor,
            pairs=pairs,
            logit=logit,
            features=tuple(own[images] for own in self.features),
        )


@dataclass(frozen=True, kw_only=True)
class PairProba:
    """A probability for every (image, tag): listed pairs one by one, the rest by tag.

    Parameters
    ----------
    pairs : Pairs
    proba : array of shape (n_pairs,), float32, in [0, 1]
    base : array of shape (n_tags,), float32, in [0, 1]
        Probability of the tag for every image whose pair is not listed. NaN where no
        probability exists at all (a single member asked about a tag that it does not know);
        the listed pairs of such a tag are NaN too.
    """

    pairs: Pairs
    proba: NDArray[np.float32]
    base: NDArray[np.float32]

    def take(self, images: NDArray[np.intp]) -> "PairProba":
        """Return the probabilities of the images at these indices, in that order."""
        return PairProba(
            pairs=self.pairs.take(images), proba=self.proba[self.pairs.rows(images)], base=self.base
        )

    def only(self, kept: NDArray[np.bool_]) -> "PairProba":
        """Return the probabilities with some of the pairs listed, shape (n_pairs,), bool."""
        rows = np.flatnonzero(kept)
        indptr = np.searchsorted(rows, self.pairs.indptr).astype(np.int64)
        pairs = Pairs(indptr=indptr, tag=self.pairs.tag[rows], n_tags=self.pairs.n_tags)
        return PairProba(pairs=pairs, proba=self.proba[rows], base=self.base)

    def dense(self) -> NDArray[np.float32]:
        """Return all probabilities as an array of shape (n_images, n_tags), float32."""
        full = np.tile(self.base, (self.pairs.n_images, 1))
        full[self.pairs.image, self.pairs.tag] = self.proba
        return full


def one_after_the_other(parts: Sequence[Level1Scores], spill: Spill = IN_MEMORY) -> Level1Scores:
    """Return the scores of all the parts' images, in order; at least one part.

    Parameters
    ----------
    parts : sequence of Level1Scores
        Of the same members over the same vocabulary.
    spill : Spill, optional
        Where their logits lie.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    ends = np.cumsum([len(part.pairs) for part in parts])
    logit = spill.empty((len(first.members), int(ends[-1])), np.float32)
    for part, end in zip(parts, ends, strict=True):
        logit[:, end - len(part.pairs) : end] = part.logit
        spill.let_go()
    counts = np.concatenate([np.diff(part.pairs.indptr) for part in parts])
    return Level1Scores(
        images=tuple(name for part in parts for name in part.images),
        vocabulary=first.vocabulary,
        members=first.members,
        knows=first.knows,
        floor=first.floor,
        pairs=Pairs(
            indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            tag=np.concatenate([part.pairs.tag for part in parts]),
            n_tags=first.pairs.n_tags,
        ),
        logit=logit,
        features=tuple(
            np.concatenate(own) for own in zip(*(p.features for p in parts), strict=True)
        ),
    )
