"""The comparison as data: JSON in full, compact inside the report, and tables as CSV."""

import base64
import dataclasses
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.configs.json_values import Json, fields_of, plain, printable
from tagstack.configs.tables import TableWriter
from tagstack.ensemble.comparison.results import Comparison, Curves, RungResult, TagTable
from tagstack.ensemble.comparison.rule_effects import RuleEffect
from tagstack.ensemble.report.fit_evidence import FitEvidence
from tagstack.ensemble.report.view import sides
from tagstack.meta.metrics.scores import compared, f_name, of_decisions, of_probabilities

_CURVE_STEPS = 65535  # curves are drawn from 16-bit numbers: far finer than a screen

_MOST_TAGS = 10_000  # of which the page lists all

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
    header = [_column(name, comparison.beta) for name in _TAG_COLUMNS]
    return _csv(header, zip(*columns, strict=True))


def rungs_csv(comparison: Comparison) -> str:
    """Return one row for each rung with every score, intervals as ``_low`` and ``_high``."""
    rows = [_rung_row(rung, comparison) for rung in comparison.rungs]
    return _csv(list(rows[0]), (row.values() for row in rows))


def pairs_csv(comparison: Comparison) -> str:
    """Return one row for every two rungs and score: first minus second, over all tags."""
    header = ("first", "second", "score", "difference", "low", "high", "verdict")
    return _csv(
        header,
        (
            (pair.first, pair.second, name, found.value, found.low, found.high, found.verdict)
            for pair in comparison.pairs
            for name, found in (
                (_column(key, comparison.beta), own) for key, own in pair.differences.items()
            )
        ),
    )


def rules_csv(comparison: Comparison) -> str:
    """Return one row for each rule that changed a decision."""
    header = [field.name for field in dataclasses.fields(RuleEffect)]
    rows = ([getattr(effect, name) for name in header] for effect in comparison.rules)
    return _csv(header, rows)


def _column(name: str, beta: float) -> str:
    """Return a score's column: F-beta says its beta, unless that is the usual 1."""
    return name if beta == 1 else re.sub(r"(?<![a-z])f$", f_name(beta).lower(), name)


def _rung_row(rung: RungResult, comparison: Comparison) -> dict[str, object]:
    beta = comparison.beta
    row: dict[str, object] = {"rung": rung.name, "title": rung.title, "votes_on": rung.votes_on}
    for scope, scores in rung.scores.items():
        for name, found in scores.items():
            key = _column(name if scope == "all" else f"{scope}:{name}", beta)
            row |= {key: found.value, f"{key}_low": found.low, f"{key}_high": found.high}
    parts: list[tuple[str, object]] = [("", rung.decisions), ("", rung.probabilities)]
    parts += [("", rung.ranking), ("hierarchical_", rung.hierarchical)]
    for prefix, part in parts:
        if part is not None and dataclasses.is_dataclass(part):
            for field in dataclasses.fields(part):
                key = _column(prefix + field.name, beta)
                row.setdefault(key, getattr(part, field.name))
    row["contradictions"] = rung.contradictions
    row["contradicting_images"] = rung.contradicting_images
    row |= {f"metric:{score.name}": rung.values[score.name] for score in comparison.personal}
    return row


def _csv(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    target = io.StringIO()
    writer = TableWriter(target)
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return target.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float | np.floating):
        return f"{float(value):.6g}" if math.isfinite(value) else ""
    return value


def metrics_json(
    comparison: Comparison, provenance: Mapping[str, str], fit: FitEvidence | None = None
) -> str:
    """Return every figure as JSON; undefined values are null, curves are left out."""
    content = {
        field.name: plain(getattr(comparison, field.name))
        for field in dataclasses.fields(comparison)
        if field.name not in ("curves", "rival_curves", "thumbnail_px", "personal")
    }
    content["score_names"] = _score_names(comparison)
    content["rungs"] = [_rung_json(comparison, rung) for rung in comparison.rungs]
    content["fit"] = plain(fit)
    content["provenance"] = dict(provenance)
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _rung_json(comparison: Comparison, rung: RungResult) -> Json:
    """Return a rung with its spec beside its scores, and what readers of 0.1 look for."""
    raw = next((r.name for r in comparison.rungs if r.spec.raw_of == rung.name), "")
    spec, found = rung.spec, fields_of(rung)
    del found["spec"], found["values"]
    found["metrics"] = {s.name: plain(rung.values[s.name]) for s in comparison.personal}
    kept: dict[str, Json] = {"raw": printable(raw), "single": spec.is_single}
    return fields_of(spec) | kept | {"foreign": spec.is_foreign} | found


