"""The page of an audit: one file without scripts, in the look of the comparison's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from tagstack.ensemble.audit.companions import Companion
from tagstack.ensemble.audit.counts import FIGURES
from tagstack.ensemble.audit.looks import SPAN, Look
from tagstack.ensemble.audit.refits import MEMBER, VALUE, Refit
from tagstack.ensemble.audit.results import Audit
from tagstack.ensemble.audit.slices import ALL, CATEGORY, COLUMN, FAMILY, FREQUENCY, HELD
from tagstack.ensemble.audit.words import FIGURE_WORDS, headline, sentence, since, title_of
from tagstack.ensemble.report.figures import Axis, Mark, axis_of, mark_on
from tagstack.ensemble.report.numbers import number, signed
from tagstack.ensemble.report.rendering import rendered
from tagstack.meta.metrics.bootstrap import BETTER, UNDECIDED, WORSE, Interval

_MOST_ROWS = 60  # of one table: the CSV has all
_MOST_COMPANIONS = 100
_KINDS = {
    COLUMN: "Images by {}",
    HELD: "Images on which a tag holds",
    CATEGORY: "Tags by category",
    FREQUENCY: "Tags by how many of these images they hold on",
    FAMILY: "Tags by family",
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One figure of a slice: its value, and how it differs from the rest."""

    name: str
    value: str
    difference: str
    interval: str
    style: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A slice as a line of its table; the mark is of the F1's difference."""

    title: str
    note: str
    mark: Mark | None
    style: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """The slices of one column."""

    title: str
    lines: tuple[Line, ...]
    ticks: tuple[Mapping[str, object], ...]
    zero: float
    pooled: tuple[str, ...]
    left_out: int


