"""Level-1 scores in memory alone: written like a store, read like a store, no file anywhere."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pictures.picture_hash import (
    THUMBNAIL_BYTES,
    PictureHash,
    PictureHashes,
)
from tagstack.base_models.scores.member_info import MemberInfo
from tagstack.base_models.scores.members import NO_ROWS, Members, Rows
from tagstack.base_models.scores.reading import (
    Digests,
    ImageRecord,
    ScoredMember,
    ScoreReader,
    whole_digest,
)
from tagstack.base_models.scores.sink import ImageNotes, Taken, kept_features, kept_scores
from tagstack.base_models.taggers.fingerprint import floor_logit


class MemberMemory:
    """One member's scores by content."""

    def __init__(self, info: MemberInfo) -> None:
        self.info = info
        self._floor = floor_logit(info.floor)
        self._kept: dict[bytes, tuple[NDArray[np.int32], NDArray[np.float16]]] = {}
        self._features: dict[bytes, NDArray[np.float16]] = {}

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._kept

    def add(
        self,
        contents: Sequence[str],
        logits: NDArray[np.float32],
        features: NDArray[np.float16] | None,
    ) -> None:
        """Add the scores of contents, shape (n_images, n_tags), and their features."""
        own = kept_features(self.info, len(contents), features)
        kept = kept_scores(logits, self._floor)
        for sha256, scores, vector in zip(contents, kept, own, strict=True):
            digest = bytes.fromhex(sha256)
            self._kept[digest], self._features[digest] = scores, vector

    def knows(self, digests: Digests) -> NDArray[np.bool_]:
        """Return for each content whether it was scored, shape (n_images,), bool."""
        return np.array([whole_digest(item) in self._kept for item in digests], bool)

    def gather(self, digests: Digests) -> Rows:
        """Return scores of contents that `knows` finds, by position, each of shape (n_rows,)."""
        if not len(digests):
            return NO_ROWS
        tags, logits = zip(*(self._kept[whole_digest(item)] for item in digests), strict=True)
        image = np.repeat(np.arange(len(digests)), [len(own) for own in tags])
        return image, np.concatenate(tags), np.concatenate(logits)

    def features(self, digests: Digests) -> NDArray[np.float16]:
        """Return features of contents that `knows` finds, shape (n_images, n_features)."""
        found = [self._features[whole_digest(item)] for item in digests]
        return np.array(found, np.float16).reshape(len(digests), self.info.n_features)


class MemorySink(ImageNotes, ScoreReader):
    """Takes scores as a store does and gives them back without a file.

    Only what was committed is read. Memory grows with the images; for many, write to a store.

    Parameters
    ----------
    members : Members
        Of this run; read in this order they share what joining costs. By default they are read
        sorted by name, as from a store.
    hashes : bool
        Whether to ask for what the pictures look like, which fitting needs and tagging does not.
    """

    def __init__(self, members: Members, *, hashes: bool = True) -> None:
        super().__init__()
        self._run = members
        self._members = [MemberMemory(info) for info in members.infos]
        self._by_name = {own.info.name: own for own in sorted(self._members, key=_name)}
        self._wants_hashes = hashes
        self._hashes: dict[bytes, PictureHash] = {}

    @property
    def title(self) -> str:
        """What messages call it."""
        return "Scores in memory"

    def missing(self, sha256: str) -> tuple[int, ...]:
        """Return the numbers of the members that have not scored a content."""
        digest = bytes.fromhex(sha256)
        return tuple(number for number, own in enumerate(self._members) if digest not in own)

    def has_hash(self, sha256: str) -> bool:
        """Return whether a content needs no picture hash any more."""
        return not self._wants_hashes or bytes.fromhex(sha256) in self._hashes

    def add_hash(self, sha256: str, value: PictureHash) -> None:
        """Note what a content looks like; done once for each content."""
        self._hashes.setdefault(bytes.fromhex(sha256), value)

    def add_scores(
        self,
        number: int,
        contents: Sequence[str],
        logits: NDArray[np.float32],
        features: NDArray[np.float16] | None = None,
    ) -> None:
        """Add a member's scores of contents; what lies below the floor is dropped."""
        self._members[number].add(contents, logits, features)

    def take(self) -> Taken:
        """Let every image that is complete be read; there is nothing to write."""
        fresh = self._fresh()
        self._keep(fresh)
        return Taken(len(fresh), lambda: None)

    def scored_members(self) -> Mapping[str, ScoredMember]:
        """Return each member's scores by member name."""
        return self._by_name

    def image_records(self) -> Mapping[str, ImageRecord]:
        """Return each image's last record, by name."""
        return self._records

    def hashes_of(self, digests: Digests) -> PictureHashes:
        """Return what contents look like, row by row."""
        found = [self._hashes.get(whole_digest(item)) for item in digests]
        thumbnails = np.zeros((len(found), THUMBNAIL_BYTES), np.uint8)
        for row, value in zip(thumbnails, found, strict=True):
            if value is not None:
                row[:] = np.frombuffer(value.thumbnail, np.uint8)
        return PictureHashes(
            known=np.array([value is not None for value in found], bool),
            bits=np.array([0 if value is None else value.bits for value in found], np.uint64),
            thumbnails=thumbnails,
        )

    def _joint(self, chosen: Sequence[ScoredMember]) -> Members:
        return self._run if list(chosen) == self._members else super()._joint(chosen)


def _name(member: MemberMemory) -> str:
    return member.info.name
