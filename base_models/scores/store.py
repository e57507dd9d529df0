"""The score store: every member's scores of every image, once, on disk.

Layout of the folder::

    store.json                         format and, for each member name, its current folder
    lock                               held by the one process that writes
    images/part-00000000.parquet       path, root, sha256, size_bytes, status, reason
    hashes/part-00000000.parquet       sha256, what the picture looks like; older stores lack it
    members/NAME-FINGERPRINT/member.json
    members/NAME-FINGERPRINT/part-00000000.parquet    sha256, tag indices, float16 logits

Scores belong to contents, names to images: a picture under two names is scored once, and a file
whose content changes is a new content under the old name. Parts are only ever added, so readers
need no lock. Writing is in store_writer.py.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Level1Scores, Pairs
from tagstack.base_models.pictures.picture_hash import PictureHashes
from tagstack.base_models.scores.member_info import MemberInfo, read_member_info, read_store_index
from tagstack.base_models.scores.store_parts import (
    HASH_FOLDER,
    IMAGES,
    SCORES,
    part_paths,
    read_hashes,
    read_part,
)
from tagstack.base_models.taggers.tagger import floor_logit
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError

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


OK = "ok"
FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRecord:
    """What the store knows of an image.

    Parameters
    ----------
    path : str
        Name: path below ``root`` in POSIX form; bytes that are no UTF-8 as surrogate escapes.
    root : str
        Absolute folder that it was scored from.
    sha256 : str
        Of the file's bytes in hexadecimal; empty if they could not be read.
    size_bytes : int
        0 if the file could not be read.
    status : str
        ``"ok"`` or ``"failed"``.
    reason : str
        Why it failed; empty otherwise.
    """

    path: str
    root: str
    sha256: str
    size_bytes: int
    status: str
    reason: str


class ScoreStore:
    """Reading side of a score store.

    What is read is the state when the object first looked; make a new one to see later parts.

    Parameters
    ----------
    directory : Path

    Raises
    ------
    TagstackError
        On first use, if the folder is no score store or damaged.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def members(self) -> tuple[MemberInfo, ...]:
        """Return the members, sorted by name, each in the version that was scored last."""
        return tuple(self._members.values())

    def aliases(self) -> dict[str, str]:
        """Return the renamed tags of all members: old name -> current name."""
        return {old: new for member in self.members() for old, new in member.aliases.items()}

    def records(self) -> list[ImageRecord]:
        """Return every image that was ever scored or failed, sorted by name."""
        return [self._records[path] for path in sorted(self._records)]

    def failures(self) -> list[ImageRecord]:
        """Return the images that failed when last tried, sorted by name."""
        return [record for record in self.records() if record.status != OK]

    def load(
        self, images: Sequence[str] | None = None, members: Sequence[str] | None = None
    ) -> Level1Scores:
        """Return the scores of images over the members' joint vocabulary.

        Parameters
        ----------
        images : sequence of str, optional
            Names, in the order wanted; all by default, sorted. Names that failed, or that a
            chosen member has not scored, are left out: compare with ``Level1Scores.images``.
        members : sequence of str, optional
            Member names, in the order wanted; all by default, sorted.

        Raises
        ------
        TagstackError
            If a member is unknown, or no image has scores of all the members.
        """
        chosen = self._chosen(members)
        names = self._scored(images, chosen)
        if not names:
            msg = (
                f"{self.directory}: no image has scores of all of {[m.info.name for m in chosen]}. "
                f"Run `tagstack score` over the images with these models."
            )
            raise TagstackError(msg)
        return self._joined(names, chosen)

    def iter_chunks(
        self,
        n_images: int,
        images: Sequence[str] | None = None,
        members: Sequence[str] | None = None,
    ) -> Iterator[Level1Scores]:
        """Yield what `load` would return, at most ``n_images`` images at a time.

        Memory is bounded by the chunk and one part of each member, however large the store is.
        Every chunk has the same vocabulary and members.
        """
        chosen = self._chosen(members)
        names = self._scored(images, chosen)
        for start in range(0, len(names), n_images):
            yield self._joined(names[start : start + n_images], chosen)

    def picture_hashes(self, images: Sequence[str]) -> PictureHashes:
        """Return what images look like; unknown for those scored before hashes were kept.

        Parameters
        ----------
        images : sequence of str
            Names.

        Raises
        ------
        TagstackError
            If a name is not in the store.
        """
        missing = [name for name in images if name not in self._records]
        if missing:
            msg = f"{self.directory} has no image {missing[0]!r}. Run `tagstack score` over it."
            raise TagstackError(msg)
        return read_hashes(self.directory / HASH_FOLDER, self._digests(images))

    @cached_property
    def _members(self) -> dict[str, MemberInfo]:
        folders = read_store_index(self.directory)
        return {
            name: read_member_info(self.directory / "members" / folders[name])
            for name in sorted(folders)
        }

    @cached_property
    def _records(self) -> dict[str, ImageRecord]:
        return read_records(self.directory)

    @cached_property
    def _member_scores(self) -> dict[str, MemberScores]:
        folders = read_store_index(self.directory)
        return {
            name: MemberScores(self.directory / "members" / folders[name], info)
            for name, info in self._members.items()
        }

    def _chosen(self, members: Sequence[str] | None) -> list[MemberScores]:
        names = tuple(self._members) if members is None else tuple(members)
        unknown = [name for name in names if name not in self._members]
        if unknown or not names or len(set(names)) < len(names):
            msg = (
                f"{self.directory}: members {list(names)} asked for; the store has "
                f"{list(self._members)}. Expected some of those, once each."
            )
            raise TagstackError(msg)
        return [self._member_scores[name] for name in names]

    def _scored(self, images: Sequence[str] | None, chosen: Sequence[MemberScores]) -> list[str]:
        wanted = sorted(self._records) if images is None else images
        good = [n for n in wanted if n in self._records and self._records[n].status == OK]
        if not good:
            return []
        digests = self._digests(good)
        known = np.all([member.knows(digests) for member in chosen], axis=0)
        return [name for name, has in zip(good, known, strict=True) if has]

    def _joined(self, names: Sequence[str], chosen: Sequence[MemberScores]) -> Level1Scores:
        return joined_scores(names, self._digests(names), chosen)

    def _digests(self, names: Sequence[str]) -> "np.ndarray[tuple[int], np.dtype[np.bytes_]]":
        return np.array([bytes.fromhex(self._records[name].sha256) for name in names], "S32")


def read_records(directory: Path) -> dict[str, ImageRecord]:
    """Return each image's last record, by name."""
    records: dict[str, ImageRecord] = {}
    for path in part_paths(directory / "images"):
        for row in read_part(path, IMAGES).to_pylist():
            name = _text(row["path"])
            records[name] = ImageRecord(
                path=name,
                root=sys.intern(_text(row["root"])),
                sha256=row["sha256"].hex(),
                size_bytes=row["size_bytes"],
                status=row["status"],
                reason=row["reason"],
            )
    return records


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
