"""Rules from tables: a tags table of the user, or a booru's alias and implication dumps."""

import gzip
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tagstack.configs.errors import TagstackError
from tagstack.configs.tables import parse_table
from tagstack.configs.text_files import MAX_TEXT_BYTES, parse_json, read_text
from tagstack.ensemble.rules.rule import Alias, Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules

_TABLE = {"tag", "parent", "exclusive_group"}
_DUMP = {"antecedent_name", "consequent_name", "status"}

_Row = dict[str, Any]


def rules_from_table(path: Path) -> Rules:
    """Return the rules of a table; its columns say which kind it is.

    Parameters
    ----------
    path : Path
        CSV, a JSON array or JSON lines, perhaps gzipped. Either columns ``tag, parent,
        exclusive_group`` (empty cells say nothing, further columns are ignored) or
        ``antecedent_name, consequent_name, status``, of which only rows with status ``active``
        count: implications, or aliases if the file's name says ``alias``.

    Raises
    ------
    TagstackError
        If the file cannot be read or lacks the columns.
    """
    columns, rows = _table(path)
    if columns >= _TABLE:
        return _from_tags_table(rows, path.name)
    if columns >= _DUMP:
        return _from_dump(rows, path.name)
    msg = (
        f"The table {path.name} has columns {sorted(columns)}; rules need {sorted(_TABLE)} "
        f"or {sorted(_DUMP)}. Rename the columns."
    )
    raise TagstackError(msg)


def _table(path: Path) -> tuple[set[str], list[_Row]]:
    """Return the columns that every row has, and the rows."""
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    text = _text(path)
    if kind == ".csv":
        table = parse_table(text, str(path), expected=(*_TABLE, *_DUMP))
        return set(table.columns), [dict(row.cells) for row in table.rows]
    rows = list(_objects(text, kind, str(path)))
    return set.intersection(*(set(row) for row in rows)) if rows else set(_DUMP), rows


def _text(path: Path) -> str:
    if path.suffix != ".gz":
        return read_text(path, what="rules")
    try:
        with gzip.open(path, "rb") as stream:
            content = stream.read(MAX_TEXT_BYTES + 1)
            if len(content) <= MAX_TEXT_BYTES:
                return content.decode("utf-8-sig")
            reason = f"it unpacks to more than {MAX_TEXT_BYTES:,} bytes"
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        reason = str(error)
    msg = f"Cannot read the rules {path}: {reason}. Give a readable table in UTF-8."
    raise TagstackError(msg)


def _objects(text: str, kind: str, source: str) -> Iterator[_Row]:
    """Yield the objects of a JSON array, or of a file with one object a line."""
    plain = text.strip()
    # Some dumps are called .json and hold a line for each object.
    if kind == ".json" and plain.startswith("["):
        found = parse_json(plain, source)
    else:
        lines = enumerate(plain.split("\n"), 1)
        found = (parse_json(line, f"{source}, line {i}") for i, line in lines if line.strip())
    for row in found:
        if not isinstance(row, dict):
            raise TagstackError(f"{source}: expected objects, got {row!r:.40}. Correct the table.")
        yield row


def _from_tags_table(rows: list[_Row], name: str) -> Rules:
    implications, members = [], defaultdict(list)
    for row in rows:
        cells = (row[key] for key in ("tag", "parent", "exclusive_group"))
        tag, parent, group = ((cell or "").strip() for cell in cells)
        if parent:
            rule = Implication(id=f"parent.{tag}", tags=(tag,), implies=(parent,), source=name)
            implications.append(rule)
        if group:
            members[group].append(tag)
    groups = [
        Exclusive(id=f"group.{group}", tags=tuple(tags), source=name)
        for group, tags in members.items()
        if len(tags) > 1
    ]
    return Rules(implications=tuple(implications), exclusives=tuple(groups))


def _from_dump(rows: list[_Row], name: str) -> Rules:
    # A dump lists a pair again when it was retired and came back.
    active = dict.fromkeys(
        (row["antecedent_name"], row["consequent_name"])
        for row in rows
        if row["status"] == "active"
    )
    if "alias" in name.lower():
        return Rules(aliases=tuple(Alias(old=old, new=new) for old, new in active))
    return Rules(
        implications=tuple(
            Implication(id=f"dump.{tag}->{parent}", tags=(tag,), implies=(parent,), source=name)
            for tag, parent in active
        )
    )
