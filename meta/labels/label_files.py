"""Label files as the user has them: CSV, JSONL or a folder of sidecar texts.

What the rows mean for scored images is decided in `labels`. To read another format, write a
generator of `LabelRow` and name it by the file's suffix in `configs.hooks.LABEL_FORMATS`.
"""

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import LABEL_FORMATS

# A file name that is not UTF-8 reaches Python with escaped bytes; reading labels the same way
# lets the two meet.
_ENCODING, _ERRORS = "utf-8-sig", "surrogateescape"
_OWN_KEYS = {"image", "tags", "unknown"}


@dataclass(frozen=True, kw_only=True)
class LabelRow:
    """One image's tags and further columns, as the label file has them.

    ``unknown`` names the families of tags that nobody has looked at; see `unknown_labels`.
    """

    image: str
    tags: tuple[str, ...]
    columns: Mapping[str, str]
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """Every row of a label file.

    Parameters
    ----------
    source : str
        Where the rows came from, for messages.
    rows : tuple of LabelRow
    by_stem : bool
        Whether ``image`` is a sidecar's name without ``.txt``: a whole image name
        (``1.png.txt``), or a stem that means every image with it (``1.txt``).
    filtered : bool
        Whether rows were left out on purpose.
    """

    source: str
    rows: tuple[LabelRow, ...]
    by_stem: bool = False
    filtered: bool = False

    def where(self, condition: str | None) -> "LabelTable":
        """Return the rows that meet ``COLUMN=VALUE``; all of them for None.

        Raises
        ------
        TagstackError
            If the condition has another form, the column is missing or no row meets it.
        """
        if condition is None:
            return self
        column, equals, value = condition.partition("=")
        if not equals:
            msg = f"--where {condition!r} has no '='. Expected COLUMN=VALUE, such as fold=3."
            raise TagstackError(msg)
        values = self.column(column)
        rows = tuple(row for row, own in zip(self.rows, values, strict=True) if own == value)
        if not rows:
            known = sorted(set(values))[:10]
            msg = f"No row of {self.source} has {column} = {value!r}. Values there: {known}."
            raise TagstackError(msg)
        return replace(self, rows=rows, filtered=True)

    def column(self, name: str) -> list[str]:
        """Return a further column's value of every row; a column that a row lacks is an error."""
        if not all(name in row.columns for row in self.rows):
            known = sorted(set.intersection(*(set(row.columns) for row in self.rows)))
            msg = f"{self.source} has no column {name!r}. Columns beside image and tags: {known}."
            raise TagstackError(msg)
        return [row.columns[name] for row in self.rows]


def read_labels(source: Path) -> LabelTable:
    """Return the labels of a CSV or JSONL file or of a folder of sidecar ``.txt`` files.

    CSV needs the columns ``image`` and ``tags``, JSONL the same keys. ``unknown`` may name tags,
    patterns, exclusive groups or categories that are unknown for the image; others are kept.

    Raises
    ------
    TagstackError
        If the source is missing, unreadable, of no known kind, empty or lacks a column.
    """
    reader = _reader_of(source)
    try:
        rows = tuple(reader(source))
    except (OSError, csv.Error, json.JSONDecodeError, RecursionError) as error:
        msg = f"Cannot read labels from {source}: {error}. Expected UTF-8 CSV, JSONL or sidecars."
        raise TagstackError(msg) from error
    if not rows:
        msg = f"{source} holds no labels. Expected at least one image with its tags."
        raise TagstackError(msg)
    return LabelTable(source=str(source), rows=rows, by_stem=os.path.isdir(source))


def split_tags(text: str) -> tuple[str, ...]:
    r"""Return the tags of one text, in booru form (underscores), each once, in order.

    Commas or lines separate tags where there are any; otherwise spaces do.

    Examples
    --------
    >>> split_tags(r"1girl, long hair, hat \(blue\)")
    ('1girl', 'long_hair', 'hat_(blue)')
    >>> split_tags("1girl long_hair")
    ('1girl', 'long_hair')
    """
    lines = text.strip().replace(",", "\n")
    parts = lines.split("\n") if "\n" in lines else lines.split()
    cleaned = ("_".join(part.split()).replace("\\(", "(").replace("\\)", ")") for part in parts)
    return tuple(dict.fromkeys(tag for tag in cleaned if tag))


