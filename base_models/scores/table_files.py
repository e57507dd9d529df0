"""Files of scores from other programs: Parquet, CSV, JSON lines, NPZ and NPY.

A table is long (a row for each picture and tag) or wide (a column for each tag). Arrays are read
without pickle. Whatever is wrong with a file is said in one line. To add a format, write one more
reader and enter it in ``_READERS``.
"""

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute, parquet

from tagstack.base_models.scores.score_table import LOGITS, PROBABILITIES, Listed, ScoreTable
from tagstack.configs.errors import TagstackError
from tagstack.configs.shown import shown
from tagstack.configs.tables import number_of, read_table, unguarded
from tagstack.configs.text_files import parse_json, read_text

FLOOR_KEY = b"tagstack.floor"
"""Metadata of a Parquet file that says below which probability pairs were left out."""

_CONTENT = "sha256"
_NAMES = ("image", "images", "picture", "filename", "file_name", "file", "path", "name", "names")
_KIND_OF = {
    "logit": LOGITS,
    "logits": LOGITS,
    "probability": PROBABILITIES,
    "probabilities": PROBABILITIES,
    "proba": PROBABILITIES,
    "prob": PROBABILITIES,
    "score": None,
    "scores": None,
}
_MOST_CELLS = 2**32  # 16 GiB as float32
_DIGEST_CHARACTERS = 64


def read_score_table(path: Path, names: Path | None = None) -> ScoreTable:
    """Return the scores in a file, its numbers not looked at yet (`ScoreTable.check`).

    Parameters
    ----------
    path : Path
        ``.parquet``, ``.csv``, ``.tsv``, ``.jsonl``, ``.npz`` or ``.npy``.
    names : Path, optional
        Text file with a picture a line, for arrays that do not name theirs.

    Raises
    ------
    TagstackError
        If it cannot be read, or is no table of scores.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        msg = f"{path}: {path.suffix or 'no suffix'} is none of {', '.join(_READERS)}. Convert it."
        raise TagstackError(msg)
    _check_regular(path)
    given = None if names is None else _lines(names)
    try:
        table = reader(path, given)
    except (OSError, ValueError, EOFError, KeyError, MemoryError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise TagstackError(f"Cannot read the scores {path}: {reason}. Write it anew.") from error
    _check_shape(table)
    return table


def _check_regular(path: Path) -> None:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TagstackError(f"Cannot read the scores {path}: {reason}. Give a file.") from error
    if not stat.S_ISREG(mode):
        msg = f"Cannot read the scores {path}: it is no regular file. Give a plain file."
        raise TagstackError(msg)


def _lines(path: Path) -> tuple[str, ...]:
    text = read_text(path, what="list of names", errors="surrogateescape")
    return tuple(line.rstrip("\r") for line in text.rstrip("\r\n").split("\n") if line.strip())


def _check_shape(table: ScoreTable) -> None:
    if not table.pictures:
        raise TagstackError(f"{table.source}: no picture in it. Write scores into it first.")
    for what, texts in (("picture", table.pictures), ("tag", table.tags or ())):
        twice = _first_twice(texts)
        if twice is not None:
            msg = f"{table.source}: the {what} {shown(twice)!r:.120} is there twice. Keep one."
            raise TagstackError(msg)
    if isinstance(table.scores, np.ndarray):
        expected = (len(table.pictures), table.scores.shape[-1])
        if table.tags is not None:
            expected = (len(table.pictures), len(table.tags))
        if table.scores.ndim != 2 or table.scores.shape != expected:
            n_pictures, n_tags = expected
            msg = (
                f"{table.source}: the scores have shape {table.scores.shape}, expected "
                f"({n_pictures}, {n_tags}): a row a picture, a column a tag."
            )
            raise TagstackError(msg)
        if table.scores.dtype.kind not in "fiu":
            msg = f"{table.source}: scores are {table.scores.dtype}, expected floating numbers."
            raise TagstackError(msg)


def _first_twice(texts: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            return text
        seen.add(text)
    return None


def _parquet(path: Path, _: tuple[str, ...] | None) -> ScoreTable:
    with parquet.ParquetFile(path) as file:
        cells = file.metadata.num_rows * file.metadata.num_columns
        if cells > _MOST_CELLS:
            msg = (
                f"{path} has {cells:,} cells, more than {_MOST_CELLS:,}. Split it and import the "
                "parts with --append."
            )
            raise TagstackError(msg)
        table = file.read()
    stated = (table.schema.metadata or {}).get(FLOOR_KEY)
    floor = None if stated is None else number_of(stated.decode(), f"{path}: {FLOOR_KEY.decode()}")
    columns = tuple(table.column_names)
    key, tag, value = _roles(columns, str(path))
    pictures = _texts(table.column(key), path, key)
    if tag is None:
        tags = _tag_columns(columns)
        dense = [_floats(table.column(name), path, name) for name in tags]
        scores = np.stack(dense, axis=1) if dense else np.empty((len(table), 0), np.float32)
        return _wide(str(path), key, pictures.to_pylist(), tags, scores)
    tags_column = table.column(tag)
    empty = tags_column.is_null()
    return _long(
        str(path),
        (key, value or ""),
        pictures,
        _texts(tags_column.fill_null(""), path, tag),
        _floats(table.column(value), path, str(value), allowed=empty),
        empty.to_numpy(zero_copy_only=False),
        floor,
    )


def _texts(column: Any, path: Path, name: str) -> Any:
    """Return a column as text, bytes of a SHA-256 as hexadecimal."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if column.null_count:
        raise TagstackError(f"{path}: the column {name} has empty cells; fill or remove them.")
    binary = (
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )  # fmt: skip
    if name.casefold() == _CONTENT and binary:
        return pa.chunked_array([pa.array([v.hex() for v in column.to_pylist()], pa.string())])
    return column.cast(pa.string())


