"""Pictures drawn on the server, and marks on an axis: reliability, F-beta by frequency, trials.

They are plain SVG with style classes, so that colours follow the reader's light or dark choice and
nothing depends on a script.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape

from tagstack.ensemble.bundle.cascade import FrontierRow
from tagstack.ensemble.comparison.results import TagTable
from tagstack.ensemble.report.fit_evidence import FrontierDot, FrontierEvidence
from tagstack.ensemble.report.words import between, signed, verdict_class
from tagstack.meta.metrics.bootstrap import Difference, Interval
from tagstack.meta.metrics.calibration_error import Bins

_WIDTH, _HEIGHT = 460, 320
_MOST_TICKS = 7
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 26, 40
_PLOT_WIDTH, _PLOT_HEIGHT = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM


@dataclass(frozen=True)
class Axis:
    """A linear axis that covers some values, with round ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def percent(self, value: float) -> float:
        """Return the place of a value, in percent of the axis, cut to its ends."""
        share = (value - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, share)), 2)


def axis_over(values: Iterable[float]) -> Axis:
    """Return an axis that covers all finite values, with a little air and round ticks."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    air = max((high - low) * 0.04, 1e-3)
    low, high = low - air, high + air
    step = _round_step((high - low) / _MOST_TICKS)
    ticks = np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step
    return Axis(low, high, tuple(round(float(tick), 10) for tick in ticks))


def axis_of(intervals: Iterable[Interval], *, with_zero: bool = False) -> Axis:
    """Return an axis that covers intervals, and 0 where asked."""
    values = [v for i in intervals for v in (i.low, i.value, i.high)]
    return axis_over([*values, 0.0] if with_zero else values)


def reliability_picture(series: Sequence[tuple[str, str, Bins]]) -> Markup:
    """Return mean probability against the share that is true, one line per (class, title, bins).

    Both axes are on the logit scale: the pairs that matter lie near 0 and near 1.
    """
    ticks = (0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.99)

    def x(proba: float) -> float:
        return _LEFT + _logit_share(proba) * _PLOT_WIDTH

    def y(proba: float) -> float:
        return _y(_logit_share(proba))

    parts = _frame("Mean probability", "Share that is true")
    for tick in ticks:
        parts += [_x_tick(x(tick), f"{tick:g}"), _y_tick(y(tick), f"{tick:g}")]
    parts.append(_line("ideal", [(x(0.005), y(0.005)), (x(0.995), y(0.995))]))
    for style, title, bins in series:
        points = [(x(p), y(t)) for p, t in zip(bins.proba, bins.true, strict=True)]
        parts += [_line(style, points), *(_dot(style, at, title) for at in points)]
    names = " and ".join(title for _, title, _ in series)
    return _picture(f"Reliability of {names}: mean probability against the share true", parts)


def frequency_picture(table: TagTable, f_name: str) -> Markup:
    """Return each tag's F-beta against its positives, log scale, styled by verdict."""
    most = max(int(table.positives.max(initial=1)), 10)
    span = math.log10(most)
    parts = _frame("Positives in the test set", f_name)
    for decade in range(int(span) + 1):
        parts.append(_x_tick(_LEFT + decade / span * _PLOT_WIDTH, f"{10**decade:,}"))
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_y_tick(_y(tick), f"{tick:g}"))
    styles = {"no significant difference": "even", "worse": "worse", "better": "better"}
    for verdict, style in styles.items():
        chosen = [
            (_LEFT + math.log10(n) / span * _PLOT_WIDTH, _y(f))
            for n, f, word in zip(table.positives, table.f, table.verdict, strict=True)
            if n > 0 and word == verdict and math.isfinite(f)
        ]
        dots = "".join(f"M{px:.1f} {py:.1f}h0" for px, py in chosen)
        parts.append(Markup('<path class="dots {}" d="{}"/>').format(style, dots))
    label = f"{f_name} of each tag against its number of positives"
    return _picture(label, parts)