def render_page(audit: Audit, provenance: Mapping[str, str]) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    audit : Audit
    provenance : mapping of str to str
        What was audited.
    """
    return rendered(
        "audit.html",
        "tagstack.ensemble.audit",
        audit=audit,
        headline=headline(audit),
        worst=[sentence(look) for look in audit.sure[:5]],
        tables=list(tables_of(audit)),
        disparities=_disparities(audit),
        companions=audit.companions[:_MOST_COMPANIONS],
        shifts=_shifts(audit),
        probes=_probes(audit),
        probe_tags=_probe_tags(audit),
        left_out=[_refit(one) for one in audit.refits if one.left_out == VALUE],
        dropped=[_refit(one) for one in _dropped(audit)],
        since="" if audit.changes is None else since(audit.changes),
        changes=_changes(audit),
        ratio=_ratio,
        several=len(audit.asked) > 1,
        name_of=_name,
        words=FIGURE_WORDS,
        number=number,
        signed=signed,
        provenance=provenance,
    )


def tables_of(audit: Audit) -> Iterator[Table]:
    """Yield a table for each column; where it has many slices, those that differ most surely."""
    keyed = groupby(audit.looks, key=lambda look: (look.kind, look.column))
    for (kind, column), own in keyed:
        slices = [list(each) for _, each in groupby(own, key=lambda look: look.value)]
        kept = slices
        if len(slices) > _MOST_ROWS:
            surest = sorted(slices, key=lambda looks: min(_q(look) for look in looks))
            kept = [looks for looks in slices if looks in surest[:_MOST_ROWS]]
        axis = axis_of([_interval(_f1(looks)) for looks in kept], with_zero=True)
        yield Table(
            title=_KINDS[kind].format(column),
            lines=tuple(_line(looks, axis) for looks in kept),
            ticks=tuple({"at": axis.percent(t), "text": signed(t, 2)} for t in axis.ticks),
            zero=axis.percent(0.0),
            pooled=next(
                (p.values for p in audit.pooled if (p.kind, p.column) == (kind, column)), ()
            ),
            left_out=len(slices) - len(kept),
        )


def _line(looks: Sequence[Look], axis: Axis) -> Line:
    f1 = _f1(looks)
    return Line(
        title=f1.value,
        note=f"{f1.n_images:,} images in {f1.n_groups:,} groups",
        mark=mark_on(_interval(f1), axis),
        style=_style(f1),
        cells=tuple(_cell(look) for look in looks),
    )


def _cell(look: Look) -> Cell:
    return Cell(
        name=look.figure,
        value=_shown(look.figure, look.here),
        difference=signed(look.difference),
        interval=_ends(look.low, look.high),
        style=_style(look),
    )


def _style(look: Look) -> str:
    """Return how a figure is coloured: only what is sure, and only where more is better."""
    if not look.sure:
        return "even"
    if _is_signed(look.figure):
        return "better" if abs(look.here) < abs(look.elsewhere) else "worse"
    return "better" if look.difference > 0 else "worse"


def _name(figure: str) -> str:
    return "F1" if figure == "f1" else figure


def _shown(figure: str, value: float) -> str:
    return signed(value) if _is_signed(figure) else number(value)


def _is_signed(figure: str) -> bool:
    return figure in ("tagging", "calibration")


def _disparities(audit: Audit) -> list[Mapping[str, object]]:
    return [
        {
            "column": title_of(one.kind, one.column, ""),
            "figure": one.figure,
            "most": f"{one.most} ({_shown(one.figure, one.highest)})",
            "least": f"{one.least} ({_shown(one.figure, one.lowest)})",
            "difference": number(one.difference),
            "interval": f"{number(max(one.low, 0.0))} to {number(min(one.high, SPAN[one.figure]))}",
            "sure": one.low > 0,
        }
        for one in audit.disparities
    ]


def _shifts(audit: Audit) -> list[Mapping[str, object]]:
    """Return the slices by what they want; proposals first."""
    return [
        {
            "title": title_of(one.kind, one.column, one.value),
            "shift": signed(one.shift, 2),
            "range": f"{signed(one.shift_low, 2)} to {signed(one.shift_high, 2)}",
            "in_use": number(one.in_use),
            "before": number(one.before),
            "after": number(one.after),
            "difference": signed(one.difference),
            "interval": _ends(one.low, one.high),
            "verdict": "proposed" if one.helps else "",
        }
        for one in sorted(audit.shifts, key=lambda one: not one.helps)
    ]


def _probes(audit: Audit) -> list[Mapping[str, object]]:
    """Return what each guise does, guise by guise, the stack first."""
    return [
        {
            "guise": one.guise,
            "by": one.by,
            "kept": f"{one.kept:.0%}",
            "kept_range": f"{one.kept_low:.0%} to {one.kept_high:.0%}",
            "tags": f"{one.tags_before:.1f} to {one.tags_after:.1f}",
            "before": number(one.before),
            "after": number(one.after),
            "difference": signed(one.difference),
            "interval": _ends(one.low, one.high),
            "style": "" if not one.sure else BETTER if one.difference > 0 else WORSE,
        }
        for one in (() if audit.probes is None else audit.probes.moved)
    ]


def _probe_tags(audit: Audit) -> list[Mapping[str, object]]:
    found = () if audit.probes is None else audit.probes.tags
    return [
        {
            "tag": one.tag,
            "guise": one.guise,
            "by": one.by,
            "before": one.before,
            "after": one.after,
            "both": one.both,
            "difference": signed(one.difference),
            "interval": _ends(one.low, one.high),
        }
        for one in found[:_MOST_ROWS]
    ]


def _dropped(audit: Audit) -> list[Refit]:
    """Return what fits without each tagger do, what surely changes first, then by tagger."""
    found = [one for one in audit.refits if one.left_out == MEMBER]
    return sorted(found, key=lambda one: one.verdict not in (BETTER, WORSE))[:_MOST_ROWS]


def _refit(one: Refit) -> Mapping[str, object]:
    proposed = one.left_out == MEMBER and one.verdict == BETTER and one.kind != ALL
    return {
        "title": title_of(one.kind, one.column, one.value),
        "without": one.without,
        "images": f"{one.n_images:,} images in {one.n_groups:,} groups",
        "fitted": f"{one.n_fitted:,}",
        "before": number(one.before),
        "after": number(one.after),
        "difference": signed(one.difference),
        "interval": _ends(one.low, one.high),
        "style": one.verdict if one.verdict in (BETTER, WORSE) else "",
        "verdict": "proposed" if proposed else one.verdict if one.verdict != UNDECIDED else "",
    }


def _changes(audit: Audit) -> list[Mapping[str, object]]:
    """Return what changed for sure, the worst first."""
    found = () if audit.changes is None else audit.changes.found
    return [
        {
            "title": title_of(one.kind, one.column, one.value),
            "figure": one.figure,
            "before": _shown(one.figure, one.before),
            "after": _shown(one.figure, one.after),
            "difference": signed(one.difference),
            "interval": _ends(one.low, one.high),
            "verdict": one.verdict,
        }
        for one in sorted(found, key=lambda one: one.difference)
        if one.verdict in (BETTER, WORSE)
    ]


def _ratio(one: Companion) -> str:
    return f"{one.ratio:.1f} times ({one.low:.1f} to {one.high:.1f})"


def _ends(low: float, high: float) -> str:
    return f"{signed(low)} to {signed(high)}" if low == low else ""


def _f1(looks: Sequence[Look]) -> Look:
    return looks[FIGURES.index("f1")]


def _interval(look: Look) -> Interval:
    return Interval(value=look.difference, low=look.low, high=look.high)


def _q(look: Look) -> float:
    return look.q_value if look.q_value == look.q_value else 1.0
