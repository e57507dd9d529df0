"""Scores of pictures as people have them: a CSV or Parquet file with a row for each picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tagstack.configs.errors import TagstackError
from tagstack.configs.tables import number_of, read_table

IMAGE = ("image", "filename", "file_name", "file", "path")
DATE = ("created_at", "date", "posted", "timestamp")
_MISSING = {"", "na", "n/a", "nan", "none", "null"}


# Columns, where each row is, and what parts the cells.
_Read: TypeAlias = "tuple[dict[str, tuple[str, ...]], tuple[str, ...], str]"


@dataclass(frozen=True, kw_only=True)
class ScoreColumns:
    """The columns of a table as texts, one value for each picture.

    Parameters
    ----------
    source : str
        For messages.
    images : tuple of str
    columns : mapping of column name to tuple of str
    lines : tuple of str
        Where each row is, for messages.
    separator : str
        Of the file's cells.
    """

    source: str
    images: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    lines: tuple[str, ...]
    separator: str = ","

    @classmethod
    def read(cls, path: Path, expected: Sequence[str] = ()) -> "ScoreColumns":
        """Return a file's columns.

        Raises
        ------
        TagstackError
            If it cannot be read, has no column of images or names a picture twice.
        """
        is_parquet = path.suffix == ".parquet"
        columns, lines, separator = _parquet(path) if is_parquet else _csv(path, expected)
        own = {name.casefold(): name for name in columns}
        image = next((own[name] for name in IMAGE if name in own), None)
        if image is None:
            msg = (
                f"{path} has no column of pictures; expected one of {', '.join(IMAGE)}, found "
                f"{', '.join(columns) or 'none'}. Rename the column that names them."
            )
            raise TagstackError(msg)
        images = columns[image]
        seen: dict[str, str] = {}
        for name, line in zip(images, lines, strict=True):
            if name in seen:
                msg = f"{path}: {name!r:.80} stands in {seen[name]} and in {line}. Leave one."
                raise TagstackError(msg)
            seen[name] = line
        return cls(
            source=str(path), images=images, columns=columns, lines=lines, separator=separator
        )

    def joined(self, other: "ScoreColumns") -> "ScoreColumns":
        """Return this table with the other's further columns; empty where it lacks a picture."""
        own = {name.casefold() for name in self.columns} | set(IMAGE)
        place = {name: i for i, name in enumerate(other.images)}
        rows = [place.get(name) for name in self.images]
        more = {
            name: tuple("" if i is None else cells[i] for i in rows)
            for name, cells in other.columns.items()
            if name.casefold() not in own
        }
        return ScoreColumns(
            source=f"{self.source} with {other.source}",
            images=self.images,
            columns={**self.columns, **more},
            lines=self.lines,
            separator="," if "," in (self.separator, other.separator) else self.separator,
        )

    def texts(self, name: str, use: str) -> tuple[str, ...]:
        """Return a column by its name, whatever its case; ``use`` says what it is needed for."""
        own = {column.casefold(): column for column in self.columns}
        if name.casefold() in own:
            return self.columns[own[name.casefold()]]
        msg = f"{self.source} has no column {name!r}, which {use}; found {', '.join(self.columns)}."
        raise TagstackError(msg)

    def numbers(self, name: str, use: str) -> NDArray[np.float64]:
        """Return a column's numbers, shape (n_rows,); NaN where there is none that is finite."""
        cells = zip(self.texts(name, use), self.lines, strict=True)
        found = [
            _number(cell, f"{self.source}, {line}, {name}", self.separator) for cell, line in cells
        ]
        return np.array(found, np.float64)

    def dates(self, use: str) -> NDArray[np.float64]:
        """Return when each picture was posted, days since 1970, shape (n_rows,); NaN if missing."""
        own = {column.casefold() for column in self.columns}
        name = next((name for name in DATE if name in own), DATE[0])
        cells = zip(self.texts(name, use), self.lines, strict=True)
        return np.array([day_of(cell, f"{self.source}, {line}, {name}") for cell, line in cells])


def _csv(path: Path, expected: Sequence[str]) -> _Read:
    table = read_table(path, what="scores", expected=(*IMAGE, *expected), errors="surrogateescape")
    columns = {name: tuple(r.cells[name] for r in table.rows) for name in table.columns}
    return columns, tuple(f"line {row.line}" for row in table.rows), table.separator


def _parquet(path: Path) -> _Read:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        msg = f"{path} cannot be read as Parquet: {' '.join(str(error).split())[:200]}."
        raise TagstackError(msg) from error
    columns = {
        name: tuple("" if v is None else str(v) for v in table.column(name).to_pylist())
        for name in table.column_names
    }
    return columns, tuple(f"row {i + 1}" for i in range(table.num_rows)), ","


def _number(cell: str, where: str, separator: str) -> float:
    if cell.strip().casefold() in _MISSING:
        return math.nan
    value = number_of(cell, where, separator)
    return value if math.isfinite(value) else math.nan


def day_of(cell: str, where: str) -> float:
    """Return a date as days since 1970, in UTC where no zone is said; NaN for none.

    Raises
    ------
    TagstackError
        If it is no date; ``where`` names the cell.
    """
    if cell.strip().casefold() in _MISSING:
        return math.nan
    try:
        moment = datetime.fromisoformat(cell.strip())
    except ValueError as error:
        msg = f"{where}: {cell!r:.60} is no date; expected one such as 2024-05-31."
        raise TagstackError(msg) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp() / 86400


def years_of(days: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the year of days since 1970, shape (n_days,); NaN stays."""
    return np.array([date_of(d).year if math.isfinite(d) else math.nan for d in days.tolist()])


def date_of(day: float) -> date:
    """Return the date of a day since 1970, in UTC."""
    return datetime.fromtimestamp(day * 86400, UTC).date()
