"""The Parquet parts of a score store: numbered files, each written whole, none ever changed."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from tagstack.base_models.atomic import written_whole
from tagstack.base_models.pictures.picture_hash import THUMBNAIL_BYTES, PictureHashes
from tagstack.base_models.scores.arrow_arrays import numbers_of
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
FEATURE_FOLDER = "features"
"""Inside a member's folder; each part goes with the part of scores of the same number."""
PART_BYTES = 1024 * MIB  # a part of 2,048 images of five taggers has some 5 MB

# Number and checksum: the first half of the file's SHA-256. Older parts have none.
_PART = re.compile(r"part-(\d{8})(?:-([0-9a-f]{32}))?\.parquet")
DAMAGED = "damaged"
_MOST_LOGIT = 100.0  # a logit that float16 holds and no tagger gives


def feature_schema(n_features: int) -> pa.Schema:
    """Return the columns of a part of features: float16 in little-endian order, one after another.

    The rows are those of the part of scores that it goes with.
    """
    return pa.schema([("sha256", pa.binary(32)), ("features", pa.binary(2 * n_features))])


def part_number(path: Path) -> int:
    """Return the number of a part."""
    found = _PART.fullmatch(path.name)
    return int(found[1]) if found is not None else -1


def part_paths(folder: Path) -> list[Path]:
    """Return the parts in a folder in the order in which they were written."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _PART.fullmatch(path.name))


def next_number(folder: Path) -> int:
    """Return the number of the part that `write_part` would add to a folder."""
    last = part_paths(folder)[-1:]
    return part_number(last[0]) + 1 if last else 0


def write_part(folder: Path, table: pa.Table, number: int | None = None) -> None:
    """Add a part to a folder, whole or not at all; its number follows the last by default.

    Raises
    ------
    TagstackError
        If the system refuses to write, for one because the disk is full.
    """
    number = next_number(folder) if number is None else number
    content = pa.BufferOutputStream()
    parquet.write_table(table, content, compression="zstd", use_dictionary=["status"])
    data = content.getvalue().to_pybytes()
    with written_whole(folder / f"part-{number:08d}-{_checksum(data)}.parquet") as temporary:
        temporary.write_bytes(data)


def read_part(path: Path, schema: pa.Schema, columns: Sequence[str] | None = None) -> Any:
    """Return a part as a table, or only some of its columns; the whole file is checked first.

    Raises
    ------
    DamagedPartError
        If the file is not what was written, is damaged or holds other columns.
    """
    try:
        # From memory: the size is bounded, a pipe is never waited for, a link never followed.
        data = read_regular(path, max_bytes=PART_BYTES, follow=False)
        _check_sum(path, data)
        names = list(columns or schema.names)
        table = parquet.ParquetFile(pa.BufferReader(data)).read(columns=names)
        wanted = pa.schema([schema.field(name) for name in names])
        return table if table.schema.equals(wanted) else table.cast(wanted)
    except (OSError, ValueError, pa.ArrowException, TagstackError) as error:
        raise DamagedPartError(path, error) from error


class DamagedPartError(TagstackError):
    """A part that cannot be used; the next run that scores sets it aside and scores again.

    Parameters
    ----------
    path : Path
    reason : object
    """

    def __init__(self, path: Path, reason: object) -> None:
        self.path = path
        self.reason = " ".join(str(reason).split())[:200].rstrip(".")
        super().__init__(
            f"Cannot read the part {path}: {self.reason}. Run the command that scored again: it "
            f"sets the part aside and scores its images anew."
        )


def is_sealed(path: Path) -> bool:
    """Return whether a part has a checksum."""
    found = _PART.fullmatch(path.name)
    return found is not None and found[2] is not None


def check_scores(path: Path, tag: Any, logit: Any, n_tags: int | None = None) -> None:
    """Refuse rows whose tags or logits no tagger can have given.

    Parameters
    ----------
    path : Path
        Of the part, for messages.
    tag, logit : pyarrow list arrays
        As `SCORES` has them.
    n_tags : int, optional
        Of the member; not looked at by default.

    Raises
    ------
    DamagedPartError
    """
    if tag.null_count or logit.null_count or not tag.offsets.equals(logit.offsets):
        raise DamagedPartError(path, "its rows have another number of tags than of logits")
    if tag.values.null_count or logit.values.null_count:
        raise DamagedPartError(path, "a tag or a logit is missing")
    tags, logits = numbers_of(tag.values), numbers_of(logit.values)
    if n_tags is not None and len(tags) and not (tags.min() >= 0 and tags.max() < n_tags):
        raise DamagedPartError(path, f"a tag index is not 0 to {n_tags - 1}")
    if not (np.abs(logits.astype(np.float32)) <= _MOST_LOGIT).all():
        raise DamagedPartError(path, "a logit is not finite or out of range")


def features_in(path: Path, n_features: int) -> tuple[list[bytes], NDArray[np.float16]]:
    """Return the contents that a part of features is about, and theirs.

    SHA-256 of each, and their features, shape (n_contents, n_features), finite.

    Raises
    ------
    DamagedPartError
        If the part is damaged, or a feature is not finite.
    """
    table = read_part(path, feature_schema(n_features))
    column = table.column("features")
    if column.null_count or table.column("sha256").null_count:
        raise DamagedPartError(path, "a content is nameless, or without its features")
    values = np.frombuffer(b"".join(column.to_pylist()), "<f2")
    values = values.reshape(len(table), n_features)
    if not np.isfinite(values).all():
        raise DamagedPartError(path, "a feature is not finite")
    return table.column("sha256").to_pylist(), values.astype(np.float16, copy=False)


def features_of_part(path: Path, n_features: int) -> NDArray[np.float16]:
    """Return the features of a part of scores, row by row, shape (n_rows, n_features).

    Raises
    ------
    DamagedPartError
        If its part of features is missing, damaged or of other contents; it names that part.
    """
    folder, number = path.parent / FEATURE_FOLDER, part_number(path)
    found = [own for own in part_paths(folder) if part_number(own) == number]
    if len(found) != 1:
        where = found[0] if found else folder / path.name
        raise DamagedPartError(where, f"{len(found)} parts of features number {number}, expected 1")
    contents, values = features_in(found[0], n_features)
    if read_part(path, SCORES, ("sha256",)).column("sha256").to_pylist() != contents:
        raise DamagedPartError(found[0], f"its contents are not those of {path.name}")
    return values


def set_features_aside(folder: Path, aside: Path, n_features: int) -> list[DamagedPartError]:
    """Move damaged parts of features elsewhere, and the parts of scores that they go with.

    What a killed run left, features without their scores, is removed. The caller is the only
    writer.

    Parameters
    ----------
    folder : Path
        Of the member.
    aside : Path
    n_features : int

    Returns
    -------
    list of DamagedPartError
    """
    found = []
    for path in part_paths(folder):
        try:
            features_of_part(path, n_features)
        except DamagedPartError as error:
            aside.mkdir(parents=True, exist_ok=True)
            path.replace(aside / f"{folder.name}-{path.name}")
            if error.path.is_file():
                error.path.replace(aside / f"{folder.name}-{FEATURE_FOLDER}-{error.path.name}")
            found.append(error)
    whole = {part_number(path) for path in part_paths(folder)}
    for path in part_paths(folder / FEATURE_FOLDER):
        if part_number(path) not in whole:
            path.unlink()
    return found


def set_damaged_aside(
    folder: Path, aside: Path, schema: pa.Schema, n_tags: int | None = None
) -> list[DamagedPartError]:
    """Move the damaged parts of a folder elsewhere; the caller is its only writer.

    Parameters
    ----------
    folder : Path
    aside : Path
        Folder of what was damaged; created where it is needed.
    schema : pyarrow Schema
    n_tags : int, optional
        Of the member whose scores these are.

    Returns
    -------
    list of DamagedPartError
        What was wrong with each.
    """
    found = []
    for path in part_paths(folder):
        try:
            verify_part(path, schema, n_tags)
        except DamagedPartError as error:
            aside.mkdir(parents=True, exist_ok=True)
            path.replace(aside / f"{folder.name}-{path.name}")
            found.append(error)
    return found


def verify_part(path: Path, schema: pa.Schema, n_tags: int | None = None) -> None:
    """Refuse a part that is not what was written, or says what cannot be.

    A part with a checksum is what was written, and what it says was checked by its writer: only
    those from before there were checksums are looked into.

    Raises
    ------
    DamagedPartError
    """
    table = read_part(path, schema, ("sha256",) if is_sealed(path) else None)
    digests = table.column("sha256")
    if schema is not IMAGES and (digests.null_count or len(digests.unique()) < len(digests)):
        raise DamagedPartError(path, "a content is there twice, or nameless")
    if schema is SCORES and not is_sealed(path):
        tag, logit = (table.column(name).combine_chunks() for name in ("tag", "logit"))
        check_scores(path, tag, logit, n_tags)


def _check_sum(path: Path, data: bytes) -> None:
    found = _PART.fullmatch(path.name)
    if found is not None and found[2] not in (None, _checksum(data)):
        msg = f"its checksum is {_checksum(data)}, not the one in its name"
        raise TagstackError(msg)


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


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
