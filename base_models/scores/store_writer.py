"""The writing side of a score store: one process at a time, whole parts, resumable.

Scores and picture hashes reach the disk before the images that refer to them. A kill between the
two costs nothing: the next run finds them by content and only adds the images.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tagstack.base_models.atomic import remove_leftovers
from tagstack.base_models.locks import ProcessLock
from tagstack.base_models.pictures.picture_hash import PictureHash
from tagstack.base_models.scores.member_info import (
    member_folder,
    read_store_index,
    write_member_info,
    write_store_index,
)
from tagstack.base_models.scores.store import FAILED, OK, ImageRecord, read_records
from tagstack.base_models.scores.store_parts import (
    HASH_FOLDER,
    HASHES,
    IMAGES,
    SCORES,
    part_paths,
    read_part,
    write_part,
)
from tagstack.base_models.taggers.tagger import Tagger, floor_logit
from tagstack.configs.errors import TagstackError


class MemberWriter:
    """Scores of one member that are not on disk yet, and the contents that have some.

    Parameters
    ----------
    folder : Path
        Created by `open`.
    tagger : Tagger
    """

    def __init__(self, folder: Path, tagger: Tagger) -> None:
        self.folder = folder
        self.tagger = tagger
        self.known: set[bytes] = set()
        self._floor = floor_logit(tagger.floor)
        self._digests: list[bytes] = []
        self._tags: list[NDArray[np.int32]] = []
        self._logits: list[NDArray[np.float16]] = []

    def open(self) -> None:
        """Create the folder, or find out which contents it has."""
        if not (self.folder / "member.json").exists():
            write_member_info(self.folder, self.tagger)
        remove_leftovers(self.folder)
        self.known |= _digests_in(self.folder, SCORES)

    def add(self, contents: Sequence[str], logits: NDArray[np.float32]) -> None:
        """Add the scores of contents, shape (n_images, n_tags), those below the floor left out."""
        rounded = logits.astype(np.float16)
        for sha256, row in zip(contents, rounded, strict=True):
            kept = np.flatnonzero(row >= self._floor).astype(np.int32)
            self._digests.append(bytes.fromhex(sha256))
            self._tags.append(kept)
            self._logits.append(row[kept])
        self.known.update(self._digests[len(self._digests) - len(contents) :])

    def commit(self) -> None:
        """Write what was added as one part."""
        if not self._digests:
            return
        offsets = np.concatenate([[0], np.cumsum([len(tags) for tags in self._tags])])
        columns = {
            "sha256": pa.array(self._digests, pa.binary(32)),
            "tag": _lists(offsets, np.concatenate(self._tags), pa.int32()),
            "logit": _lists(offsets, np.concatenate(self._logits), pa.float16()),
        }
        write_part(self.folder, pa.table(columns, schema=SCORES))
        self._digests, self._tags, self._logits = [], [], []


class HashWriter:
    """Picture hashes that are not on disk yet, and the contents that have one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.known: set[bytes] = set()
        self._waiting: list[tuple[bytes, PictureHash]] = []

    def open(self) -> None:
        """Find out which contents have a hash."""
        remove_leftovers(self._folder)
        self.known |= _digests_in(self._folder, HASHES)

    def add(self, sha256: str, value: PictureHash) -> None:
        """Add the hash of a content that has none."""
        digest = bytes.fromhex(sha256)
        if digest not in self.known:
            self.known.add(digest)
            self._waiting.append((digest, value))

    def commit(self) -> None:
        """Write what was added as one part."""
        if not self._waiting:
            return
        columns = {
            "sha256": pa.array([digest for digest, _ in self._waiting], pa.binary(32)),
            "bits": pa.array([value.bits for _, value in self._waiting], pa.uint64()),
            "thumbnail": pa.array([v.thumbnail for _, v in self._waiting], pa.binary(192)),
        }
        write_part(self._folder, pa.table(columns, schema=HASHES))
        self._waiting = []


def _digests_in(folder: Path, schema: pa.Schema) -> set[bytes]:
    found: set[bytes] = set()
    for path in part_paths(folder):
        found.update(read_part(path, schema, ("sha256",)).column("sha256").to_pylist())
    return found


def _lists(offsets: NDArray[np.int64], values: NDArray[np.generic], kind: pa.DataType) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, kind))


