"""From outcomes of two arms to numbers whose mean is the difference between the arms.

With both outcomes of a unit the number is their difference. With one, it stands for the arm that
the unit was given: the outcome less what outcomes were on average before, over the chance of that
arm, with the sign of the arm. Chance gave the arms, so the mean is the difference of their means
whatever the units are like, and what is subtracted, known beforehand, only takes noise away.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

A, B = "A", "B"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a unit in one arm.

    Parameters
    ----------
    unit : str
    arm : str
        "A" or "B".
    value : float, in [0, 1]
    """

    unit: str
    arm: str
    value: float


def bound_of(share: float, *, paired: bool) -> float:
    """Return what the numbers of `contrasts` never exceed, up or down."""
    return 1.0 if paired else 1.0 / min(share, 1 - share)


def contrasts(outcomes: Iterable[Outcome], share: float, *, paired: bool) -> Iterator[float]:
    """Yield the numbers, in the order in which they are complete.

    Parameters
    ----------
    outcomes : iterable of Outcome
        In the order in which they came; one for each unit and arm.
    share : float, in (0, 1)
        Chance of arm B.
    paired : bool
        Whether units have an outcome in each arm; one that has but one so far is left out.
    """
    if paired:
        yield from _differences(outcomes)
        return
    total, n = 0.5, 1
    for outcome in outcomes:
        own = outcome.value - total / n
        yield own / share if outcome.arm == B else -own / (1 - share)
        total, n = total + outcome.value, n + 1


def means_of(outcomes: Iterable[Outcome]) -> Mapping[str, tuple[int, float]]:
    """Return number and mean of each arm's outcomes; a mean of none is NaN."""
    values: dict[str, list[float]] = {A: [], B: []}
    for outcome in outcomes:
        values[outcome.arm].append(outcome.value)
    return {
        arm: (len(own), sum(own) / len(own) if own else float("nan")) for arm, own in values.items()
    }


def _differences(outcomes: Iterable[Outcome]) -> Iterator[float]:
    waiting: dict[str, Outcome] = {}
    for outcome in outcomes:
        other = waiting.pop(outcome.unit, None)
        if other is None or other.arm == outcome.arm:
            waiting[outcome.unit] = outcome
            continue
        sign = 1.0 if outcome.arm == B else -1.0
        yield sign * (outcome.value - other.value)
