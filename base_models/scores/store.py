"""The score store: every member's scores of every image, once, on disk.

Layout of the folder::

    store.json                         format and, for each member name, its current folder
    lock                               held by the one process that writes
    images/part-00000000-SHA.parquet   path, root, sha256, size_bytes, status, reason
    hashes/part-00000000-SHA.parquet   sha256, what the picture looks like; older stores lack it
    members/NAME-FINGERPRINT/member.json
    members/NAME-FINGERPRINT/part-00000000-SHA.parquet   sha256, tag indices, float16 logits
    members/NAME-FINGERPRINT/features/part-00000000-SHA.parquet   of the same contents, where kept
    damaged/                           parts that were set aside: their bytes had changed
    shards/00000                       stores of a run that was shared out, until they are merged

Scores belong to contents, names to images: a picture under two names is scored once, and a file
whose content changes is a new content under the old name. Parts are only ever added, so readers
need no lock. Writing is in store_writer.py.
"""

import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.addresses import address_of
from tagstack.base_models.pictures.picture_hash import PictureHashes
from tagstack.base_models.scores.arrow_arrays import numbers_of
from tagstack.base_models.scores.member_info import MemberInfo, read_member_info, read_store_index
from tagstack.base_models.scores.members import NO_ROWS, Rows
from tagstack.base_models.scores.reading import Digests, ImageRecord, ScoredMember, ScoreReader
from tagstack.base_models.scores.store_parts import (
    HASH_FOLDER,
    IMAGES,
    SCORES,
    check_scores,
    features_of_part,
    part_paths,
    read_hashes,
    read_part,
)


class MemberScores:
    """One member's parts, found by content.

    Only the digests are held in memory, and the part that was read last: neighbouring images
    mostly lie in one part.
    """

    def __init__(self, folder: Path, info: MemberInfo) -> None:
        self.info = info
        self._paths = part_paths(folder)
        self._last: tuple[int, _Part] | None = None
        self._last_features: tuple[int, NDArray[np.float16]] | None = None

    def knows(self, digests: Digests) -> NDArray[np.bool_]:
        """Return for each content whether it was scored, shape (n_images,), bool."""
        keys, _, _ = self._index
        if not len(keys):
            return np.zeros(len(digests), bool)
        place = np.searchsorted(keys, digests).clip(max=len(keys) - 1)
        return np.asarray(keys[place] == digests)

    def gather(self, digests: Digests) -> Rows:
        """Return the stored scores of contents that `knows` finds.

        Returns
        -------
        image : array of shape (n_scores,), int64
            Position in ``digests``.
        tag : array of shape (n_scores,), int32
            Index into the member's own vocabulary.
        logit : array of shape (n_scores,), float16
        """
        if not len(digests):
            return NO_ROWS
        keys, part, row = self._index
        place = np.searchsorted(keys, digests)
        pieces = []
        for number in np.unique(part[place]):
            here = np.flatnonzero(part[place] == number)
            pieces.append(self._part(int(number)).taken(here, row[place[here]]))
        image, tag, logit = zip(*pieces, strict=True)
        return np.concatenate(image), np.concatenate(tag), np.concatenate(logit)

    def features(self, digests: Digests) -> NDArray[np.float16]:
        """Return features of contents that `knows` finds, shape (n_images, n_features)."""
        found = np.empty((len(digests), self.info.n_features), np.float16)
        if not found.size:
            return found
        keys, part, row = self._index
        place = np.searchsorted(keys, digests)
        for number in np.unique(part[place]):
            here = np.flatnonzero(part[place] == number)
            found[here] = self._features(int(number))[row[place[here]]]
        return found

    def _features(self, number: int) -> NDArray[np.float16]:
        if self._last_features is None or self._last_features[0] != number:
            values = features_of_part(self._paths[number], self.info.n_features)
            self._last_features = (number, values)
        return self._last_features[1]

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
            self._last = (number, _Part(self._paths[number], len(self.info.vocabulary)))
        return self._last[1]


class _Part:
    def __init__(self, path: Path, n_tags: int) -> None:
        table = read_part(path, SCORES, ("tag", "logit"))
        lists, logits = (table.column(name).combine_chunks() for name in ("tag", "logit"))
        check_scores(path, lists, logits, n_tags)
        self._offsets = numbers_of(lists.offsets).astype(np.int64)
        self._tag = numbers_of(lists.values).astype(np.int32, copy=False)
        self._logit = numbers_of(logits.values).astype(np.float16, copy=False)

    def taken(self, image: NDArray[np.int64], row: NDArray[np.int32]) -> Rows:
        counts = np.diff(self._offsets)[row]
        starts = np.repeat(self._offsets[:-1][row] - np.cumsum(counts) + counts, counts)
        where = starts + np.arange(counts.sum(), dtype=np.int64)
        return np.repeat(image, counts), self._tag[where], self._logit[where]


def _digests(path: Path) -> Digests:
    column = read_part(path, SCORES, ("sha256",)).column("sha256")
    return np.array(column.to_pylist(), "S32")


class ScoreStore(ScoreReader):
    """Reading side of a score store; its members are sorted by name.

    What is read is the state when the object first looked; make a new one to see later parts.
    Each member is there in the version that was scored last.

    Parameters
    ----------
    directory : Path
        Or an address such as ``s3://BUCKET/scores``, which is mirrored on first use.

    Raises
    ------
    TagstackError
        On first use, if the folder is no score store or damaged.
    """

    def __init__(self, directory: Path) -> None:
        self._place = directory

    @property
    def title(self) -> str:
        """The folder or the address."""
        return address_of(self._place) or str(self._place)

    @cached_property
    def directory(self) -> Path:
        """The folder, or the mirror of a store elsewhere."""
        if (address := address_of(self._place)) is None:
            return self._place
        from tagstack.base_models.remote.stores import mirror
        from tagstack.configs.settings import load_settings

        return mirror(address, load_settings().remote)

    def members(self) -> tuple[MemberInfo, ...]:
        """Return the members, without looking at their scores."""
        return tuple(self._members.values())

    def scored_members(self) -> Mapping[str, ScoredMember]:
        """Return each member's parts by member name."""
        return self._member_scores

    def image_records(self) -> Mapping[str, ImageRecord]:
        """Return each image's last record, by name."""
        return self._records

    def hashes_of(self, digests: Digests) -> PictureHashes:
        """Return what contents look like."""
        return read_hashes(self.directory / HASH_FOLDER, digests)

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
