"""Cells that hold a list as a program prints it: Python's, NumPy's, JSON's or PostgreSQL's."""

import csv
import json
import re
from collections.abc import Sequence

_QUOTED = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_IN_BRACKETS = re.compile(rf"\[\s*(?:{_QUOTED}(?:[\s,]+|(?=\])))*\]")
_IN_BRACES = re.compile(r"\{[^{}]*\}")


def listed_cells(cells: Sequence[str]) -> list[list[str]] | None:
    r"""Return what the lists in a column hold, none for an empty cell; None if one is no list.

    Decided once a column: brackets around the tags of a few cells are a prompt's.

    Examples
    --------
    >>> listed_cells(["['long hair', \"it's\"]", "[]"])
    [['long hair', "it's"], []]
    >>> listed_cells(["{solo,long_hair}", ""])
    [['solo', 'long_hair'], []]
    >>> listed_cells(["[solo]"])
    """
    plain = [cell.strip() for cell in cells]
    filled = [cell for cell in plain if cell]
    for form, read in ((_IN_BRACKETS, _bracketed), (_IN_BRACES, _braced)):
        if filled and all(form.fullmatch(cell) for cell in filled):
            return [read(cell) for cell in plain]
    return None


def _bracketed(cell: str) -> list[str]:
    return [_unquoted(item) for item in re.findall(_QUOTED, cell)]


def _unquoted(item: str) -> str:
    try:
        found: str = json.loads(item)
    except ValueError:  # Python's quotes
        found = re.sub(r"\\(.)", r"\1", item[1:-1])
    return found


def _braced(cell: str) -> list[str]:
    row = next(csv.reader([cell[1:-1]], escapechar="\\", doublequote=False), [])
    return [item for item in row if item]
