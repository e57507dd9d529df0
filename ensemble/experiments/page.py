"""The page of an experiment: one file without scripts, in the look of the comparison's."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from tagstack.ensemble.experiments.contrast import A, B
from tagstack.ensemble.experiments.experiment import Experiment
from tagstack.ensemble.experiments.running import ExperimentStanding, Point, sentence
from tagstack.ensemble.report.rendering import rendered

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 900, 360, 84, 866, 12, 318
_ROWS, _NEAR = 3, 80  # scale lines to a side at most, and how near two numbers of units may stand


def render_page(
    experiment: Experiment, standing: ExperimentStanding, stopped_s: float | None
) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    experiment : Experiment
    standing : ExperimentStanding
    stopped_s : float or None
        When it was stopped.
    """
    when = "" if stopped_s is None else time.strftime("%Y-%m-%d", time.gmtime(stopped_s))
    return rendered(
        "experiment.html",
        "tagstack.ensemble.experiments",
        experiment=experiment,
        sentence=sentence(experiment, standing),
        progress=progress_of(experiment, standing),
        plan=plan_text(experiment.plan),
        stopped=when,
        rows=_rows(experiment, standing),
        chart=_chart(standing, experiment.effect) if standing.curve else None,
    )


def progress_of(experiment: Experiment, standing: ExperimentStanding) -> str:
    """Return in words how far it is."""
    unit = "pairs of outcomes" if experiment.paired else "units"
    estimate = "" if math.isnan(standing.estimate) else f", B minus A {standing.estimate:+.3f}"
    return f"{standing.n} {unit} so far{estimate}; expected: {plan_text(experiment.plan)}."


def plan_text(plan: Mapping[str, Any]) -> str:
    """Return the expected duration in words."""
    looked = plan.get("looked", 0)

    def number(name: str) -> str:
        value = plan.get(name)
        return f"more than {looked}" if value is None else f"{value}"

    return f"{number('typical')} units in half of the cases, {number('long')} in nine of ten"


def _rows(experiment: Experiment, standing: ExperimentStanding) -> list[Mapping[str, object]]:
    return [
        {
            "arm": arm,
            "title": experiment.arms[arm].title or "not described",
            "n": standing.counts[i],
            "mean": "" if math.isnan(standing.means[i]) else f"{standing.means[i]:.3f}",
        }
        for i, arm in enumerate((A, B))
    ]


def _chart(standing: ExperimentStanding, effect: float) -> Mapping[str, Any]:
    """Return coordinates of the curve: units on a logarithmic scale, differences on a plain one."""
    last = standing.curve[-1]
    # What the first units leave open fills the page with nothing: the later half sets the scale.
    later = [p for p in standing.curve if p.n * p.n >= last.n] or [last]
    most = max(effect, *(max(abs(p.low), abs(p.high)) for p in later)) * 1.05

    def x(n: float) -> float:
        share = math.log(n) / math.log(last.n) if last.n > 1 else 0.5
        return round(_LEFT + share * (_RIGHT - _LEFT), 1)

    def y(value: float) -> float:
        held = max(-most, min(most, value))
        return round(_TOP + (most - held) / (2 * most) * (_BOTTOM - _TOP), 1)

    def line(read: Callable[[Point], float]) -> str:
        return " ".join(f"{x(p.n)},{y(read(p))}" for p in standing.curve)

    low, high = line(lambda p: p.low), line(lambda p: p.high)
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "right": _RIGHT,
        "strip": {"top": y(effect), "height": round(y(-effect) - y(effect), 1)},
        "rows": [
            {"at": y(value), "text": f"{value:+g}" if value else "0", "zero": value == 0}
            for value in _differences(most)
        ],
        "columns": _columns(last.n, x),
        "low": low,
        "high": high,
        "mean": line(lambda p: p.mean),
        "area": " ".join((high, *reversed(low.split()))),
        "label": f"After {last.n} units: B minus A from {last.low:+.3f} to {last.high:+.3f}",
    }


def _differences(most: float) -> list[float]:
    """Return round differences from -most to most, with zero."""
    power = 10.0 ** math.floor(math.log10(most / _ROWS))
    step = next(power * of for of in (1, 2, 5, 10) if power * of * (_ROWS + 1) > most)
    n = int(most / step)
    return [round(step * i, 12) for i in range(-n, n + 1)]


def _columns(last: int, x: Callable[[float], float]) -> list[Mapping[str, object]]:
    numbers = [10**power for power in range(len(str(last))) if 10**power <= last]
    if x(last) - x(numbers[-1]) < _NEAR:
        numbers = numbers[:-1]
    return [{"at": x(n), "text": f"{n}"} for n in (*numbers, last)]
