"""How long an experiment takes: by running it beforehand, with made-up outcomes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstack.ensemble.experiments.betting import BettingSequence
from tagstack.ensemble.experiments.contrast import bound_of

_RUNS = 40
_MOST = 20_000  # units of a run; what takes longer is said to


@dataclass(frozen=True, kw_only=True)
class Duration:
    """Units until the interval leaves zero, where the arms differ by the least effect of interest.

    Parameters
    ----------
    typical, long : int or None
        Half of such experiments, and nine of ten, are done by then; None for more than
        ``looked``.
    looked : int
        Units that were looked at.
    """

    typical: int | None
    long: int | None
    looked: int


def expected_duration(
    baseline: float, effect: float, *, alpha: float, share: float, paired: bool, seed: int
) -> Duration:
    """Return how many units it takes to prove an effect.

    Parameters
    ----------
    baseline : float, in (0, 1)
        Mean outcome of arm A.
    effect : float, in (0, 1)
        By which arm B is better.
    alpha : float
    share : float
        Chance of arm B.
    paired : bool
        Then the two outcomes of a unit are taken as half alike.
    seed : int
    """
    better = min(baseline + effect, 1.0)
    rng, means = np.random.default_rng(seed), (better - effect, better)
    ordered = np.sort(_ends(rng, means, alpha, share, paired))
    typical, long = int(ordered[_RUNS // 2]), int(ordered[int(0.9 * _RUNS)])
    return Duration(
        typical=typical if typical <= _MOST else None,
        long=long if long <= _MOST else None,
        looked=_MOST,
    )


def _ends(
    rng: np.random.Generator,
    means: tuple[float, float],
    alpha: float,
    share: float,
    paired: bool,
) -> NDArray[np.int64]:
    """Return after how many units each of some experiments is done, shape (n_runs,)."""
    bound = bound_of(share, paired=paired)
    sequence = BettingSequence(alpha, -bound, bound, np.zeros(_RUNS))
    ends = np.full(_RUNS, _MOST + 1)
    total = np.full(_RUNS, 0.5)
    for n in range(1, _MOST + 1):
        if paired:
            value = _difference(rng, means)
        else:
            in_b = rng.random(_RUNS) < share
            outcome = (rng.random(_RUNS) < np.where(in_b, means[1], means[0])).astype(np.float64)
            own = outcome - total / n
            value = np.where(in_b, own / share, -own / (1 - share))
            total += outcome
        sequence.add_one(value)
        ends = np.where(sequence.rejected() & (ends > _MOST), n, ends)
        if (ends <= _MOST).mean() > 0.9:
            break
    return ends


def _difference(rng: np.random.Generator, means: tuple[float, float]) -> NDArray[np.float64]:
    """Return the difference of two outcomes that are the same person's half of the time."""
    one, other = rng.random((2, _RUNS))
    other = np.where(rng.random(_RUNS) < 0.5, one, other)
    return np.asarray((other < means[1]).astype(np.float64) - (one < means[0]))