def _reader_of(source: Path) -> Callable[[Path], Iterator[LabelRow]]:
    """Return what reads a file of this suffix, or a folder: of sidecars, if of nothing else."""
    suffix = source.suffix.lower().removeprefix(".")
    if os.path.isdir(source) and (suffix in LABEL_FORMATS.built_in or not _is_format(suffix)):
        return _sidecar_rows
    if not _is_format(suffix):
        known = ", ".join(f".{name}" for name in LABEL_FORMATS.names())
        msg = f"Labels {source} are of no known kind. Expected {known} or a folder of .txt."
        raise TagstackError(msg)
    offer = LABEL_FORMATS.offer(suffix)
    read = cast(Callable[[Path], Iterator[LabelRow]], offer.load())

    def rows(path: Path) -> Iterator[LabelRow]:
        with offer.blamed():
            for row in read(path):
                if not isinstance(row, LabelRow):
                    msg = f"The {offer} gave {row!r:.60} for a row; expected a LabelRow."
                    raise TagstackError(msg)
                yield row

    return rows


def _is_format(suffix: str) -> bool:
    return suffix in LABEL_FORMATS.built_in or bool(suffix and suffix in LABEL_FORMATS.names())


def csv_rows(source: Path) -> Iterator[LabelRow]:
    """Yield the rows of a CSV with the columns ``image``, ``tags`` and any further ones."""
    with source.open(newline="", encoding=_ENCODING, errors=_ERRORS) as stream:
        reader = csv.DictReader(stream)
        missing = {"image", "tags"} - set(reader.fieldnames or ())
        if missing:
            msg = (
                f"{source} lacks the column {sorted(missing)[0]!r}. "
                "Expected image,tags and any further ones, comma-separated, got "
                f"{list(reader.fieldnames or ())}."
            )
            raise TagstackError(msg)
        repeated = [name for name, n in Counter(reader.fieldnames).items() if n > 1]
        if repeated:
            msg = f"{source} has the column {repeated[0]!r} twice; rename one of them."
            raise TagstackError(msg)
        for record in reader:
            if None in record or None in record.values():
                msg = f"{source}, line {reader.line_num}: expected {len(record)} cells as above."
                raise TagstackError(msg)
            yield _row(record)


def jsonl_rows(source: Path) -> Iterator[LabelRow]:
    """Yield the rows of a file with one JSON object a line, keyed like the CSV's columns."""
    with source.open(encoding=_ENCODING, errors=_ERRORS) as stream:
        for number, line in enumerate(stream, 1):
            record = json.loads(line) if line.strip() else None
            if record is None:
                continue
            if not isinstance(record, dict) or not {"image", "tags"} <= set(record):
                msg = f"{source}, line {number}: expected an object with 'image' and 'tags'."
                raise TagstackError(msg)
            for key in ("tags", "unknown"):
                _check_texts(record.get(key, ""), key, f"{source}, line {number}")
            yield _row(record)


def _check_texts(value: object, key: str, where: str) -> None:
    listed = isinstance(value, list) and all(isinstance(item, str) for item in value)
    if not isinstance(value, str) and not listed:
        msg = (
            f"{where}: {key!r} is {value!r:.60}. Expected one text or a list of texts; write [] "
            "for none."
        )
        raise TagstackError(msg)


def _sidecar_rows(folder: Path) -> Iterator[LabelRow]:
    for path in sorted(folder.rglob("*.txt")):
        stem = path.relative_to(folder).with_suffix("").as_posix()
        text = path.read_text(encoding=_ENCODING, errors=_ERRORS)
        yield LabelRow(image=stem, tags=split_tags(text), columns={})


def _row(record: Mapping[str, Any]) -> LabelRow:
    further = {key: str(value) for key, value in record.items() if key not in _OWN_KEYS}
    return LabelRow(
        image=str(record["image"]),
        tags=_texts(record["tags"]),
        columns=further,
        unknown=_texts(record.get("unknown", "")),
    )


def _texts(value: str | list[str]) -> tuple[str, ...]:
    return split_tags(value) if isinstance(value, str) else tuple(value)
