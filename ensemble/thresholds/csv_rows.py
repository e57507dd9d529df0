"""Rows of a CSV table of thresholds, read with messages that name the file and the row."""

import csv
from collections.abc import Mapping
from pathlib import Path

from tagstack.configs.errors import TagstackError


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file with a header, in UTF-8.

    Raises
    ------
    TagstackError
        If it cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return list(csv.DictReader(stream, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"Cannot read the thresholds {path}: {error}. Give a readable CSV file in UTF-8."
        raise TagstackError(msg) from error


def number(row: Mapping[str, str], column: str, path: Path) -> float:
    """Return a cell as a number.

    Raises
    ------
    TagstackError
        If it is none; the message names the row by its first cell.
    """
    try:
        return float(row[column])
    except ValueError as error:
        name = next(iter(row.values()))
        msg = f"{path.name} has {column} {row[column]!r} in the row of {name!r}; give a number."
        raise TagstackError(msg) from error