def trials_picture(trials: Sequence[float]) -> Markup:
    """Return the value of each tuning trial and the best so far; higher is better."""
    axis = axis_over(trials)
    last = max(len(trials) - 1, 1)
    parts = _frame("Trial", "Value")
    for tick in axis.ticks:
        parts.append(_y_tick(_y(axis.percent(tick) / 100), f"{tick:g}"))
    for number in sorted({0, last // 2, last}):
        parts.append(_x_tick(_LEFT + number / last * _PLOT_WIDTH, str(number)))
    points = [
        (_LEFT + number / last * _PLOT_WIDTH, value)
        for number, value in enumerate(trials)
        if math.isfinite(value)
    ]
    best = np.maximum.accumulate([value for _, value in points])
    line = [(x, _y(axis.percent(top) / 100)) for (x, _), top in zip(points, best, strict=True)]
    dots = "".join(f"M{x:.1f} {_y(axis.percent(value) / 100):.1f}h0" for x, value in points)
    parts += [_line("ours", line), Markup('<path class="dots even" d="{}"/>').format(dots)]
    return _picture("Value of each tuning trial and the best so far", parts)


def frontier_picture(frontier: FrontierEvidence) -> Markup:
    """Return micro F-beta against macro F-beta, a dot for each share of the macro average."""
    every = (*frontier.points, frontier.one_threshold)
    across, up = axis_over([p.macro_f for p in every]), axis_over([p.micro_f for p in every])

    def at(point: FrontierDot) -> tuple[float, float]:
        x = _LEFT + across.percent(point.macro_f) / 100 * _PLOT_WIDTH
        return x, _y(up.percent(point.micro_f) / 100)

    parts = _frame("Macro F", "Micro F")
    for tick in across.ticks:
        parts.append(_x_tick(_LEFT + across.percent(tick) / 100 * _PLOT_WIDTH, f"{tick:g}"))
    parts += [_y_tick(_y(up.percent(t) / 100), f"{t:g}") for t in up.ticks]
    parts.append(_line("ours", [at(point) for point in frontier.points]))
    ring = Markup('<circle class="ring" cx="{:.1f}" cy="{:.1f}" r="7"/>')
    label = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="end">{:g}</text>')
    for point in frontier.points:
        (x, y), share = at(point), point.macro_share
        parts += [ring.format(x, y)] if share == frontier.in_use else []
        parts.append(_dot("ours", (x, y), f"{share:g}: {point.macro_f:.3f}, {point.micro_f:.3f}"))
        parts.append(label.format(x - 6, y + 12, share))
    one = frontier.one_threshold
    parts.append(_dot("rival", at(one), f"one threshold: {one.macro_f:.3f}, {one.micro_f:.3f}"))
    return _picture("Micro F against macro F for each share of the macro average", parts)


def cost_picture(rows: Sequence[FrontierRow], average: str) -> Markup:
    """Return an F1 against the share of the networks' cost, with intervals.

    The interval at a dot is that of the paired difference to all taggers, whose F1 is dashed.

    Parameters
    ----------
    rows : sequence of FrontierRow
        The last has all taggers look.
    average : str
        ``micro`` or ``macro``.
    """
    points = [_CostPoint.of(row, rows[-1], average) for row in rows]
    whole = points[-1].f
    up = axis_over([value for p in points for value in (p.low, p.f, p.high)])

    def at(cost: float, f: float) -> tuple[float, float]:
        return _LEFT + cost * _PLOT_WIDTH, _y(up.percent(f) / 100)

    parts = _frame("Share of the networks' cost", f"{average}-F1")
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_x_tick(_LEFT + tick * _PLOT_WIDTH, f"{tick:g}"))
    parts += [_y_tick(_y(up.percent(tick) / 100), f"{tick:g}") for tick in up.ticks]
    parts.append(_line("ideal", [at(0, whole), at(1, whole)]))
    parts.append(_line("ours", [at(p.cost, p.f) for p in points]))
    span = Markup('<path class="span" d="M{:.1f} {:.1f}V{:.1f}"/>')
    for point in points:
        (x, low), (_, high) = at(point.cost, point.low), at(point.cost, point.high)
        parts.append(span.format(x, low, high))
        said = f"{point.cost:.0%} of the cost: {point.f:.4f}, {point.low:.4f} to {point.high:.4f}"
        parts.append(_dot("ours", at(point.cost, point.f), said))
    return _picture(f"{average}-F1 against the share of the networks' cost", parts)


class _CostPoint(NamedTuple):
    cost: float
    f: float
    low: float
    high: float

    @classmethod
    def of(cls, row: FrontierRow, whole: FrontierRow, average: str) -> "_CostPoint":
        """Return a row's F1 with the interval of its loss against all taggers."""
        f, best = getattr(row, f"{average}_f"), getattr(whole, f"{average}_f")
        low, high = (best - getattr(row, f"{average}_{end}") for end in ("high", "low"))
        return cls(row.cost, f, low, high)


def _round_step(raw: float) -> float:
    power: float = 10 ** math.floor(math.log10(raw))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)