def _score_names(comparison: Comparison) -> Json:
    """Return what each score is called and which way is better."""
    beta = comparison.beta
    every = (*compared(beta), *of_decisions(beta), *of_probabilities(), *comparison.personal)
    return {
        score.name: {
            "title": printable(score.title),
            "meaning": printable(score.meaning),
            "larger_is_better": score.larger_is_better,
            "needs": score.needs,
        }
        for score in reversed(every)  # of one name twice, the first says what it means
    }


def shown_tags(comparison: Comparison) -> NDArray[np.int64]:
    """Return the tags that the page lists, shape (n_shown,), ascending.

    All of them, or of very many those that have a positive or were given: the others have nothing
    to show, and a browser would carry them all the same.
    """
    table = comparison.tags
    if len(table.tag) <= _MOST_TAGS:
        return np.arange(len(table.tag))
    return np.flatnonzero((table.positives > 0) | (table.decided > 0))


def page_data(comparison: Comparison) -> Json:
    """Return what the report's script needs: tags by column, curves, confusions."""
    shown = shown_tags(comparison)
    table = _rows_of(comparison.tags, shown)
    place = {rung.name: at for at, rung in enumerate(comparison.rungs)}
    verdict = {"better": 1, "worse": -1}
    return {
        "tag": list(table.tag),
        "category": list(table.category),
        "positives": plain(table.positives),
        "decided": plain(table.decided),
        "right": plain(table.right),
        "threshold": _short(table.threshold),
        "precision": _short(table.precision),
        "recall": _short(table.recall),
        "f": _short(table.f),
        "ap": _short(table.ap),
        "rival_precision": _short(table.rival_precision),
        "rival_recall": _short(table.rival_recall),
        "rival_f": _short(table.rival_f),
        "rival_ap": _short(table.rival_ap),
        "delta": _short(table.difference),
        "low": _short(table.difference_low),
        "high": _short(table.difference_high),
        "q": _short(table.q_value),
        "verdict": [verdict.get(word, 0) for word in table.verdict],
        "curves": [_packed(own, shown) for own in (comparison.curves, comparison.rival_curves)],
        "confusions": plain(comparison.confusions),
        "rungs": [printable(rung.title) for rung in comparison.rungs],
        "pairs": _pairs(comparison),
        "sides": [[place[rung.name] for rung in side.rungs] for side in sides(comparison)],
        "beta": comparison.beta,
    }


def script_safe(content: Json) -> str:
    """Return JSON that may stand inside a script element, whatever strings it holds."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for unsafe in "<>&\u2028\u2029":
        text = text.replace(unsafe, f"\\u{ord(unsafe):04x}")
    return text


def _short(values: NDArray[np.float64]) -> Json:
    return [_rounded(value) for value in values.tolist()]


def _pairs(comparison: Comparison) -> Json:
    """Return [first, second, value, low, high] of every two rungs, by score name."""
    place = {rung.name: at for at, rung in enumerate(comparison.rungs)}
    found: dict[str, list[Json]] = {}
    for pair in comparison.pairs:
        for name, own in pair.differences.items():
            ends = [_rounded(value) for value in (own.value, own.low, own.high)]
            found.setdefault(name, []).append([place[pair.first], place[pair.second], *ends])
    return {name: list(rows) for name, rows in found.items()}


def _rounded(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _rows_of(table: TagTable, tags: NDArray[np.int64]) -> TagTable:
    """Return the rows of some tags."""
    taken: dict[str, Any] = {}
    for field in dataclasses.fields(table):
        column = getattr(table, field.name)
        is_array = isinstance(column, np.ndarray)
        taken[field.name] = column[tags] if is_array else tuple(column[t] for t in tags)
    return dataclasses.replace(table, **taken)


def _packed(curves: Curves, tags: NDArray[np.int64]) -> Json:
    """Return the curves as base64 of little-endian 16-bit numbers, column by column.

    Tags that are left out have none.
    """
    n_points = np.diff(curves.indptr)[tags]
    columns = np.stack([curves.recall, curves.precision, curves.proba])
    numbers = np.rint(columns * _CURVE_STEPS).astype("<u2")
    return {
        "indptr": plain(np.concatenate([[0], np.cumsum(n_points)])),
        "points": base64.b64encode(numbers.tobytes()).decode("ascii"),
    }