def _floats(column: Any, path: Path, name: str, allowed: Any = None) -> NDArray[np.float32]:
    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        msg = f"{path}: the column {shown(name)} holds {kind}, expected numbers."
        raise TagstackError(msg)
    missing = column.is_null() if allowed is None else compute.and_not(column.is_null(), allowed)
    if compute.any(missing).as_py():
        msg = f"{path}: the column {shown(name)} has an empty cell; every score must be a number."
        raise TagstackError(msg)
    return np.asarray(column.cast(pa.float32()).to_numpy(), np.float32)


def _csv(path: Path, _: tuple[str, ...] | None) -> ScoreTable:
    table = read_table(
        path, what="scores", expected=(_CONTENT, *_NAMES, "tag", *_KIND_OF),
        errors="surrogateescape",
    )  # fmt: skip
    key, tag, value = _roles(table.columns, str(path))
    pictures = [row.cells[key] for row in table.rows]
    if tag is None:
        tags = _tag_columns(table.columns)
        cells = [
            [number_of(row.cells[name], f"{path}, line {row.line}, {shown(name)}") for name in tags]
            for row in table.rows
        ]
        scores = np.array(cells, np.float32).reshape(len(cells), len(tags))
        return _wide(str(path), key, pictures, tuple(map(unguarded, tags)), scores)
    empty = np.array([not row.cells[tag] and not row.cells[value or ""] for row in table.rows])
    numbers = [
        0.0 if gone else number_of(row.cells[value or ""], f"{path}, line {row.line}")
        for row, gone in zip(table.rows, empty, strict=True)
    ]
    names = pa.chunked_array([_arrow(pictures)])
    tags_column = pa.chunked_array([_arrow([row.cells[tag] for row in table.rows])])
    return _long(
        str(path),
        (key, value or ""),
        names,
        tags_column,
        np.array(numbers, np.float32),
        empty,
        None,
    )


def _arrow(texts: Sequence[str]) -> Any:
    # Names may hold bytes that are no UTF-8, which Arrow's text cannot.
    return pa.array([text.encode("utf-8", "surrogateescape") for text in texts], pa.binary())


def _roles(columns: Sequence[str], source: str) -> tuple[str, str | None, str | None]:
    """Return the columns of pictures, and of tags and values in a long table."""
    own = {column.casefold(): column for column in columns}
    key = next((own[name] for name in (_CONTENT, *_NAMES) if name in own), None)
    if key is None:
        msg = (
            f"{source}: no column names the pictures. Expected one of sha256, {', '.join(_NAMES)}."
        )
        raise TagstackError(msg)
    values = [own[name] for name in _KIND_OF if name in own]
    if "tag" in own and len(values) != 1:
        msg = (
            f"{source}: a column `tag` makes it a long table, which has one column of scores, one "
            f"of {', '.join(_KIND_OF)}; found {values}."
        )
        raise TagstackError(msg)
    return (key, own["tag"], values[0]) if "tag" in own else (key, None, None)


def _tag_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a wide table that are tags: all but SHA-256 and the picture's name."""
    own = [column.casefold() for column in columns]
    name = next((name for name in _NAMES if name in own), None)
    return tuple(column for column in columns if column.casefold() not in (_CONTENT, name))


def _wide(
    source: str,
    key: str,
    pictures: Sequence[str],
    tags: tuple[str, ...],
    scores: NDArray[np.float32],
) -> ScoreTable:
    return ScoreTable(
        source=source,
        pictures=_keys(pictures, source, by_content=key.casefold() == _CONTENT),
        by_content=key.casefold() == _CONTENT,
        tags=tags,
        kind=None,
        floor=None,
        scores=scores,
    )


