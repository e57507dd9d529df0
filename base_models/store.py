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

import numpy as np

from tagstack.base_models.member_info import MemberInfo, read_member_info, read_store_index
from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.picture_hash import PictureHashes
from tagstack.base_models.store_gather import MemberScores, joined_scores
from tagstack.base_models.store_hashes import read_hashes
from tagstack.base_models.store_parts import HASH_FOLDER, IMAGES, part_paths, read_part
from tagstack.configs.errors import TagstackError

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