def _logit_share(proba: float) -> float:
    """Return the place of a probability on a logit axis from 0.005 to 0.995, in [0, 1]."""
    limit = math.log(0.995 / 0.005)
    p = min(0.995, max(0.005, proba))
    return (math.log(p / (1 - p)) + limit) / (2 * limit)


def _y(share: float) -> float:
    return _TOP + (1 - share) * _PLOT_HEIGHT


def _frame(x_title: str, y_title: str) -> list[Markup]:
    bottom = _TOP + _PLOT_HEIGHT
    return [
        Markup('<path class="axis" d="M{} {}V{}H{}"/>').format(
            _LEFT, _TOP, bottom, _WIDTH - _RIGHT
        ),
        Markup('<text class="title" x="{}" y="{}" text-anchor="end">{}</text>').format(
            _WIDTH - _RIGHT, _HEIGHT - 6, x_title
        ),
        Markup('<text class="title" x="{}" y="{}">{}</text>').format(0, 12, y_title),
    ]


def _x_tick(x: float, text: str) -> Markup:
    bottom = _TOP + _PLOT_HEIGHT
    return Markup(
        '<path class="grid" d="M{0:.1f} {1}V{2}"/>'
        '<text x="{0:.1f}" y="{3}" text-anchor="middle">{4}</text>'
    ).format(x, _TOP, bottom, bottom + 15, text)


def _y_tick(y: float, text: str) -> Markup:
    return Markup(
        '<path class="grid" d="M{0} {1:.1f}H{2}"/>'
        '<text x="{3}" y="{1:.1f}" dy=".32em" text-anchor="end">{4}</text>'
    ).format(_LEFT, y, _WIDTH - _RIGHT, _LEFT - 6, text)


def _line(style: str, points: Sequence[tuple[float, float]]) -> Markup:
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return Markup('<path class="line {}" d="{}"/>').format(style, f"M{steps}" if steps else "")


def _dot(style: str, at: tuple[float, float], title: str) -> Markup:
    return Markup(
        '<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3.2"><title>{}</title></circle>'
    ).format(style, at[0], at[1], title)


def _picture(label: str, parts: Sequence[Markup]) -> Markup:
    opening = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        _WIDTH, _HEIGHT, escape(label)
    )
    return opening + Markup("").join(parts) + Markup("</svg>")


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A value with its interval as places on an axis, in percent."""

    left: float
    width: float
    dot: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """The way from one value to the next as a bar on an axis, in percent."""

    left: float
    width: float
    style: str


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A place on an axis, in percent, with its text."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Delta:
    """A difference as text and as marks on an axis around 0."""

    value: str
    interval: str
    verdict: str
    style: str
    mark: Mark | None


def delta_on(difference: Difference, axis: Axis) -> Delta:
    """Return a difference as text and marks."""
    return Delta(
        value=signed(difference.value),
        interval=between(difference),
        verdict=difference.verdict,
        style=verdict_class(difference.verdict),
        mark=mark_on(difference, axis),
    )


def mark_on(interval: Interval, axis: Axis) -> Mark | None:
    """Return the places of a value and its interval; None where it is undefined."""
    if math.isnan(interval.value):
        return None
    dot = axis.percent(interval.value)
    if math.isnan(interval.low):
        return Mark(left=dot, width=0.0, dot=dot)
    left = axis.percent(interval.low)
    return Mark(left=left, width=round(axis.percent(interval.high) - left, 2), dot=dot)


def step_on(before: float, after: float, axis: Axis) -> Step | None:
    """Return the bar from one value to the next; None where one is undefined."""
    if math.isnan(before) or math.isnan(after):
        return None
    one, two = axis.percent(before), axis.percent(after)
    style = "up" if after >= before else "down"
    return Step(left=min(one, two), width=round(abs(two - one), 2), style=style)


def ticks_of(axis: Axis) -> tuple[Tick, ...]:
    """Return the ticks of an axis."""
    return tuple(Tick(at=axis.percent(tick), text=f"{tick:g}") for tick in axis.ticks)