def _long(
    source: str,
    columns: tuple[str, str],
    pictures: Any,
    tags: Any,
    value: NDArray[np.float32],
    empty: NDArray[np.bool_],
    floor: float | None,
) -> ScoreTable:
    """Return a long table; a row without tag and score stands for a picture that has none."""
    picture, picture_names = _coded(pictures)
    kept = ~empty
    tag, tag_names = _coded(tags.filter(pa.array(kept)))
    key, value_column = columns
    by_content = key.casefold() == _CONTENT
    listed = _listed(source, picture[kept], tag, value[kept], len(picture_names))
    return ScoreTable(
        source=source,
        pictures=_keys(picture_names, source, by_content=by_content),
        by_content=by_content,
        tags=tag_names,
        kind=_KIND_OF[value_column.casefold()],
        floor=floor,
        scores=listed,
    )


def _coded(column: Any) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Return a column of text as positions in its unique values."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    coded = column.dictionary_encode().combine_chunks()
    if isinstance(coded, pa.ChunkedArray):
        coded = (
            coded.chunk(0) if coded.num_chunks else pa.array([], column.type).dictionary_encode()
        )
    texts = coded.dictionary.to_pylist()
    names = (t.decode("utf-8", "surrogateescape") if isinstance(t, bytes) else t for t in texts)
    return np.asarray(coded.indices.to_numpy(), np.int32), tuple(names)


def _listed(
    source: str,
    picture: NDArray[np.int32],
    tag: NDArray[np.int32],
    value: NDArray[np.float32],
    n_pictures: int,
) -> Listed:
    order = np.lexsort((tag, picture))
    picture, tag, value = picture[order], tag[order], value[order]
    same = (np.diff(picture) == 0) & (np.diff(tag) == 0)
    if same.any():
        n_twice = np.count_nonzero(same)
        msg = f"{source}: {n_twice:,} pairs of picture and tag are there twice. Keep one each."
        raise TagstackError(msg)
    counts = np.bincount(picture, minlength=n_pictures)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), tag, value


def _keys(pictures: Sequence[str], source: str, *, by_content: bool) -> tuple[str, ...]:
    """Return pictures' names, or their SHA-256 in lower case after a look at it."""
    if not by_content:
        return tuple(pictures)
    keys = tuple(text.strip().lower() for text in pictures)
    for key in keys:
        if len(key) != _DIGEST_CHARACTERS or not set(key) <= set("0123456789abcdef"):
            msg = f"{source}: {shown(key)!r:.80} is no SHA-256 of 64 hexadecimal digits."
            raise TagstackError(msg)
    return keys


