"""Where level-1 scores go: what scoring asks of a sink, and what all sinks do alike.

The sinks: `ScoreWriter` adds to a store, `ShardWriter` to one part of a run that was shared out
(merged into the store later), `MemorySink` keeps everything in memory. Scores of the same
pictures are the same in all of them, bit for bit.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pictures.picture_hash import PictureHash
from tagstack.base_models.scores.member_info import MemberInfo
from tagstack.base_models.scores.reading import FAILED, OK, ImageRecord
from tagstack.configs.errors import TagstackError


@dataclass(frozen=True)
class Taken:
    """What a sink gave up to be written.

    Parameters
    ----------
    n_images : int
        Images that are complete with it.
    write : callable
        Writes it. Any thread may, while the sink takes more; in the order in which it was taken.
    """

    n_images: int
    write: Callable[[], None]


class ScoreSink(Protocol):
    """What scoring writes to; only one thread does, but for what was taken out of it."""

    def missing(self, sha256: str) -> tuple[int, ...]:
        """Return the numbers of the members that have not scored a content."""

    def has_hash(self, sha256: str) -> bool:
        """Return whether a content needs no picture hash any more."""

    def add_hash(self, sha256: str, value: PictureHash) -> None:
        """Note what a content looks like."""

    def add_image(self, *, path: str, root: str, sha256: str, size_bytes: int) -> None:
        """Note an image; it counts once its content has been scored or has failed."""

    def add_failure(self, *, path: str, root: str, reason: str) -> None:
        """Note an image that could not be read at all."""

    def add_scores(
        self,
        number: int,
        contents: Sequence[str],
        logits: NDArray[np.float32],
        features: NDArray[np.float16] | None = None,
    ) -> None:
        """Add a member's scores of contents, shape (n_images, n_tags), and its features of them.

        Features have the shape (n_images, n_features); only a member that has some gives them.
        """

    def fail(self, sha256: str, reason: str) -> None:
        """Note that a content cannot be decoded or scored."""

    def failed_before(self, sha256: str, reason: str) -> bool:
        """Return whether an earlier run gave up on a content for this very reason."""

    def failure(self, sha256: str) -> str | None:
        """Return why a content failed in this run, None if it did not."""

    def take(self) -> Taken:
        """Give up everything that is complete, to be written; to the sink it is there already."""

    def commit(self) -> int:
        """Write everything that is complete; return how many images became so."""


def kept_scores(
    logits: NDArray[np.float32], floor: np.float32
) -> list[tuple[NDArray[np.int32], NDArray[np.float16]]]:
    """Return for each image the tags at or above the floor and their logits, as they are kept.

    Parameters
    ----------
    logits : array of shape (n_images, n_tags), float32
    floor : float32
        As `floor_logit` gives it: rounded like the logits, so that both sides of the comparison
        lie on one grid.
    """
    kept = []
    for row in logits.astype(np.float16):
        tags = np.flatnonzero(row >= floor).astype(np.int32)
        kept.append((tags, row[tags]))
    return kept


def kept_features(
    member: MemberInfo, n_images: int, features: NDArray[np.float16] | None
) -> NDArray[np.float16]:
    """Return what is kept of features, shape (n_images, n_features), after a look at them.

    Raises
    ------
    ValueError
        If they are not the member's: a fault of whoever adds them.
    """
    shape = (n_images, member.n_features)
    found = np.empty(shape, np.float16) if features is None and not shape[1] else features
    if found is None or found.shape != shape or found.dtype != np.float16:
        got = "none" if found is None else f"{found.dtype} {found.shape}"
        msg = f"{member.name} keeps features of shape {shape}, float16; got {got}"
        raise ValueError(msg)
    return found


class ImageNotes(ABC):
    """The images of a run on their way to their records: what every sink does alike."""

    def __init__(self, *, retry_failed: bool = False) -> None:
        self._waiting: list[ImageRecord] = []
        self._described: list[ImageRecord] = []
        self._failed: dict[str, str] = {}
        self._records: dict[str, ImageRecord] = {}
        self._given_up: set[tuple[str, str]] | None = set() if retry_failed else None

    @property
    @abstractmethod
    def title(self) -> str:
        """What messages call the sink."""

    @abstractmethod
    def missing(self, sha256: str) -> tuple[int, ...]:
        """Return the numbers of the members that have not scored a content."""

    @abstractmethod
    def take(self) -> Taken:
        """Give up everything that is complete, to be written; to the sink it is there already."""

    def commit(self) -> int:
        """Write everything that is complete: scores and hashes first, then images.

        Returns
        -------
        int
            Images that became complete.

        Raises
        ------
        TagstackError
            If the system refuses to write; what earlier commits wrote stays whole.
        """
        taken = self.take()
        taken.write()
        return taken.n_images

    def add_image(self, *, path: str, root: str, sha256: str, size_bytes: int) -> None:
        """Note an image, to be kept once its content has been scored or has failed.

        Raises
        ------
        TagstackError
            If there is another picture of that name from another folder.
        """
        old = self._records.get(path)
        if old is not None and old.root != root and old.sha256 not in ("", sha256):
            msg = (
                f"The store {self.title} has another picture named {path!r}, scored from "
                f"{old.root!r}; this one is from {root!r}. Use a store of its own for each folder, "
                f"or score their common parent."
            )
            raise TagstackError(msg)
        self._note(path, root, sha256, size_bytes, OK, "")

    def add_failure(self, *, path: str, root: str, reason: str) -> None:
        """Note an image whose file could not be read at all."""
        self._note(path, root, "", 0, FAILED, reason)

    def add_record(self, record: ImageRecord) -> None:
        """Note an image as another sink has described it, whichever members have scored it."""
        self._described.append(record)

    def fail(self, sha256: str, reason: str) -> None:
        """Note that a content cannot be decoded or scored."""
        self._failed[sha256] = reason

    def failure(self, sha256: str) -> str | None:
        """Return why a content failed in this run, None if it did not."""
        return self._failed.get(sha256)

    def failed_before(self, sha256: str, reason: str) -> bool:
        """Return whether an earlier run gave up on a content for this very reason."""
        if self._given_up is None:
            self._given_up = {
                (record.sha256, record.reason)
                for record in self._records.values()
                if record.status == FAILED
            }
        return (sha256, reason) in self._given_up

    def _fresh(self) -> list[ImageRecord]:
        """Return the images that are through, as far as they are not described so already."""
        settled = [self._settled(record) for record in self._waiting] + self._described
        return [r for r in settled if r is not None and self._records.get(r.path) != r]

    def _keep(self, fresh: Sequence[ImageRecord]) -> None:
        """Let what `_fresh` returned count; the other images go on waiting."""
        self._waiting = [record for record in self._waiting if self._settled(record) is None]
        self._described = []
        self._records.update({record.path: record for record in fresh})

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
