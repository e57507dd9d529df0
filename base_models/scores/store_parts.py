"""The Parquet parts of a score store: numbered files, each written whole, none ever changed."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from tagstack.base_models.atomic import written_whole
from tagstack.base_models.pictures.picture_hash import THUMBNAIL_BYTES, PictureHashes
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import MIB, read_regular

# Names are bytes because a file name need not be valid UTF-8.
IMAGES = pa.schema(
    [
        ("path", pa.binary()),
        ("root", pa.binary()),
        ("sha256", pa.binary()),
        ("size_bytes", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)
SCORES = pa.schema(
    [
        ("sha256", pa.binary(32)),
        ("tag", pa.list_(pa.int32())),
        ("logit", pa.list_(pa.float16())),
    ]
)
# By content like the scores. Stores from before hashes were kept lack these parts, not a column.
HASHES = pa.schema(
    [
        ("sha256", pa.binary(32)),
        ("bits", pa.uint64()),
        ("thumbnail", pa.binary(192)),
    ]
)
HASH_FOLDER = "hashes"
PART_BYTES = 1024 * MIB  # a part of 2,048 images of five taggers has some 5 MB

_PART = re.compile(r"part-(\d{8})\.parquet")


def part_paths(folder: Path) -> list[Path]:
    """Return the parts in a folder in the order in which they were written."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _PART.fullmatch(path.name))


def write_part(folder: Path, table: pa.Table) -> None:
    """Add a part to a folder, whole or not at all.

    Raises
    ------
    TagstackError
        If the system refuses to write, for one because the disk is full.
    """
    last = part_paths(folder)[-1:]
    number = int(_PART.fullmatch(last[0].name)[1]) + 1 if last else 0  # type: ignore[index]
    target = folder / f"part-{number:08d}.parquet"
    with written_whole(target) as temporary:
        parquet.write_table(table, temporary, compression="zstd", use_dictionary=["status"])


def read_part(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> Any:
    """Return a part as a table, or only some of its columns.

    Raises
    ------
    TagstackError
        If the file is damaged or holds other columns.
    """
    try:
        # From memory: the size is bounded, a pipe is never waited for, a link never followed.
        data = pa.BufferReader(read_regular(path, max_bytes=PART_BYTES, follow=False))
        table = parquet.ParquetFile(data).read(columns=list(columns or schema.names))
        return table.cast(pa.schema([schema.field(name) for name in columns or schema.names]))
    except (OSError, pa.ArrowException) as error:
        msg = (
            f"Cannot read the part {path}: {' '.join(str(error).split())[:200]}. Delete this file "
            f"and score again: only its images will be scored anew."
        )
        raise TagstackError(msg) from error


Digests: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.bytes_]]"


def read_hashes(folder: Path, digests: Digests) -> PictureHashes:
    """Return the hashes of contents, row by row; unknown where no part has them.

    Parameters
    ----------
    folder : Path
        Need not exist.
    digests : array of shape (n_images,), dtype S32
        SHA-256 of each content; empty for a file that could not be read.
    """
    known = np.zeros(len(digests), bool)
    bits = np.zeros(len(digests), np.uint64)
    thumbnails = np.zeros((len(digests), THUMBNAIL_BYTES), np.uint8)
    order = np.argsort(digests, kind="stable")
    wanted = digests[order]
    for path in part_paths(folder):
        table = read_part(path, HASHES)
        own = np.array(table.column("sha256").to_pylist(), "S32")
        first, last = np.searchsorted(wanted, own), np.searchsorted(wanted, own, side="right")
        counts = last - first
        row = np.repeat(np.arange(len(own)), counts)  # a content may have several names
        place = order[np.repeat(last - np.cumsum(counts), counts) + np.arange(counts.sum())]
        known[place] = True
        bits[place] = table.column("bits").to_numpy()[row]
        thumbnails[place] = _thumbnails(table)[row]
    return PictureHashes(known=known, bits=bits, thumbnails=thumbnails)


def _thumbnails(table: object) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    column = b"".join(table.column("thumbnail").to_pylist())  # type: ignore[attr-defined]
    return np.frombuffer(column, np.uint8).reshape(-1, THUMBNAIL_BYTES)