def _jsonl(path: Path, _: tuple[str, ...] | None) -> ScoreTable:
    lines = read_text(path, what="scores").split("\n")
    rows = [
        (number, _json_row(path, number, line))
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not rows:
        raise TagstackError(f"{path}: no picture in it. Write scores into it first.")
    first = rows[0][1]
    key, _tag, _value = _roles(tuple(k for k in first if k != "tag"), str(path))
    values = [name for name in first if name.casefold() in _KIND_OF]
    if len(values) != 1:
        msg = f"{path}, line {rows[0][0]}: expected one of the keys {', '.join(_KIND_OF)}."
        raise TagstackError(msg)
    for number, row in rows:
        if not isinstance(row.get(key), str) or type(row.get(values[0])) is not type(
            first[values[0]]
        ):
            msg = f"{path}, line {number}: expected {key!r} and {values[0]!r} as in the first line."
            raise TagstackError(msg)
    pictures = [row[key] for _, row in rows]
    if isinstance(first[values[0]], dict):
        return _json_pairs(path, key, values[0], pictures, rows)
    widths = {len(row[values[0]]) for _, row in rows}
    if len(widths) > 1:
        raise TagstackError(f"{path}: lists of {sorted(widths)[:5]} scores; expected one length.")
    by_content = key.casefold() == _CONTENT
    return ScoreTable(
        source=str(path),
        pictures=_keys(pictures, str(path), by_content=by_content),
        by_content=by_content,
        tags=None,
        kind=_KIND_OF[values[0].casefold()],
        floor=None,
        scores=np.array([_json_numbers(path, n, row[values[0]]) for n, row in rows], np.float32),
    )


def _json_row(path: Path, number: int, line: str) -> dict[str, Any]:
    row = parse_json(line, f"{path}, line {number}")
    if not isinstance(row, dict):
        raise TagstackError(f"{path}, line {number}: expected an object, one a picture.")
    return row


def _json_pairs(
    path: Path,
    key: str,
    value: str,
    pictures: Sequence[str],
    rows: Sequence[tuple[int, Mapping[str, Any]]],
) -> ScoreTable:
    index: dict[str, int] = {}
    picture, tag, numbers = [], [], []
    for place, (number, row) in enumerate(rows):
        own = row[value]
        picture += [place] * len(own)
        tag += [index.setdefault(name, len(index)) for name in own]
        numbers += _json_numbers(path, number, list(own.values()))
    by_content = key.casefold() == _CONTENT
    return ScoreTable(
        source=str(path),
        pictures=_keys(pictures, str(path), by_content=by_content),
        by_content=by_content,
        tags=tuple(index),
        kind=_KIND_OF[value.casefold()],
        floor=None,
        scores=_listed(
            str(path),
            np.array(picture, np.int32),
            np.array(tag, np.int32),
            np.array(numbers, np.float32),
            len(pictures),
        ),
    )


def _json_numbers(path: Path, line: int, values: Any) -> list[float]:
    if not isinstance(values, list) or not all(type(v) in (int, float) for v in values):
        raise TagstackError(f"{path}, line {line}: a score is no number; every one must be.")
    return [float(value) for value in values]


def _npz(path: Path, names: tuple[str, ...] | None) -> ScoreTable:
    with np.load(path, allow_pickle=False) as content:
        if not hasattr(content, "files"):
            raise TagstackError(f"{path}: no NPZ archive but a single array. Name it .npy.")
        own = {name.casefold(): name for name in content.files}
        value = [name for name in _KIND_OF if name in own]
        if len(value) != 1:
            msg = f"{path}: expected one array of {', '.join(_KIND_OF)}; found {sorted(own)[:8]}."
            raise TagstackError(msg)
        key = next((name for name in (_CONTENT, *_NAMES) if name in own), None)
        pictures = names if key is None else _array_texts(path, key, content[own[key]])
        if pictures is None:
            msg = f"{path}: no array names the pictures. Add `images` or `sha256`, or say --names."
            raise TagstackError(msg)
        by_content = key == _CONTENT
        tags = _array_texts(path, "tags", content[own["tags"]]) if "tags" in own else None
        scores: Any = content[own[value[0]]]
        if "indptr" in own and "tag" in own:
            arrays = content[own["indptr"]], content[own["tag"]], scores
            scores = _given_list(path, arrays, len(pictures), tags)
        floor = float(content[own["floor"]]) if "floor" in own else None
    return ScoreTable(
        source=str(path),
        pictures=_keys(pictures, str(path), by_content=by_content),
        by_content=by_content,
        tags=tags,
        kind=_KIND_OF[value[0]],
        floor=floor,
        scores=scores,
    )


def _given_list(
    path: Path, arrays: tuple[Any, Any, Any], n_pictures: int, tags: tuple[str, ...] | None
) -> Listed:
    """Return pairs as `tagstack scores export` lists them, after a look at them."""
    indptr, tag, value = arrays
    counts = np.diff(indptr.astype(np.int64)) if indptr.dtype.kind in "iu" else np.empty(0)
    good = (
        tags is not None
        and indptr.ndim == tag.ndim == value.ndim == 1
        and tag.dtype.kind in "iu"
        and value.dtype.kind in "fiu"
        and len(counts) == n_pictures
        and len(tag) == len(value)
        and indptr[0] == 0
        and indptr[-1] == len(tag)
        and bool((counts >= 0).all())
        and (not len(tag) or (tag.min() >= 0 and tag.max() < len(tags)))
    )
    if not good:
        msg = (
            f"{path}: indptr, tag and scores do not fit together. Expected indptr of "
            f"{n_pictures + 1} rising from 0 to the number of scores, and tags within `tags`."
        )
        raise TagstackError(msg)
    picture = np.repeat(np.arange(n_pictures, dtype=np.int32), counts)
    return _listed(str(path), picture, tag.astype(np.int32), value.astype(np.float32), n_pictures)


def _array_texts(path: Path, name: str, array: NDArray[Any]) -> tuple[str, ...]:
    if array.ndim != 1 or array.dtype.kind not in "US":
        msg = f"{path}: {name} is {array.dtype} of shape {array.shape}, expected a list of text."
        raise TagstackError(msg)
    texts = array.tolist()
    return tuple(t.decode("utf-8", "surrogateescape") if isinstance(t, bytes) else t for t in texts)


def _npy(path: Path, names: tuple[str, ...] | None) -> ScoreTable:
    if names is None:
        msg = f"{path}: an array names no pictures. Say --names FILE, a text with one a line."
        raise TagstackError(msg)
    matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(matrix, np.ndarray):
        raise TagstackError(f"{path}: no single array. Name it .npz if it is an archive.")
    return ScoreTable(
        source=str(path),
        pictures=names,
        by_content=False,
        tags=None,
        kind=None,
        floor=None,
        scores=matrix,
    )


_READERS: dict[str, Callable[[Path, tuple[str, ...] | None], ScoreTable]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _jsonl,
    ".npz": _npz,
    ".npy": _npy,
}
