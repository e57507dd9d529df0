"""The writing side of a score store: one process at a time, whole parts, resumable.

Scores and picture hashes reach the disk before the images that refer to them. A kill between the
two costs nothing: the next run finds them by content and only adds the images.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tagstack.base_models.addresses import address_of
from tagstack.base_models.atomic import remove_leftovers
from tagstack.base_models.locks import ProcessLock
from tagstack.base_models.pictures.picture_hash import PictureHash
from tagstack.base_models.scores.arrow_arrays import (
    bytes_array,
    list_array,
    number_array,
    text_array,
)
from tagstack.base_models.scores.member_info import (
    MemberInfo,
    member_folder,
    read_store_index,
    write_member_info,
    write_store_index,
)
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.reading import ImageRecord
from tagstack.base_models.scores.sink import ImageNotes, Taken, kept_features, kept_scores
from tagstack.base_models.scores.store import read_records
from tagstack.base_models.scores.store_parts import (
    DAMAGED,
    FEATURE_FOLDER,
    HASH_FOLDER,
    HASHES,
    IMAGES,
    SCORES,
    feature_schema,
    next_number,
    part_paths,
    read_part,
    set_damaged_aside,
    set_features_aside,
    write_part,
)
from tagstack.base_models.taggers.fingerprint import floor_logit
from tagstack.configs.errors import TagstackError
from tagstack.configs.shown import shown

logger = logging.getLogger(__name__)


# A content's digest, tags, logits and features.
_Row: TypeAlias = tuple[bytes, NDArray[np.int32], NDArray[np.float16], NDArray[np.float16]]


class MemberWriter:
    """Scores of one member that are not on disk yet, and the contents that have some.

    Parameters
    ----------
    folder : Path
        Created by `open`.
    member : MemberInfo
    """

    def __init__(self, folder: Path, member: MemberInfo) -> None:
        self.folder = folder
        self.member = member
        self.known: set[bytes] = set()
        self._floor = floor_logit(member.floor)
        self._rows: list[_Row] = []

    def open(self) -> None:
        """Create the folder, or find out which contents it has."""
        if not (self.folder / "member.json").exists():
            write_member_info(self.folder, self.member)
        remove_leftovers(self.folder)
        if self.member.n_features:
            (self.folder / FEATURE_FOLDER).mkdir(exist_ok=True)
            remove_leftovers(self.folder / FEATURE_FOLDER)
        self.known |= digests_in(self.folder, SCORES)

    def add(
        self,
        contents: Sequence[str],
        logits: NDArray[np.float32],
        features: NDArray[np.float16] | None,
    ) -> None:
        """Add the scores of contents, shape (n_images, n_tags), those below the floor left out."""
        own = kept_features(self.member, len(contents), features)
        kept = kept_scores(logits, self._floor)
        for sha256, (tags, values), vector in zip(contents, kept, own, strict=True):
            self.add_kept(bytes.fromhex(sha256), tags, values, vector)

    def add_kept(
        self,
        digest: bytes,
        tags: NDArray[np.int32],
        logits: NDArray[np.float16],
        features: NDArray[np.float16],
    ) -> None:
        """Add the scores of one content as `kept_scores` left them, and its features."""
        self._rows.append((digest, tags, logits, features))
        self.known.add(digest)

    def take(self) -> Callable[[], None]:
        """Give up what was added; return what writes it as one part."""
        rows, self._rows = self._rows, []
        return partial(self._write, rows)

    def _write(self, rows: Sequence[_Row]) -> None:
        if not rows:
            return
        digests, tags, logits, features = zip(*rows, strict=True)
        offsets = np.concatenate([[0], np.cumsum([len(own) for own in tags])])
        columns = {
            "sha256": bytes_array(digests, pa.binary(32)),
            "tag": list_array(offsets, np.concatenate(tags)),
            "logit": list_array(offsets, np.concatenate(logits)),
        }
        number = next_number(self.folder)
        if self.member.n_features:  # first: scores without their features would be damaged
            write_part(self.folder / FEATURE_FOLDER, self._features(digests, features), number)
        write_part(self.folder, pa.table(columns, schema=SCORES), number)

    def _features(
        self, digests: Sequence[bytes], features: Sequence[NDArray[np.float16]]
    ) -> pa.Table:
        n_features = self.member.n_features
        values = [np.asarray(vector, "<f2").tobytes() for vector in features]
        columns = {
            "sha256": bytes_array(digests, pa.binary(32)),
            "features": bytes_array(values, pa.binary(2 * n_features)),
        }
        return pa.table(columns, schema=feature_schema(n_features))


class HashWriter:
    """Picture hashes that are not on disk yet, and the contents that have one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.known: set[bytes] = set()
        self._waiting: list[tuple[bytes, PictureHash]] = []

    def open(self) -> None:
        """Find out which contents have a hash."""
        remove_leftovers(self._folder)
        self.known |= digests_in(self._folder, HASHES)

    def add(self, sha256: str, value: PictureHash) -> None:
        """Add the hash of a content that has none."""
        digest = bytes.fromhex(sha256)
        if digest not in self.known:
            self.known.add(digest)
            self._waiting.append((digest, value))

    def take(self) -> Callable[[], None]:
        """Give up what was added; return what writes it as one part."""
        waiting, self._waiting = self._waiting, []
        return partial(self._write, waiting)

    def _write(self, waiting: Sequence[tuple[bytes, PictureHash]]) -> None:
        if not waiting:
            return
        bits = np.array([value.bits for _, value in waiting], np.uint64)
        columns = {
            "sha256": bytes_array([digest for digest, _ in waiting], pa.binary(32)),
            "bits": number_array(bits),
            "thumbnail": bytes_array([v.thumbnail for _, v in waiting], pa.binary(192)),
        }
        write_part(self._folder, pa.table(columns, schema=HASHES))


