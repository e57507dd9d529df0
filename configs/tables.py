r"""Tables that people and their programs write: CSV in the forms that Excel, pandas and hands give.

The cell separator is decided once a file, from its header. Quotes are read strictly: a quote that
opens a cell and closes rows later would swallow what lies between, so such a cell is refused with
the line where it opens.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tagstack.configs.errors import TagstackError
from tagstack.configs.text_files import read_text

SEPARATORS = (",", ";", "\t", "|")
# Excel writes the separator into a line of its own, and reads it there.
_EXCEL_MARK = re.compile(r'\A(?:\s*\n)*"?sep=([,;|\t])"?[,;|\t]*\r?(?:\n|\Z)', re.IGNORECASE)
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NAMED = 12  # columns in a message; dumps have thousands
_LONGEST_CELL = 100  # lines; a caption may hold line breaks, a table inside a cell is a lost quote


@dataclass(frozen=True)
class TableRow:
    """One row: its cells by column, and the line of the file where it begins."""

    cells: Mapping[str, str]
    line: int


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table's columns, in their order, and its rows.

    Parameters
    ----------
    source : str
        Where it came from, for messages.
    columns : tuple of str
        Unique, without space around them. One without a name and without a filled cell, as
        spreadsheets leave them behind the last one, is left out.
    rows : tuple of TableRow
        With every column each; rows without a single filled cell are left out.
    separator : str
        Of its cells.
    """

    source: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]
    separator: str = ","

    @property
    def shown(self) -> str:
        """The columns for a message: some of them, where there are many, each cut off."""
        some = ", ".join(repr(f"{name:.40}") for name in self.columns[:_NAMED])
        n_more = len(self.columns) - _NAMED
        return f"[{some}]" + (f" and {n_more:,} more" if n_more > 0 else "")

    def first_of(self, *names: str) -> str | None:
        """Return the first of some column names that the table has, whatever their case."""
        own = {column.casefold(): column for column in self.columns}
        return next((own[name] for name in names if name in own), None)


def read_table(
    path: Path, *, what: str = "table", expected: Sequence[str] = (), errors: str = "strict"
) -> Table:
    """Return the table in a CSV file with a header.

    Parameters
    ----------
    path : Path
    what : str
        What messages call the file.
    expected : sequence of str
        Column names of which the header has some; they decide on the separator first.
    errors : str
        As for `text_files.read_text`.

    Raises
    ------
    TagstackError
        If it cannot be read, has a column twice, a row has another number of cells than the
        header, or a quote is not closed where its cell ends.
    """
    return parse_table(read_text(path, what=what, errors=errors), str(path), expected=expected)


def parse_table(text: str, source: str, *, expected: Sequence[str] = ()) -> Table:
    """Return the table in CSV text; see `read_table`."""
    marked = _EXCEL_MARK.match(text)
    separator = marked[1] if marked else separator_of(_header_line(text), expected)
    if marked:  # an empty line in its place: the others keep their numbers
        text = "\n" * marked[0].count("\n") + text[marked.end() :]
    lines = ((line, cells) for line, cells in _rows(text, separator, source) if any(cells))
    _, header = next(lines, (1, []))
    names = tuple(cell.strip() for cell in header)
    rows = [
        (line, _as_many(cells, names, f"{source}, line {line}", separator)) for line, cells in lines
    ]
    kept = [i for i, name in enumerate(names) if name or any(cells[i] for _, cells in rows)]
    columns = tuple(names[i] for i in kept)
    repeated = [name for name, n in Counter(columns).items() if n > 1]
    if repeated:
        what = (
            f"the column {repeated[0]!r} twice" if repeated[0] else "several columns without a name"
        )
        raise TagstackError(f"{source} has {what}. Rename or delete one of them in the header.")
    return Table(
        source=source,
        columns=columns,
        rows=tuple(
            TableRow({names[i]: unguarded(cells[i]) for i in kept}, line) for line, cells in rows
        ),
        separator=separator,
    )


def _as_many(cells: list[str], names: Sequence[str], where: str, separator: str) -> list[str]:
    """Return a row's cells without empty ones behind the header's last column."""
    while len(cells) > len(names) and not cells[-1]:
        cells = cells[:-1]
    if len(cells) == len(names):
        return cells
    msg = (
        f"{where}: {len(cells)} cells, expected {len(names)} as in the header "
        f"({_named(separator)} between cells). Put a cell that holds the separator into quotes."
    )
    raise TagstackError(msg)


