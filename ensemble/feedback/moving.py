"""Which threshold of a tag is surely better than the one in use, by what people answered.

A tag given to one picture more gains ``right - price``; the price is what the objective pays for a
wrong tag, half of F1 for F1. Thresholds on a grid around the one in use differ from it by the
pictures between the two. Of these is known how many there are, and from answers how many are
right (wrong, for a higher threshold) *at least*: counted where somebody answered, and bounded by a
confidence sequence from draws with known probabilities. A threshold is better surely if even the
least is enough; then the one in use is surely worse, and is left.

Answers that nobody drew by chance (in the view of a picture, imports) are no sample: who adds the
tags that are missing says nothing of those that are not. They count as the facts that they are, for
raising a threshold, and never for lowering it.

What is better on the pictures under review by a hair is chance on others. A count is therefore
enough only where chance does not explain it: pictures that are right as often as the price asks
for would be so many with a chance below half of ``alpha``. The other half is the sequence's, which
needs no such margin: what a draw will show is as unknown as a new picture, so it bounds how many of
such pictures are right in the long run.

References
----------
Lipton, Elkan & Naryanaswamy (2014), "Optimal thresholding of classifiers to maximize F1 measure".
Jiang et al. (2020), "Learning the truth from only one side of the story".
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import binom

from tagstack.ensemble.feedback.sequences import at_least

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_F = re.compile(r"F(\d+(?:\.\d+)?)")
_PRICE = 0.5  # where the objective names none: right and wrong weigh alike
_LEAST, _MOST = 0.01, 0.99


@dataclass(frozen=True, kw_only=True)
class TagPairs:
    """The pairs of one tag that could be asked about, without the frozen slice.

    Parameters
    ----------
    proba : array of shape (n_pairs,), float64
    tagged : array of shape (n_pairs,), bool
        With the threshold in use, after the rules.
    answer : array of shape (n_pairs,), int8
        1 for yes, 0 for no, -1 where nobody said.
    chosen : array of shape (n_pairs,), bool
        Whether a queue chose it with a known probability.
    drawn : array of shape (n_draws,), int64
        Pair of each draw.
    at : array of shape (n_draws,), int64
        How many draws before each could have taken a pair of this tag.
    weight : array of shape (n_draws,), float64
        One over the probability of each draw.
    """

    proba: Floats
    tagged: Bools
    answer: NDArray[np.int8]
    chosen: Bools
    drawn: Ints
    at: Ints
    weight: Floats


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What another threshold would gain at least.

    Parameters
    ----------
    threshold : float
    n_pairs : int
        Pictures that it would give the tag to, or take it from.
    n_counted : int
        Those of them that people found right (wrong, for a higher one).
    least : float
        How many of them are at least.
    needed : int
        More than so many have to be counted, or bounded by draws to be more than the price asks
        for, for the threshold to be better on pictures like these as well.
    sure : bool
        Whether one of the two holds.
    low : float
        Gain at least on the pictures under review, in right tags.
    """

    threshold: float
    n_pairs: int
    n_counted: int
    least: float
    needed: int
    sure: bool
    low: float


def price_of(objective: str, estimate: float) -> float:
    """Return what a wrong tag costs where a right one gains ``1 - price``.

    The best threshold for F-beta tags whatever is more probable than the best F-beta over
    ``1 + beta ** 2``.
    """
    found = _F.fullmatch(objective.strip())
    if found is None or not np.isfinite(estimate):
        return _PRICE
    return float(np.clip(estimate / (1 + float(found[1]) ** 2), 0.05, 0.95))


def grid_around(threshold: float, shifts: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Return lower and higher thresholds by shifts of the log-odds, shape (n_within_range,)."""
    steps = np.array(shifts, np.float64)
    lower, higher = expit(logit(threshold) - steps), expit(logit(threshold) + steps)
    return lower[lower >= _LEAST], higher[higher <= _MOST]


def gains(
    pairs: TagPairs, threshold: float, price: float, shifts: tuple[float, ...], alpha: float
) -> list[Gain]:
    """Return what every threshold of the grid gains at least.

    Parameters
    ----------
    pairs : TagPairs
    threshold : float, in (0, 1)
        In use.
    price : float, in (0, 1)
    shifts : tuple of float
        Of the log-odds, to both sides.
    alpha : float
        Chance that any of these bounds is ever wrong.
    """
    lower, higher = grid_around(threshold, shifts)
    own = alpha / max(len(lower) + len(higher), 1)
    found = []
    for value in lower:
        band = ~pairs.tagged & (pairs.proba >= value) & (pairs.proba < threshold)
        known = band & (pairs.answer == 1) & pairs.chosen
        found.append(_gain(pairs, float(value), band, known, price, own))
    for value in higher:
        band = pairs.tagged & (pairs.proba >= threshold) & (pairs.proba < value)
        known = band & (pairs.answer == 0)
        found.append(_gain(pairs, float(value), band, known, 1 - price, own))
    return found


def _gain(
    pairs: TagPairs, value: float, band: Bools, known: Bools, price: float, alpha: float
) -> Gain:
    """Return a gain from pairs that count for it, each against what all of them cost."""
    hits = known[pairs.drawn] & pairs.chosen[pairs.drawn]
    n_pairs = int(band.sum())
    bound = at_least(pairs.weight[hits], pairs.at[hits], alpha / 2)
    n_counted = int(known.sum())
    least = min(max(bound, float(n_counted)), float(n_pairs))
    needed = int(binom.isf(alpha / 2, n_pairs, price)) if n_pairs else 0
    return Gain(
        threshold=value,
        n_pairs=n_pairs,
        n_counted=n_counted,
        least=least,
        needed=needed,
        sure=n_counted > needed or bound > price * n_pairs,
        low=least - price * n_pairs,
    )


def best_of(found: list[Gain], least_answers: int) -> Gain | None:
    """Return the surely better threshold that gains most at least; None if there is none."""
    better = [gain for gain in found if gain.sure and gain.n_counted >= least_answers]
    return max(better, key=lambda gain: (gain.low, -gain.n_pairs), default=None)
