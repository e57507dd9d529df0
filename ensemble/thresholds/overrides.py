"""Thresholds from a person's or another tool's CSV file: they win over fitted ones."""

from pathlib import Path

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.thresholds.csv_rows import number, read_rows

_TAG = ("tag", "name")
_VALUE = ("threshold", "best_threshold")


def read_overrides(path: Path) -> dict[str, float]:
    """Return thresholds by tag from a CSV file.

    Parameters
    ----------
    path : Path
        Columns ``tag`` (or ``name``) and ``threshold`` (or ``best_threshold``), as animetimm's
        ``selected_tags.csv`` and JTP's ``calibration.csv`` (``tag,threshold,tp,fp,tn,fn``) have
        them. Further columns and rows without a threshold are ignored.

    Raises
    ------
    TagstackError
        If the file cannot be read, lacks the columns, names a tag twice with different
        thresholds, or a threshold is not a number above 0.
    """
    rows = read_rows(path)
    columns = set(rows[0] if rows else {})
    tag = next((name for name in _TAG if name in columns), None)
    value = next((name for name in _VALUE if name in columns), None)
    if tag is None or value is None:
        msg = f"{path.name} has columns {sorted(columns)}; a tag and a threshold column are due."
        raise TagstackError(msg)
    overrides: dict[str, float] = {}
    for row in rows:
        if not row[value].strip():
            continue
        name, threshold = row[tag], number(row, value, path)
        if not threshold > 0:
            msg = f"{path.name} gives {name!r} the threshold {threshold}; give one above 0, or inf."
            raise TagstackError(msg)
        if overrides.setdefault(name, threshold) != threshold:
            msg = f"{path.name} names {name!r} twice, with {overrides[name]} and {threshold}."
            raise TagstackError(msg)
    return overrides
