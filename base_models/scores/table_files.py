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

from tagstack.base_models.scores.array_files import read_npy, read_npz
from tagstack.base_models.scores.score_table import PROBABILITIES, ScoreTable
from tagstack.base_models.scores.table_parts import (
    CONTENT,
    GROUPS,
    KIND_OF,
    NAMES,
    listed_scores,
    long_table,
    picture_keys,
    roles,
    tag_columns,
    wide_table,
)
from tagstack.configs.errors import TagstackError
from tagstack.configs.shown import shown
from tagstack.configs.tables import number_of, read_table, unguarded
from tagstack.configs.text_files import parse_json, read_text

FLOOR_KEY = b"tagstack.floor"
"""Metadata of a Parquet file that says below which probability pairs were left out."""

_MOST_CELLS = 2**32  # 16 GiB as float32


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
    key, tag, value = roles(columns, str(path))
    pictures = _texts(table.column(key), path, key)
    if tag is None:
        tags = tag_columns(columns)
        dense = [_floats(table.column(name), path, name) for name in tags]
        scores = np.stack(dense, axis=1) if dense else np.empty((len(table), 0), np.float32)
        return wide_table(str(path), key, pictures.to_pylist(), tags, scores)
    tags_column = table.column(tag)
    empty = tags_column.is_null()
    return long_table(
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
    if name.casefold() == CONTENT and binary:
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
        path, what="scores", expected=(CONTENT, *NAMES, "tag", *KIND_OF),
        errors="surrogateescape",
    )  # fmt: skip
    key, tag, value = roles(table.columns, str(path))
    pictures = [row.cells[key] for row in table.rows]
    if tag is None:
        tags = tag_columns(table.columns)
        cells = [
            [
                number_of(row.cells[n], f"{path}, line {row.line}, {shown(n)}", table.separator)
                for n in tags
            ]
            for row in table.rows
        ]
        scores = np.array(cells, np.float32).reshape(len(cells), len(tags))
        return wide_table(str(path), key, pictures, tuple(map(unguarded, tags)), scores)
    empty = np.array([not row.cells[tag] and not row.cells[value or ""] for row in table.rows])
    numbers = [
        0.0
        if gone
        else number_of(row.cells[value or ""], f"{path}, line {row.line}", table.separator)
        for row, gone in zip(table.rows, empty, strict=True)
    ]
    names = pa.chunked_array([_arrow(pictures)])
    tags_column = pa.chunked_array([_arrow([row.cells[tag] for row in table.rows])])
    return long_table(
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


def _jsonl(path: Path, _: tuple[str, ...] | None) -> ScoreTable:
    lines = read_text(path, what="scores").split("\n")
    rows = [
        (number, _json_row(path, number, line))
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not rows:
        raise TagstackError(f"{path}: no picture in it. Write scores into it first.")
    rows = [(number, _ungrouped(path, number, row)) for number, row in rows]
    first = rows[0][1]
    key, _tag, _value = roles(tuple(k for k in first if k != "tag"), str(path))
    values = [name for name in first if name.casefold() in KIND_OF]
    if len(values) != 1:
        msg = f"{path}, line {rows[0][0]}: expected one of the keys {', '.join(KIND_OF)}."
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
    by_content = key.casefold() == CONTENT
    return ScoreTable(
        source=str(path),
        pictures=picture_keys(pictures, str(path), by_content=by_content),
        by_content=by_content,
        tags=None,
        kind=KIND_OF[values[0].casefold()],
        floor=None,
        scores=np.array([_json_numbers(path, n, row[values[0]]) for n, row in rows], np.float32),
    )


def _json_row(path: Path, number: int, line: str) -> dict[str, Any]:
    row = parse_json(line, f"{path}, line {number}")
    if not isinstance(row, dict):
        raise TagstackError(f"{path}, line {number}: expected an object, one a picture.")
    return row


def _ungrouped(path: Path, number: int, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose scores come by category, as of `imgutils`, with all of them in one."""
    groups = [name for name in row if name.casefold() in GROUPS and isinstance(row[name], dict)]
    if not groups:
        return row
    scores: dict[str, Any] = {}
    for name in groups:
        for tag, value in row[name].items():
            if scores.setdefault(tag, value) != value:
                msg = f"{path}, line {number}: {shown(tag)!r:.80} has two scores. Keep one."
                raise TagstackError(msg)
    kept = {name: value for name, value in row.items() if name not in groups}
    return {**kept, PROBABILITIES: scores}


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
    by_content = key.casefold() == CONTENT
    return ScoreTable(
        source=str(path),
        pictures=picture_keys(pictures, str(path), by_content=by_content),
        by_content=by_content,
        tags=tuple(index),
        kind=KIND_OF[value.casefold()],
        floor=None,
        scores=listed_scores(
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


_READERS: dict[str, Callable[[Path, tuple[str, ...] | None], ScoreTable]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _jsonl,
    ".npz": read_npz,
    ".npy": read_npy,
}