class ScoreWriter:
    """Adds scores and images to a store; use it as a context manager.

    Nothing is on disk before `commit`. Leaving the context releases the lock and writes nothing.

    Parameters
    ----------
    directory : Path
        Created where it does not exist.
    taggers : sequence of Tagger
        Members of this run; their order gives the member numbers below.

    Raises
    ------
    TagstackError
        On entering, if another process writes to the store or the folder cannot be written.
    """

    def __init__(self, directory: Path, taggers: Sequence[Tagger]) -> None:
        self._directory = directory
        self._members = [
            MemberWriter(directory / "members" / member_folder(tagger), tagger)
            for tagger in taggers
        ]
        self._hashes = HashWriter(directory / HASH_FOLDER)
        self._waiting: list[ImageRecord] = []
        self._failed: dict[str, str] = {}
        self._records: dict[str, ImageRecord] = {}
        self._lock = ProcessLock(directory / "lock")

    def __enter__(self) -> Self:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            if not self._lock.take():
                msg = (
                    f"The score store {self._directory} is being written by process "
                    f"{self._lock.owner()}. Wait for it to end, or use another folder."
                )
                raise TagstackError(msg)
            remove_leftovers(self._directory)
            remove_leftovers(self._directory / "images")
            self._register()
        except OSError as error:
            self._lock.release()
            msg = f"Cannot write the score store {self._directory}: {error.strerror or error}."
            raise TagstackError(msg) from error
        except TagstackError:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def missing(self, sha256: str) -> tuple[int, ...]:
        """Return the numbers of the members that have not scored a content."""
        digest = bytes.fromhex(sha256)
        return tuple(i for i, member in enumerate(self._members) if digest not in member.known)

    def has_hash(self, sha256: str) -> bool:
        """Return whether a content has a picture hash."""
        return bytes.fromhex(sha256) in self._hashes.known

    def add_hash(self, sha256: str, value: PictureHash) -> None:
        """Note what a content looks like; done once for each content."""
        self._hashes.add(sha256, value)

    def add_image(self, *, path: str, root: str, sha256: str, size_bytes: int) -> None:
        """Note an image, to be written once its content has been scored or has failed.

        Raises
        ------
        TagstackError
            If the store has another picture of that name from another folder.
        """
        old = self._records.get(path)
        if old is not None and old.root != root and old.sha256 not in ("", sha256):
            msg = (
                f"The store {self._directory} has another picture named {path!r}, scored from "
                f"{old.root!r}; this one is from {root!r}. Use a store of its own for each folder, "
                f"or score their common parent."
            )
            raise TagstackError(msg)
        self._note(path, root, sha256, size_bytes, OK, "")

    def add_failure(self, *, path: str, root: str, reason: str) -> None:
        """Note an image whose file could not be read at all."""
        self._note(path, root, "", 0, FAILED, reason)

    def fail(self, sha256: str, reason: str) -> None:
        """Note that a content cannot be decoded or scored."""
        self._failed[sha256] = reason

    def failure(self, sha256: str) -> str | None:
        """Return why a content failed in this run, None if it did not."""
        return self._failed.get(sha256)

    def add_scores(self, number: int, contents: Sequence[str], logits: NDArray[np.float32]) -> None:
        """Add a member's scores of contents; what lies below the floor is dropped.

        Parameters
        ----------
        number : int
            The member's position in ``taggers``.
        contents : sequence of n_images str
            SHA-256 of each.
        logits : array of shape (n_images, n_tags), float32
        """
        self._members[number].add(contents, logits)

    def commit(self) -> int:
        """Write everything that is complete: scores and hashes first, then images.

        Returns
        -------
        int
            Images that were written.

        Raises
        ------
        TagstackError
            If the system refuses to write; what earlier commits wrote stays whole.
        """
        for member in self._members:
            member.commit()
        self._hashes.commit()
        settled = [self._settled(record) for record in self._waiting]
        ready = [record for record in settled if record is not None]
        # An image that the store describes so already needs no second row.
        fresh = [record for record in ready if self._records.get(record.path) != record]
        if fresh:
            write_part(self._directory / "images", _images_table(fresh))
        self._records.update({record.path: record for record in fresh})
        pairs = zip(self._waiting, settled, strict=True)
        self._waiting = [record for record, done in pairs if done is None]
        return len(fresh)

    def _register(self) -> None:
        folders = {}
        if (self._directory / "store.json").exists():
            folders = read_store_index(self._directory)
        for member in self._members:
            member.open()
        self._hashes.open()
        current = folders | {m.tagger.name: m.folder.name for m in self._members}
        if current != folders:
            write_store_index(self._directory, current)
        self._records = read_records(self._directory)

    def _note(
        self, path: str, root: str, sha256: str, size_bytes: int, status: str, reason: str
    ) -> None:
        record = ImageRecord(
            path=path,
            root=root,
            sha256=sha256,
            size_bytes=size_bytes,
            status=status,
            reason=reason,
        )
        self._waiting.append(record)

    def _settled(self, record: ImageRecord) -> ImageRecord | None:
        """Return a record with its final status, None while its content is being scored."""
        if record.status == FAILED:
            return record
        reason = self._failed.get(record.sha256)
        if reason is not None:
            return replace(record, status=FAILED, reason=reason)
        return None if self.missing(record.sha256) else record


def _images_table(records: Sequence[ImageRecord]) -> pa.Table:
    rows = [
        {
            "path": record.path.encode("utf-8", "surrogateescape"),
            "root": record.root.encode("utf-8", "surrogateescape"),
            "sha256": bytes.fromhex(record.sha256),
            "size_bytes": record.size_bytes,
            "status": record.status,
            "reason": record.reason,
        }
        for record in records
    ]
    return pa.Table.from_pylist(rows, schema=IMAGES)
