"""One run shared out: every worker writes a shard beside the store, and one merge ends it.

A shard is a small store of its own under ``shards/`` inside the store's folder, so that workers
never wait for each other. Which images a shard takes is fixed before the run (by slices of the
sorted names, say). The merge writes the images sorted by name and parted by count alone, so the
files of a new store are the same, byte for byte, however many shards there were.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pictures.picture_hash import PictureHash
from tagstack.base_models.scores.member_info import member_folder
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.reading import (
    OK,
    ImageRecord,
    ScoredMember,
    ScoreReader,
    digest_array,
)
from tagstack.base_models.scores.store import ScoreStore, read_records
from tagstack.base_models.scores.store_parts import HASH_FOLDER, HASHES, SCORES
from tagstack.base_models.scores.store_writer import ScoreWriter, digests_in
from tagstack.configs.errors import TagstackError

FOLDER = "shards"
_Kept: TypeAlias = tuple[NDArray[np.int32], NDArray[np.float16], NDArray[np.float16]]


class ShardWriter(ScoreWriter):
    """Adds scores and images to one shard of a store; what the store has is not missing.

    Parameters
    ----------
    store : Path
        Folder of the store, which need not exist.
    members : Members
    number : int
        Of the shard, from 0; an interrupted worker goes on under its own number.
    retry_failed : bool
        Whether to try contents again that an earlier run gave up on.
    wait_s : float
        Seconds that another worker may take to end its writing.
    """

    def __init__(
        self,
        store: Path,
        members: Members,
        number: int,
        *,
        retry_failed: bool = False,
        wait_s: float = 0.0,
    ) -> None:
        folder = store / FOLDER / f"{number:05d}"
        super().__init__(folder, members, retry_failed=retry_failed, wait_s=wait_s)
        self._store = store

    def _register(self) -> None:
        super()._register()
        for own in self._members:
            folder = self._store / "members" / member_folder(own.member)
            own.known |= digests_in(folder, SCORES)
        self._hashes.known |= digests_in(self._store / HASH_FOLDER, HASHES)
        self._records = read_records(self._store) | self._records


def merge_shards(store: Path, *, part_images: int, wait_s: float = 0.0) -> int:
    """Move everything complete from the shards into the store; return how many images it got.

    A merge that was killed goes on when it is called again; without shards nothing happens.

    Parameters
    ----------
    store : Path
        Folder of the store; created if needed.
    part_images : int
        Images in a part, at most.
    wait_s : float
        Seconds that a worker may take to end its writing.

    Raises
    ------
    TagstackError
        If a shard or the store is being written, is damaged, or the shards have other members
        than each other.
    """
    folder = store / FOLDER
    folders = sorted(path for path in folder.glob("*") if path.is_dir())
    if not folders:
        return 0
    shards = [ScoreStore(path) for path in folders]
    members = _common_members(shards)
    with ExitStack() as stack:
        for path in folders:  # holds the locks: a shard that grows meanwhile would lose images
            stack.enter_context(ScoreWriter(path, members, wait_s=wait_s))
        writer = stack.enter_context(ScoreWriter(store, members))
        n_images = copy_images(shards, writer, part_images=part_images)
    shutil.rmtree(folder)
    return n_images


def copy_images(
    readers: Sequence[ScoreReader],
    writer: ScoreWriter,
    *,
    part_images: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Add the images of readers to a store, sorted by name; return how many were new to it.

    Parameters
    ----------
    readers : sequence of ScoreReader
        Each with some members of the writer. A content that several have is taken from the first,
        a name from the last in which it did not fail.
    writer : ScoreWriter
        What it has already is not written again.
    part_images : int
        Images in a part, at most; memory is bounded by it.
    progress : callable (done, total), optional
        Told before each part, in images.
    """
    records = _latest_records(readers)
    names, n_images = sorted(records), 0
    for start in range(0, len(names), part_images):
        progress(start, len(names))
        chunk = [records[name] for name in names[start : start + part_images]]
        contents = list(dict.fromkeys(record.sha256 for record in chunk if record.status == OK))
        _copy_scores(readers, writer, contents)
        _copy_hashes(readers, writer, contents)
        for record in chunk:
            writer.add_record(record)
        n_images += writer.commit()
    return n_images


def _latest_records(readers: Sequence[ScoreReader]) -> dict[str, ImageRecord]:
    records: dict[str, ImageRecord] = {}
    for reader in readers:
        for name, record in reader.image_records().items():
            if record.status == OK or name not in records or records[name].status != OK:
                records[name] = record
    return records


def _copy_scores(
    readers: Sequence[ScoreReader], writer: ScoreWriter, contents: Sequence[str]
) -> None:
    missing = {sha256: writer.missing(sha256) for sha256 in contents}
    for number, name in enumerate(writer.names):
        wanted = [sha256 for sha256 in contents if number in missing[sha256]]
        kept: dict[str, _Kept] = {}
        for reader in readers:
            left = [sha256 for sha256 in wanted if sha256 not in kept]
            if name in (scored := reader.scored_members()):
                kept.update(_kept_rows(scored[name], left))
        # In the order of the images, wherever each lay: the part is the same for any shards.
        for sha256 in wanted:
            if sha256 in kept:
                writer.add_kept(number, sha256, *kept[sha256])


def _kept_rows(member: ScoredMember, wanted: Sequence[str]) -> Iterator[tuple[str, _Kept]]:
    """Yield those contents that a member has scored, with its scores and features."""
    digests = digest_array(wanted)
    here = np.flatnonzero(member.knows(digests)) if len(digests) else np.empty(0, np.intp)
    image, tag, logit = member.gather(digests[here])
    features = member.features(digests[here])
    order = np.argsort(image, kind="stable")
    tag, logit = tag[order], logit[order]
    ends = np.cumsum(np.bincount(image, minlength=len(here)))
    starts = np.concatenate([[0], ends])
    for position, start, end, vector in zip(here.tolist(), starts, ends, features, strict=False):
        yield wanted[position], (tag[start:end], logit[start:end], vector)


def _copy_hashes(
    readers: Sequence[ScoreReader], writer: ScoreWriter, contents: Sequence[str]
) -> None:
    wanted = [sha256 for sha256 in contents if not writer.has_hash(sha256)]
    if not wanted:
        return
    found = [reader.hashes_of(digest_array(wanted)) for reader in readers]
    for i, sha256 in enumerate(wanted):
        for own in found:
            if own.known[i]:
                value = PictureHash(bits=int(own.bits[i]), thumbnail=own.thumbnails[i].tobytes())
                writer.add_hash(sha256, value)
                break


def _common_members(shards: Sequence[ScoreStore]) -> Members:
    """Return the members of all shards; refuse shards of different runs."""
    first = shards[0].members()
    for shard in shards[1:]:
        theirs = shard.members()
        if [m.fingerprint for m in theirs] != [m.fingerprint for m in first]:
            msg = (
                f"{shard.title} was scored with {[m.name for m in theirs]}, {shards[0].title} with "
                f"{[m.name for m in first]} (or other versions of them). Score every shard with "
                "the same taggers, or delete those of an older run."
            )
            raise TagstackError(msg)
    return Members(first)
