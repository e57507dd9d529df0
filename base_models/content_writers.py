"""The two kinds of parts that are keyed by content: a member's scores, and picture hashes.

Each writer gathers rows in memory and adds them as one part on `commit`; what is on disk already
is known by its digests alone.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tagstack.base_models.atomic import remove_leftovers
from tagstack.base_models.member_info import write_member_info
from tagstack.base_models.picture_hash import PictureHash
from tagstack.base_models.store_parts import HASHES, SCORES, part_paths, read_part, write_part
from tagstack.base_models.tagger import Tagger, floor_logit


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
