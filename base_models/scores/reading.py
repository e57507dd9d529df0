"""Reading level-1 scores by image name, whatever keeps them: a store's files, or memory."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Level1Scores, one_after_the_other
from tagstack.base_models.pictures.picture_hash import PictureHashes
from tagstack.base_models.scores.member_info import MemberInfo
from tagstack.base_models.scores.members import Members, Rows
from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.configs.errors import TagstackError

Digests: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.bytes_]]"

_AT_ONCE = 25_000  # images joined together: what joining needs beside the scores stays bounded

OK = "ok"
FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRecord:
    """What is known of an image.

    Parameters
    ----------
    path : str
        Name: path below ``root`` in POSIX form; bytes that are no UTF-8 as surrogate escapes.
    root : str
        Absolute folder that it was scored from; empty for a picture that was given in memory.
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


class ScoredMember(Protocol):
    """One member's scores, found by content."""

    @property
    def info(self) -> MemberInfo:
        """What is known of the member."""

    def knows(self, digests: Digests) -> NDArray[np.bool_]:
        """Return for each content whether it was scored, shape (n_images,), bool."""

    def gather(self, digests: Digests) -> Rows:
        """Return scores of contents that `knows` finds, by position, each of shape (n_rows,)."""

    def features(self, digests: Digests) -> NDArray[np.float16]:
        """Return features of contents that `knows` finds, shape (n_images, n_features)."""


class ScoreReader(ABC):
    """Scores of images by name; what keeps them says the rest.

    A class of it gives the members' scores by content, the records of the images and the hashes.
    """

    @property
    @abstractmethod
    def title(self) -> str:
        """What messages call it."""

    @abstractmethod
    def scored_members(self) -> Mapping[str, ScoredMember]:
        """Return each member's scores by member name, in the default order of the members."""

    @abstractmethod
    def image_records(self) -> Mapping[str, ImageRecord]:
        """Return each image's last record, by name."""

    @abstractmethod
    def hashes_of(self, digests: Digests) -> PictureHashes:
        """Return what contents look like, row by row; unknown where nobody has looked."""

    def members(self) -> tuple[MemberInfo, ...]:
        """Return the members in their default order."""
        return tuple(member.info for member in self.scored_members().values())

    def aliases(self) -> dict[str, str]:
        """Return the renamed tags of all members: old name -> current name."""
        return {old: new for member in self.members() for old, new in member.aliases.items()}

    def records(self) -> list[ImageRecord]:
        """Return every image that was ever scored or failed, sorted by name."""
        found = self.image_records()
        return [found[path] for path in sorted(found)]

    def failures(self) -> list[ImageRecord]:
        """Return the images that failed when last tried, sorted by name."""
        return [record for record in self.records() if record.status != OK]

    def load(
        self,
        images: Sequence[str] | None = None,
        members: Sequence[str] | None = None,
        *,
        features: bool = False,
        spill: Spill = IN_MEMORY,
    ) -> Level1Scores:
        """Return the scores of images over the members' joint vocabulary.

        Parameters
        ----------
        images : sequence of str, optional
            Names, in the order wanted; all by default, sorted. Names that failed, or that a
            chosen member has not scored, are left out: compare with ``Level1Scores.images``.
        members : sequence of str, optional
            Member names, in the order wanted; all by default.
        features : bool
            Whether the members' features are read as well.
        spill : Spill, optional
            Where the logits lie.

        Raises
        ------
        TagstackError
            If a member is unknown, or no image has scores of all the members.
        """
        chosen = self._chosen(members)
        names = self._scored(images, chosen)
        if not names:
            msg = (
                f"{self.title}: no image has scores of all of {[m.info.name for m in chosen]}. "
                f"Run `tagstack score` over the images with these models."
            )
            raise TagstackError(msg)
        joint = self._joint(chosen)
        chunks = []
        for start in range(0, len(names), _AT_ONCE):
            chunk = self._joined(names[start : start + _AT_ONCE], chosen, joint, features)
            chunks.append(replace(chunk, logit=spill.held(chunk.logit)))
            spill.let_go()
        return one_after_the_other(chunks, spill)

    def iter_chunks(
        self,
        n_images: int,
        images: Sequence[str] | None = None,
        members: Sequence[str] | None = None,
        *,
        features: bool = False,
    ) -> Iterator[Level1Scores]:
        """Yield what `load` would return, at most ``n_images`` images at a time.

        Memory is bounded by the chunk and one part of each member, however many images there
        are. Every chunk has the same vocabulary and members.
        """
        chosen = self._chosen(members)
        names, joint = self._scored(images, chosen), self._joint(chosen)
        for start in range(0, len(names), n_images):
            yield self._joined(names[start : start + n_images], chosen, joint, features)

    def scored(self, images: Sequence[str], members: Sequence[str] | None = None) -> list[str]:
        """Return those images that all the members have scored, in the order given."""
        return self._scored(images, self._chosen(members))

    def picture_hashes(self, images: Sequence[str]) -> PictureHashes:
        """Return what images look like; unknown for those scored before hashes were kept.

        Parameters
        ----------
        images : sequence of str
            Names.

        Raises
        ------
        TagstackError
            If a name is not there.
        """
        missing = [name for name in images if name not in self.image_records()]
        if missing:
            msg = f"{self.title} has no image {missing[0]!r}. Run `tagstack score` over it."
            raise TagstackError(msg)
        return self.hashes_of(self._digests(images))

    def _chosen(self, members: Sequence[str] | None) -> list[ScoredMember]:
        known = self.scored_members()
        names = tuple(known) if members is None else tuple(members)
        unknown = [name for name in names if name not in known]
        if unknown or not names or len(set(names)) < len(names):
            msg = (
                f"{self.title}: members {list(names)} asked for; the store has "
                f"{list(known)}. Expected some of those, once each."
            )
            raise TagstackError(msg)
        return [known[name] for name in names]

    def _scored(self, images: Sequence[str] | None, chosen: Sequence[ScoredMember]) -> list[str]:
        records = self.image_records()
        wanted = sorted(records) if images is None else images
        good = [name for name in wanted if name in records and records[name].status == OK]
        if not good:
            return []
        digests = self._digests(good)
        known = np.all([member.knows(digests) for member in chosen], axis=0)
        return [name for name, has in zip(good, known, strict=True) if has]

    def _joined(
        self, names: Sequence[str], chosen: Sequence[ScoredMember], joint: Members, features: bool
    ) -> Level1Scores:
        digests = self._digests(names)
        scores = joint.joined(names, [member.gather(digests) for member in chosen])
        if not features:
            return scores
        return replace(scores, features=tuple(member.features(digests) for member in chosen))

    def _joint(self, chosen: Sequence[ScoredMember]) -> Members:
        return Members(tuple(member.info for member in chosen))

    def _digests(self, names: Sequence[str]) -> Digests:
        records = self.image_records()
        return digest_array(records[name].sha256 for name in names)


def digest_array(contents: Iterable[str]) -> Digests:
    """Return SHA-256 hashes in hexadecimal as an array of shape (n_images,), dtype S32."""
    return np.array([bytes.fromhex(sha256) for sha256 in contents], "S32")


def whole_digest(item: bytes) -> bytes:
    """Return the 32 bytes of an item of a `Digests` array: numpy drops zeros at the end."""
    return bytes(item).ljust(32, b"\0")
