"""Thresholds that a person gives by hand: a CSV of tags and thresholds, or the exported JSON."""

import math
from collections.abc import Iterator
from pathlib import Path

from tagstack.configs.errors import TagstackError
from tagstack.configs.tables import read_table
from tagstack.configs.text_files import read_json
from tagstack.ensemble.thresholds.table import number, proper_threshold

_TAG = ("tag", "name")
_VALUE = ("threshold", "best_threshold")


def read_overrides(path: Path) -> dict[str, float]:
    """Return thresholds by tag from a CSV or JSON file.

    Parameters
    ----------
    path : Path
        CSV with columns ``tag`` (or ``name``) and ``threshold`` (or ``best_threshold``), as
        animetimm's ``selected_tags.csv`` and JTP's ``calibration.csv``
        (``tag,threshold,tp,fp,tn,fn``) have them; further columns and rows without a threshold
        are ignored. Or JSON as ``thresholds export`` writes it: an object of tags and thresholds,
        null for never.

    Raises
    ------
    TagstackError
        If the file cannot be read, lacks the columns, names a tag twice with different
        thresholds, or a threshold is not above 0 and at most 1, or ``never``.
    """
    pairs = _json_pairs(path) if path.suffix.lower() == ".json" else _csv_pairs(path)
    overrides: dict[str, float] = {}
    for name, given in pairs:
        threshold = proper_threshold(given, name, path.name)
        if overrides.setdefault(name, threshold) != threshold:
            msg = f"{path.name} names {name!r} twice, with {overrides[name]} and {threshold}."
            raise TagstackError(msg)
    return overrides


def _csv_pairs(path: Path) -> Iterator[tuple[str, float]]:
    table = read_table(path, what="thresholds", expected=(*_TAG, *_VALUE))
    tag, value = table.first_of(*_TAG), table.first_of(*_VALUE)
    if tag is None or value is None:
        msg = (
            f"{path.name} has columns {sorted(table.columns)}; a tag and a threshold column are "
            f"due."
        )
        raise TagstackError(msg)
    for row in table.rows:
        if row.cells[value].strip():
            yield row.cells[tag], number({tag: row.cells[tag], **row.cells}, value, path)


def _json_pairs(path: Path) -> Iterator[tuple[str, float]]:
    content = read_json(path, what="thresholds")
    if not isinstance(content, dict):
        msg = f"{path.name} holds a {type(content).__name__}; expected an object of thresholds."
        raise TagstackError(msg)
    for tag, value in content.items():
        if value is None:
            yield tag, math.inf
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield tag, float(value)
        else:
            msg = f"{path.name} gives {tag!r} the threshold {value!r:.40}; give a number or null."
            raise TagstackError(msg)
