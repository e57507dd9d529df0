"""Values, intervals and differences as text and as places on an axis, in percent."""

import math
from dataclasses import dataclass

from tagstack.ensemble.comparison.bootstrap import Difference, Interval
from tagstack.ensemble.report.figures import Axis
from tagstack.ensemble.report.words import between, signed, verdict_class


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