def separator_of(header: str, expected: Sequence[str] = ()) -> str:
    """Return what separates a header's cells: what yields most expected names, then most cells."""
    wanted = {name.casefold() for name in expected}

    def merit(separator: str) -> tuple[int, int]:
        try:
            cells = next(csv.reader([header], delimiter=separator), [])
        except csv.Error:  # no table, or one cell without end: `_rows` says so
            cells = []
        return sum(cell.strip().casefold() in wanted for cell in cells), len(cells)

    return max(SEPARATORS, key=merit)


class TableWriter:
    r"""Writes rows of CSV of which no cell is taken for a formula.

    Spreadsheets run a cell that begins with ``=``, ``+``, ``-`` or ``@``, and tags do (``=_=``,
    ``@_@``). Such a cell gets an apostrophe in front, the sign for text; `read_table` takes it
    off again, so that what is written is what is read. Numbers stay as they are.

    Examples
    --------
    >>> stream = io.StringIO()
    >>> TableWriter(stream).writerow(["=_=", "-0.5", "'=_="])
    >>> stream.getvalue()
    "'=_=,-0.5,''=_=\n"
    """

    def __init__(self, stream: TextIO) -> None:
        self._writer = csv.writer(stream, lineterminator="\n")

    def writerow(self, cells: Iterable[object]) -> None:
        """Write one row."""
        self._writer.writerow([guarded(c) if isinstance(c, str) else c for c in cells])

    def writerows(self, rows: Iterable[Iterable[object]]) -> None:
        """Write several rows."""
        for row in rows:
            self.writerow(row)


def guarded(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula; `unguarded` is its inverse."""
    return f"'{cell}" if _FORMULA.match(cell) and not _is_number(cell) else cell


def unguarded(cell: str) -> str:
    """Return what `guarded` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def number_of(text: str, where: str, separator: str = ";") -> float:
    """Return a cell as a number; a decimal comma is read as Excel writes it.

    Excel parts cells by semicolons where a comma is decimal. Where cells are parted by commas it
    parts thousands: there ``1,234`` may be either.

    Raises
    ------
    TagstackError
        If it is none, or may be two; ``where`` names the cell.
    """
    plain = text.strip()
    if separator == "," and re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", plain):
        whole, point = plain.replace(",", ""), plain.replace(",", ".")
        msg = f"{where}: {plain!r} may be {whole} or {point}; write the one that is meant."
        raise TagstackError(msg)
    if re.fullmatch(r"[+-]?\d+,\d+", plain):
        plain = plain.replace(",", ".")
    try:
        return float(plain)
    except ValueError as error:
        raise TagstackError(f"{where}: {text!r:.60} is no number; give a number.") from error


def _header_line(text: str) -> str:
    head = "\n".join(text.split("\n", 20)[:20])  # one line of a file may hold all of an old Mac's
    return next((line for line in re.split(r"\r\n?|\n", head) if line.strip()), "")


def _rows(text: str, separator: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the line where it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    begun = 1
    try:
        for cells in reader:
            _check_quotes(cells, separator, begun, source)
            yield begun, cells
            begun = reader.line_num + 1
    except csv.Error as error:
        hint = (
            "A quote opens there and is not closed where its cell ends; close it, or write two for "
        )
        hint += "one inside a cell."
        if "limit" in str(error):
            hint = "A cell that long is no table's: expected a CSV with a header and a row a line."
        raise TagstackError(f"{source}, line {begun}: {error}. {hint}") from error


def _check_quotes(cells: Sequence[str], separator: str, line: int, source: str) -> None:
    for cell in cells:
        if "\n" not in cell:
            continue
        inner = cell.split("\n")
        row = re.compile(rf'[^\s"{re.escape(separator)}][^"{re.escape(separator)}]*'
                         rf'\.\w{{2,5}}"?{re.escape(separator)}')  # fmt: skip
        if len(inner) > _LONGEST_CELL or any(row.match(part) for part in inner[1:]):
            msg = (
                f"{source}, line {line}: a quote opens there and takes in the next "
                f"{len(inner) - 1} lines, which look like rows of their own. Remove the quote or "
                f"close it in its row."
            )
            raise TagstackError(msg)


def _named(separator: str) -> str:
    return {"\t": "a tab"}.get(separator, repr(separator))
