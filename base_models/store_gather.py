"""From the parts of several members to one `Level1Scores`: index, gather, join."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.member_info import MemberInfo
from tagstack.base_models.pairs import Level1Scores, Pairs
from tagstack.base_models.store_parts import SCORES, part_paths, read_part
from tagstack.base_models.tagger import floor_logit
from tagstack.base_models.vocabulary import Vocabulary

Digests: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.bytes_]]"


class MemberScores:
    """One member's parts, found by content.

    Only the digests are held in memory, and the part that was read last: neighbouring images
    mostly lie in one part.
    """

    def __init__(self, folder: Path, info: MemberInfo) -> None:
        self.info = info
        self._paths = part_paths(folder)
        self._last: tuple[int, _Part] | None = None

    def knows(self, digests: Digests) -> NDArray[np.bool_]:
        """Return for each content whether it was scored, shape (n_images,), bool."""
        keys, _, _ = self._index
        if not len(keys):
            return np.zeros(len(digests), bool)
        place = np.searchsorted(keys, digests).clip(max=len(keys) - 1)
        return np.asarray(keys[place] == digests)

    def gather(
        self, digests: Digests
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float16]]:
        """Return the stored scores of contents that `knows` finds.

        Returns
        -------
        image : array of shape (n_scores,), int64
            Position in ``digests``.
        tag : array of shape (n_scores,), int32
            Index into the member's own vocabulary.
        logit : array of shape (n_scores,), float16
        """
        keys, part, row = self._index
        place = np.searchsorted(keys, digests)
        pieces = []
        for number in np.unique(part[place]):
            here = np.flatnonzero(part[place] == number)
            pieces.append(self._part(int(number)).taken(here, row[place[here]]))
        image, tag, logit = zip(*pieces, strict=True)
        return np.concatenate(image), np.concatenate(tag), np.concatenate(logit)

    @cached_property
    def _index(self) -> tuple[Digests, NDArray[np.int32], NDArray[np.int32]]:
        digests = [_digests(path) for path in self._paths]
        if not digests:
            return np.empty(0, "S32"), np.empty(0, np.int32), np.empty(0, np.int32)
        part = np.repeat(np.arange(len(digests), dtype=np.int32), [len(d) for d in digests])
        row = np.concatenate([np.arange(len(d), dtype=np.int32) for d in digests])
        keys, first = np.unique(np.concatenate(digests), return_index=True)
        return keys, part[first], row[first]

    def _part(self, number: int) -> "_Part":
        if self._last is None or self._last[0] != number:
            self._last = (number, _Part(self._paths[number]))
        return self._last[1]


class _Part:
    def __init__(self, path: Path) -> None:
        table = read_part(path, SCORES, ("tag", "logit"))
        lists = table.column("tag").combine_chunks()
        self._offsets = lists.offsets.to_numpy().astype(np.int64)
        self._tag: NDArray[np.int32] = lists.values.to_numpy()
        self._logit: NDArray[np.float16] = table.column("logit").combine_chunks().values.to_numpy()

    def taken(
        self, image: NDArray[np.int64], row: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float16]]:
        counts = np.diff(self._offsets)[row]
        starts = np.repeat(self._offsets[:-1][row] - np.cumsum(counts) + counts, counts)
        where = starts + np.arange(counts.sum(), dtype=np.int64)
        return np.repeat(image, counts), self._tag[where], self._logit[where]


def joined_scores(
    names: Sequence[str], digests: Digests, members: Sequence[MemberScores]
) -> Level1Scores:
    """Return the members' scores of contents that all of them know, over their joint vocabulary."""
    vocabulary = Vocabulary.union(member.info.vocabulary for member in members)
    keyed = [_keyed(member, digests, vocabulary) for member in members]
    keys = np.unique(np.concatenate([key for key, _ in keyed]))
    tag = (keys % len(vocabulary)).astype(np.int32)
    counts = np.bincount(keys // len(vocabulary), minlength=len(names))
    floor = np.array([floor_logit(member.info.floor) for member in members], np.float32)
    knows = np.array([_known(member.info, vocabulary) for member in members])
    logit = np.where(knows[:, tag], floor[:, None], np.float32(np.nan))
    for values, (key, own) in zip(logit, keyed, strict=True):
        values[np.searchsorted(keys, key)] = own
    return Level1Scores(
        images=tuple(names),
        vocabulary=vocabulary,
        members=tuple(member.info.name for member in members),
        knows=knows,
        floor=floor,
        pairs=Pairs(
            indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            tag=tag,
            n_tags=len(vocabulary),
        ),
        logit=logit,
    )


def _keyed(
    member: MemberScores, digests: Digests, vocabulary: Vocabulary
) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
    """Return a member's scores under ``image * n_tags + tag`` of the joint vocabulary."""
    image, tag, logit = member.gather(digests)
    joint = np.array([vocabulary.index[name] for name in member.info.vocabulary.tags], np.int64)
    return image * len(vocabulary) + joint[tag], logit


def _known(info: MemberInfo, vocabulary: Vocabulary) -> NDArray[np.bool_]:
    return np.array([tag in info.vocabulary.index for tag in vocabulary.tags], bool)


def _digests(path: Path) -> Digests:
    column = read_part(path, SCORES, ("sha256",)).column("sha256")
    return np.array(column.to_pylist(), "S32")
