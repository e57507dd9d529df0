"""Rules from CSV tables: a tags table of the user, or a booru's alias and implication dumps."""

import csv
from collections import defaultdict
from pathlib import Path

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.rules.rule_set import Alias, Exclusive, Implication, Rules

_TABLE = {"tag", "parent", "exclusive_group"}
_DUMP = {"antecedent_name", "consequent_name", "status"}


def rules_from_table(path: Path) -> Rules:
    """Return the rules of a CSV file; its columns say which kind of table it is.

    Parameters
    ----------
    path : Path
        Either columns ``tag, parent, exclusive_group`` (empty cells say nothing, further columns
        are ignored) or ``antecedent_name, consequent_name, status``, of which only rows with
        status ``active`` count: implications, or aliases if the file's name says ``alias``.

    Raises
    ------
    TagstackError
        If the file cannot be read or lacks the columns.
    """
    columns, rows = _rows(path)
    if columns >= _TABLE:
        return _from_tags_table(rows, path.name)
    if columns >= _DUMP:
        return _from_dump(rows, path.name)
    msg = (
        f"The table {path.name} has columns {sorted(columns)}; rules need {sorted(_TABLE)} "
        f"or {sorted(_DUMP)}. Rename the columns."
    )
    raise TagstackError(msg)


def _rows(path: Path) -> tuple[set[str], list[dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restval="")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"Cannot read the rules {path}: {error}. Give a readable CSV file in UTF-8."
        raise TagstackError(msg) from error
    return set(reader.fieldnames or ()), rows


def _from_tags_table(rows: list[dict[str, str]], name: str) -> Rules:
    implications, members = [], defaultdict(list)
    for row in rows:
        tag, parent, group = (row[key].strip() for key in ("tag", "parent", "exclusive_group"))
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


def _from_dump(rows: list[dict[str, str]], name: str) -> Rules:
    active = [
        (row["antecedent_name"], row["consequent_name"])
        for row in rows
        if row["status"] == "active"
    ]
    if "alias" in name.lower():
        return Rules(aliases=tuple(Alias(old=old, new=new) for old, new in active))
    return Rules(
        implications=tuple(
            Implication(id=f"dump.{tag}->{parent}", tags=(tag,), implies=(parent,), source=name)
            for tag, parent in active
        )
    )
