"""Where an experiment stands: the running interval, and what may be said of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tagstack.ensemble.experiments.betting import BettingSequence
from tagstack.ensemble.experiments.contrast import A, B, Outcome, bound_of, contrasts, means_of
from tagstack.ensemble.experiments.experiment import Experiment

_POINTS = 160  # of the drawn curve


@dataclass(frozen=True, kw_only=True)
class Point:
    """The interval after so many units (pairs of outcomes, where paired)."""

    n: int
    low: float
    high: float
    mean: float


@dataclass(frozen=True, kw_only=True)
class ExperimentStanding:
    """Where an experiment stands.

    Parameters
    ----------
    n : int
        Units that count; in pairs, where paired.
    counts, means : tuple of two
        Outcomes of A and of B, and their means; NaN without any.
    low, high : float
        The interval of B minus A.
    estimate : float
        B minus A; NaN without a unit.
    curve : tuple of Point
    verdict : {"better", "worse", "alike", "open"}
        Of B: surely better or worse than A, surely less than the least effect apart, or open.
    """

    n: int
    counts: tuple[int, int]
    means: tuple[float, float]
    low: float
    high: float
    estimate: float
    curve: tuple[Point, ...]
    verdict: str


def standing_of(experiment: Experiment, outcomes: Sequence[Outcome]) -> ExperimentStanding:
    """Return where an experiment stands after its outcomes, in their order."""
    values = list(contrasts(outcomes, experiment.share, paired=experiment.paired))
    bound = bound_of(experiment.share, paired=experiment.paired)
    # Outcomes are in [0, 1]: the difference of their means is within 1, whatever single ones are.
    sequence = BettingSequence(experiment.alpha, -bound, bound, np.linspace(-1.0, 1.0, 2001))
    ends = np.unique(np.geomspace(1, max(len(values), 1), _POINTS).astype(int))
    curve, before = [], 0
    for end in ends[ends <= len(values)].tolist():
        sequence.add(values[before:end])
        before = end
        low, high = sequence.interval
        curve.append(Point(n=end, low=low, high=high, mean=float(np.mean(values[:end]))))
    low, high = sequence.interval
    found = means_of(outcomes)
    return ExperimentStanding(
        n=len(values),
        counts=(found[A][0], found[B][0]),
        means=(found[A][1], found[B][1]),
        low=max(low, -1.0),
        high=min(high, 1.0),
        estimate=curve[-1].mean if curve else float("nan"),
        curve=tuple(curve),
        verdict=_verdict(low, high, experiment.effect),
    )


def _verdict(low: float, high: float, effect: float) -> str:
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return "alike" if -effect < low and high < effect else "open"


def sentence(experiment: Experiment, standing: ExperimentStanding) -> str:
    """Return in words what is proven."""
    interval = f"{standing.low:+.3f} to {standing.high:+.3f}"
    sure = f"{1 - experiment.alpha:.0%}"
    words = {
        "better": f"B is better than A: {interval} with {sure}, whenever one looks.",
        "worse": f"B is worse than A: {interval} with {sure}, whenever one looks.",
        "alike": f"B and A differ by less than {experiment.effect:g}: {interval} with {sure}.",
        "open": f"Nothing is proven yet: B minus A lies in {interval} with {sure}.",
    }
    return words[standing.verdict]