def digests_in(folder: Path, schema: pa.Schema) -> set[bytes]:
    """Return the contents that the parts in a folder are about; none if there is no folder."""
    found: set[bytes] = set()
    for path in part_paths(folder):
        found.update(read_part(path, schema, ("sha256",)).column("sha256").to_pylist())
    return found


class ScoreWriter(ImageNotes):
    """Adds scores and images to a store; use it as a context manager.

    Nothing is on disk before `commit`. Leaving the context releases the lock and writes nothing.

    Parameters
    ----------
    directory : Path
        Created where it does not exist.
    members : Members
        Of this run; their order gives the member numbers below.
    retry_failed : bool
        Whether to try contents again that an earlier run gave up on.
    wait_s : float
        Seconds that another process may take to end its writing.

    Raises
    ------
    TagstackError
        On entering, if another process writes to the store or the folder cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        members: Members,
        *,
        retry_failed: bool = False,
        wait_s: float = 0.0,
    ) -> None:
        super().__init__(retry_failed=retry_failed)
        self._wait_s = wait_s
        if (address := address_of(directory)) is not None:
            msg = (
                f"This command cannot write the score store {shown(address)}: only `score` and "
                f"`scores merge` write to an object store. Expected a folder. Name one, and merge "
                f"it into the other."
            )
            raise TagstackError(msg)
        self._directory = directory
        self._members = [
            MemberWriter(directory / "members" / member_folder(info), info)
            for info in members.infos
        ]
        self._hashes = HashWriter(directory / HASH_FOLDER)
        self._lock = ProcessLock(directory / "lock")

    @property
    def title(self) -> str:
        """The folder."""
        return str(self._directory)

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names; a member's number is its position here."""
        return tuple(own.member.name for own in self._members)

    def __enter__(self) -> Self:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            if not self._lock.take(wait_s=self._wait_s):
                msg = (
                    f"The score store {self._directory} is being written by process "
                    f"{self._lock.owner()}. Wait for it to end, or use another folder."
                )
                raise TagstackError(msg)
            remove_leftovers(self._directory)
            remove_leftovers(self._directory / "images")
            self._set_damaged_aside()
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

    def add_scores(
        self,
        number: int,
        contents: Sequence[str],
        logits: NDArray[np.float32],
        features: NDArray[np.float16] | None = None,
    ) -> None:
        """Add a member's scores of contents; what lies below the floor is dropped.

        Parameters
        ----------
        number : int
            The member's position in ``names``.
        contents : sequence of n_images str
            SHA-256 of each.
        logits : array of shape (n_images, n_tags), float32
        features : array of shape (n_images, n_features), float16, optional
            Of a member that keeps some.
        """
        self._members[number].add(contents, logits, features)

    def add_kept(
        self,
        number: int,
        sha256: str,
        tags: NDArray[np.int32],
        logits: NDArray[np.float16],
        features: NDArray[np.float16],
    ) -> None:
        """Add a member's scores of one content as another store or sink has kept them.

        Parameters
        ----------
        number : int
            The member's position in ``names``.
        sha256 : str
        tags : array of shape (n_scores,), int32
            Indices into the member's own vocabulary, ascending.
        logits : array of shape (n_scores,), float16
        features : array of shape (n_features,), float16
        """
        self._members[number].add_kept(bytes.fromhex(sha256), tags, logits, features)

    def take(self) -> Taken:
        """Give up everything that is complete, to be written; to the sink it is there already."""
        writes = [*(member.take() for member in self._members), self._hashes.take()]
        fresh = self._fresh()
        self._keep(fresh)

        def write() -> None:
            for part in writes:
                part()
            if fresh:
                write_part(self._directory / "images", _images_table(fresh))

        return Taken(len(fresh), write)

    def _set_damaged_aside(self) -> None:
        """Move what is damaged out of the way: to this run its images are new."""
        aside = self._directory / DAMAGED
        found = set_damaged_aside(self._directory / "images", aside, IMAGES)
        found += set_damaged_aside(self._directory / HASH_FOLDER, aside, HASHES)
        for own in self._members:
            n_tags = len(own.member.vocabulary)
            found += set_damaged_aside(own.folder, aside, SCORES, n_tags)
            if own.member.n_features:
                found += set_features_aside(own.folder, aside, own.member.n_features)
        for error in found:
            logger.warning(
                "The part %s is damaged: %s. It was moved to %s; its images are scored again.",
                error.path,
                error.reason,
                aside,
            )

    def _register(self) -> None:
        folders = {}
        if (self._directory / "store.json").exists():
            folders = read_store_index(self._directory)
        for member in self._members:
            member.open()
        self._hashes.open()
        current = folders | {m.member.name: m.folder.name for m in self._members}
        if current != folders:
            write_store_index(self._directory, current)
        self._records = read_records(self._directory)


def _images_table(records: Sequence[ImageRecord]) -> pa.Table:
    columns = {
        "path": _name_array([record.path for record in records]),
        "root": _name_array([record.root for record in records]),
        "sha256": bytes_array([bytes.fromhex(r.sha256) for r in records], pa.binary()),
        "size_bytes": number_array(np.array([r.size_bytes for r in records], np.int64)),
        "status": text_array([r.status for r in records]),
        "reason": text_array([r.reason for r in records]),
    }
    return pa.table(columns, schema=IMAGES)


def _name_array(names: Sequence[str]) -> pa.Array:
    return bytes_array([name.encode("utf-8", "surrogateescape") for name in names], pa.binary())
