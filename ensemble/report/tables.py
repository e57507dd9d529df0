"""The comparison as tables for other programs: one CSV each for tags, rungs, pairs of rungs, rules.

Undefined values are empty.
"""

import csv
import dataclasses
import io
import math
from collections.abc import Iterable, Sequence

import numpy as np

from tagstack.ensemble.comparison.results import Comparison, RungResult
from tagstack.ensemble.comparison.rule_effects import RuleEffect

_TAG_COLUMNS = (
    "tag",
    "category",
    "positives",
    "decided",
    "right",
    "threshold",
    "precision",
    "recall",
    "f",
    "ap",
    "rival_precision",
    "rival_recall",
    "rival_f",
    "rival_ap",
    "difference",
    "difference_low",
    "difference_high",
    "p_value",
    "q_value",
    "verdict",
)


def tags_csv(comparison: Comparison) -> str:
    """Return one row for each tag: the reference, its rival and what separates them."""
    columns = [getattr(comparison.tags, name) for name in _TAG_COLUMNS]
    return _csv(_TAG_COLUMNS, zip(*columns, strict=True))


def rungs_csv(comparison: Comparison) -> str:
    """Return one row for each rung with every score, intervals as ``_low`` and ``_high``."""
    rows = [_rung_row(rung) for rung in comparison.rungs]
    return _csv(list(rows[0]), (row.values() for row in rows))


def pairs_csv(comparison: Comparison) -> str:
    """Return one row for every two rungs and score: first minus second, over all tags."""
    header = ("first", "second", "score", "difference", "low", "high", "verdict")
    return _csv(
        header,
        (
            (pair.first, pair.second, name, found.value, found.low, found.high, found.verdict)
            for pair in comparison.pairs
            for name, found in pair.differences.items()
        ),
    )


def rules_csv(comparison: Comparison) -> str:
    """Return one row for each rule that changed a decision."""
    header = [field.name for field in dataclasses.fields(RuleEffect)]
    rows = ([getattr(effect, name) for name in header] for effect in comparison.rules)
    return _csv(header, rows)


def _rung_row(rung: RungResult) -> dict[str, object]:
    row: dict[str, object] = {"rung": rung.name, "title": rung.title, "votes_on": rung.votes_on}
    for scope, scores in rung.scores.items():
        for name, found in scores.items():
            key = name if scope == "all" else f"{scope}:{name}"
            row |= {key: found.value, f"{key}_low": found.low, f"{key}_high": found.high}
    parts: list[tuple[str, object]] = [("", rung.decisions), ("", rung.probabilities)]
    parts += [("", rung.ranking), ("hierarchical_", rung.hierarchical)]
    for prefix, part in parts:
        if part is not None and dataclasses.is_dataclass(part):
            for field in dataclasses.fields(part):
                row.setdefault(prefix + field.name, getattr(part, field.name))
    row["contradictions"] = rung.contradictions
    row["contradicting_images"] = rung.contradicting_images
    return row


def _csv(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return target.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float | np.floating):
        return f"{float(value):.6g}" if math.isfinite(value) else ""
    return value
