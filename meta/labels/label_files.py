"""Label files as the user has them: CSV, JSONL or a folder of sidecar texts.

What the rows mean for scored images is decided in `labels`. To read another format, write a
generator of `LabelRow` and name it by the file's suffix in `configs.hooks.LABEL_FORMATS`.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from tagstack.base_models.tag_names import booru_form
from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import LABEL_FORMATS
from tagstack.configs.tables import Table, read_table
from tagstack.configs.text_files import parse_json, read_text
from tagstack.meta.labels.label_table import LabelRow, LabelTable, joined
from tagstack.meta.labels.listed_cells import listed_cells
from tagstack.meta.labels.tag_texts import SPACE, split_tags, tag_separator

__all__ = ["LabelRow", "LabelTable", "csv_rows", "jsonl_rows", "label_texts", "read_labels"]

# A file name that is not UTF-8 reaches Python with escaped bytes; reading labels the same way
# lets the two meet.
_ERRORS = "surrogateescape"
_IMAGE = ("image", "filename", "file_name", "file", "path")
_SPACED = "tag_string"  # as boorus have it: spaces part, and nothing else
_TAGS = ("tags", "tag", _SPACED)
_OWN_KEYS = {"image", "tags", "unknown", "known"}
SIDECARS = (".txt",)


def read_labels(
    source: Path, *, sidecars: Sequence[str] = SIDECARS, where: str | None = None
) -> LabelTable:
    """Return the labels of a CSV or JSONL file or of a folder of sidecar texts.

    A table needs a column ``image`` and one of tags, ``tags`` or ``tag``; JSONL the same keys;
    the names that other programs have for them (``file_name``, ``tag_string``, ...) are taken too.
    What separates cells, and tags in a cell, is decided once for the whole file. Rows of one
    image are joined, so a row for each tag is as good as a row for each image. ``unknown`` may
    name tags, patterns, exclusive groups or categories that are unknown for the image, and
    ``known`` those that are known all the same; other columns are kept.

    Parameters
    ----------
    source : Path
    sidecars : sequence of str
        Suffixes of the texts in a folder, with their dot, in any case.
    where : str, optional
        ``COLUMN=VALUE``: rows that do not meet it are left out before rows are joined.

    Raises
    ------
    TagstackError
        If the source is missing, unreadable, of no known kind, empty or lacks a column, no row
        meets the condition, or a column says of each row whether its tag holds.
    """
    reader = _reader_of(source)
    is_folder = reader is None
    rows = _sidecar_rows(source, sidecars) if reader is None else list(reader(source))
    if not rows:
        what = f"a file ending in {' or '.join(sidecars)}" if is_folder else "one image"
        msg = f"{source} holds no labels. Expected at least {what} with its tags."
        if is_folder and (others := _other_texts(source, sidecars)):
            msg += f" It has {others}: name that ending with --label-extension to read them."
        raise TagstackError(msg)
    table = LabelTable(
        source=str(source), rows=tuple(rows), by_stem=is_folder, filtered=where is not None
    )
    return joined(table if where is None else table.where(where))


def _reader_of(source: Path) -> Callable[[Path], Iterable[LabelRow]] | None:
    """Return what reads a file of this suffix; None for a folder of sidecars.

    A folder is one of sidecars unless its suffix is that of a format from elsewhere.
    """
    suffix = source.suffix.lower().removeprefix(".")
    if os.path.isdir(source) and (suffix in LABEL_FORMATS.built_in or not _is_format(suffix)):
        return None
    if not _is_format(suffix):
        known = ", ".join(f".{name}" for name in LABEL_FORMATS.names())
        msg = f"Labels {source} are of no known kind. Expected {known} or a folder of .txt."
        raise TagstackError(msg)
    offer = LABEL_FORMATS.offer(suffix)
    read = cast(Callable[[Path], Iterable[LabelRow]], offer.load())

    def rows(path: Path) -> Iterator[LabelRow]:
        with offer.blamed():
            for row in read(path):
                if not isinstance(row, LabelRow):
                    msg = f"The {offer} gave {row!r:.60} for a row; expected a LabelRow."
                    raise TagstackError(msg)
                if not _is_text(row):
                    msg = f"The {offer} gave {row!r:.120}; expected texts in image, tags, columns."
                    raise TagstackError(msg)
                yield row

    return rows


def _is_text(row: LabelRow) -> bool:
    """Return whether a row of a package holds texts alone; one text has no tags but letters."""
    several = (row.tags, row.unknown, row.unsure, row.known)
    if any(isinstance(own, str) for own in several) or not isinstance(row.columns, Mapping):
        return False
    named = (row.image, *(text for own in several for text in own))
    return all(isinstance(text, str) for text in (*named, *row.columns, *row.columns.values()))


def _is_format(suffix: str) -> bool:
    return suffix in LABEL_FORMATS.built_in or bool(suffix and suffix in LABEL_FORMATS.names())


def csv_rows(source: Path) -> list[LabelRow]:
    """Return the rows of a CSV with columns of images and tags and any further ones."""
    table = read_table(
        source, what="labels", expected=(*_IMAGE, *_TAGS, "unknown", "known"), errors=_ERRORS
    )
    records = _listed(_with_own_names(table))
    column = table.first_of(*_TAGS)
    if column is not None and column == table.first_of(_SPACED):
        return _rows(_split_at_spaces(records))
    if column == table.first_of("tag") and len({r["image"] for r in records}) < len(records):
        return _rows([{**r, "tags": [r["tags"]]} for r in records])  # a row a tag: commas too
    # A column of that name holds one tag a row, so spaces are part of it.
    whole = "," if table.first_of(*_TAGS) == table.first_of("tag") else None
    return _rows(records, whole)


def _with_own_names(table: Table) -> list[dict[str, str]]:
    """Return the rows with the columns of image and tags under the names that we give them."""
    names = {}
    for own, others in (("image", _IMAGE), ("tags", _TAGS)):
        column = table.first_of(*others)
        if column is None:
            msg = (
                f"{table.source} lacks the column {own!r}. Expected image,tags and any further "
                f"ones, got {table.shown}."
            )
            raise TagstackError(msg)
        names[column] = own
    return [{names.get(key, key): cell for key, cell in row.cells.items()} for row in table.rows]


def _listed(records: list[dict[str, str]]) -> Sequence[Mapping[str, Any]]:
    """Return records with lists of tags, where the cells hold lists as programs print them."""
    lists = listed_cells([record["tags"] for record in records])
    if lists is None:
        return records
    return [{**record, "tags": own} for record, own in zip(records, lists, strict=True)]


def _split_at_spaces(records: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**own, "tags": own["tags"].split() if isinstance(own["tags"], str) else own["tags"]}
        for own in records
    ]


def jsonl_rows(source: Path) -> list[LabelRow]:
    """Return the rows of a file with one JSON object a line."""
    return _rows(_jsonl_records(source))


def label_texts(source: Path) -> Mapping[str, str]:
    """Return the tags of each image as a label file has them, before they are parted.

    Rows of one image are joined as its tags are parted, lists and formats from elsewhere by commas.

    Raises
    ------
    TagstackError
        As `read_labels`, but a CSV or JSONL file may be without rows.
    """
    suffix, joint = source.suffix.lower().removeprefix("."), ", "
    if suffix in ("csv", "tsv"):
        table = read_table(source, what="labels", expected=(*_IMAGE, *_TAGS), errors=_ERRORS)
        records: Sequence[Mapping[str, Any]] = _listed(_with_own_names(table))
        texts = [record["tags"] for record in records if isinstance(record["tags"], str)]
        if texts and table.first_of(*_TAGS) != table.first_of("tag"):
            joint = tag_separator(texts)
    elif suffix in ("jsonl", "ndjson"):
        records = _jsonl_records(source)
    else:
        rows = read_labels(source).rows
        records = [{"image": row.image, "tags": list(row.tags)} for row in rows]
    found: defaultdict[str, list[str]] = defaultdict(list)
    for record in records:
        tags = record["tags"]
        found[record["image"]].append(tags if isinstance(tags, str) else ", ".join(tags))
    return {image: joint.join(texts) for image, texts in found.items()}


def _jsonl_records(source: Path) -> list[dict[str, Any]]:
    records = []
    lines = read_text(source, what="labels", errors=_ERRORS).split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{source}, line {number}"
        record = parse_json(line, f"Cannot read labels from {where}", advice="Correct that line.")
        record = _own_keys(record, where)
        if not isinstance(record["image"], str):
            msg = f"{where}: 'image' is {record['image']!r:.60}. Expected the name of one image."
            raise TagstackError(msg)
        for key in ("tags", "unknown", "known"):
            _check_texts(record.get(key, ""), key, where)
        records.append(record)
    return records


def _own_keys(record: object, where: str) -> dict[str, Any]:
    """Return a JSON object with the keys of image and tags under the names that we give them."""
    if not isinstance(record, dict):
        msg = f"{where}: expected an object with 'image' and 'tags', got {record!r:.60}."
        raise TagstackError(msg)
    names: dict[str, str] = {}
    for own, others in (("image", _IMAGE), ("tags", _TAGS)):
        key = next((name for name in others if name in record), None)
        if key is None:
            msg = f"{where}: expected an object with 'image' and 'tags', got {list(record)!r:.200}."
            raise TagstackError(msg)
        names[key] = own
    own_record = {str(names.get(name, name)): value for name, value in record.items()}
    return _split_at_spaces([own_record])[0] if names.get(_SPACED) else own_record


def _check_texts(value: object, key: str, where: str) -> None:
    listed = isinstance(value, list) and all(isinstance(item, str) for item in value)
    if not isinstance(value, str) and not listed:
        msg = (
            f"{where}: {key!r} is {value!r:.60}. Expected one text or a list of texts; write [] "
            "for none."
        )
        raise TagstackError(msg)


def _sidecar_rows(folder: Path, suffixes: Sequence[str]) -> list[LabelRow]:
    endings = tuple(suffix.casefold() for suffix in suffixes)
    paths = [path for path in folder.rglob("*") if path.name.casefold().endswith(endings)]
    texts = {
        path: read_text(path, what="labels", errors=_ERRORS)
        for path in sorted(paths)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    }
    separator = tag_separator(texts.values())
    return [
        LabelRow(
            image=path.relative_to(folder).with_suffix("").as_posix(),
            tags=split_tags(text, separator),
            columns={},
            unsure=_unsure(text),
        )
        for path, text in texts.items()
    ]


def _other_texts(folder: Path, suffixes: Sequence[str]) -> str:
    """Return how many texts a folder has under other usual endings; empty for none."""
    usual = [suffix for suffix in (".txt", ".caption", ".tags", ".cap") if suffix not in suffixes]
    counts = {suffix: sum(1 for _ in folder.rglob(f"*{suffix}")) for suffix in usual}
    return ", ".join(f"{n} {suffix}" for suffix, n in counts.items() if n)


def _rows(records: Sequence[Mapping[str, Any]], separator: str | None = None) -> list[LabelRow]:
    """Return a row for each record; what separates tags is what the whole file shows."""
    shown = tag_separator(r["tags"] for r in records if isinstance(r["tags"], str))
    if shown == SPACE and separator is not None:
        shown = separator
    return [_row(record, shown) for record in records]


def _row(record: Mapping[str, Any], separator: str) -> LabelRow:
    tags = record["tags"]
    return LabelRow(
        image=record["image"],
        tags=_texts(tags, separator),
        columns={key: str(value) for key, value in record.items() if key not in _OWN_KEYS},
        unknown=_texts(record.get("unknown", ""), None),
        unsure=_unsure(tags) if isinstance(tags, str) else (),
        known=_texts(record.get("known", ""), None),
    )


def _texts(value: str | list[str], separator: str | None) -> tuple[str, ...]:
    if isinstance(value, str):
        return split_tags(value, separator)
    return tuple(dict.fromkeys(tag for tag in map(booru_form, value) if tag))


def _unsure(text: str) -> tuple[str, ...]:
    """Return a text of several words and no mark, which may be one tag or several."""
    plain = text.strip()
    several = len(plain.split()) > 1 and "\n" not in plain and "," not in plain
    return (plain,) if several else ()
