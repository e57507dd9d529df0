"""Where to cut: proposals of thresholds, the best of each tag and of a group, and their limits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from tagstack.configs.decisions import ThresholdSettings
from tagstack.ensemble.thresholds.curves import (
    GRID,
    Bools,
    Curves,
    Floats,
    Ints,
    average_goal,
    goal_of,
)
from tagstack.meta.metrics.counts import Counts


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Candidates of one strategy; cross-validation picks one.

    Parameters
    ----------
    logits : array of shape (n_candidates, n_tags), float64
        Thresholds on the logit scale, where a step means the same at every rarity.
    own : array of shape (n_tags,), bool
        Whether a threshold rests on the tag's own images, not on its category's.
    """

    logits: Floats
    own: Bools

    @classmethod
    def of(cls, logits: Floats, *, own: Bools) -> Self:
        """Return one candidate as a proposal."""
        return cls(logits=logits[None, :], own=own)


def thresholds_from_logits(logits: Floats, floor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return thresholds in (0, 1), each above its tag's floor. Of the shape of ``logits``."""
    above = np.nextafter(floor, np.float32(2))
    return np.asarray(np.maximum(expit(logits).astype(np.float32), above))


_MOST_TAGS = 2000  # of a group that an average over its tags looks at
INSIDE = 1e-9  # logits stay finite; float32 probabilities stop short of 1 by 6e-8

Choice = Callable[[Counts], int | None]
"""Picks a cell of ``GRID`` from a group's counts, shape (n_tags, n_grid); None if none will do."""


Goal = Callable[[Counts, ThresholdSettings], Floats]
"""What each entry of counts is worth; above 0, more than no tag."""

Average = Callable[[Counts, ThresholdSettings], Floats]
"""What one cut for the tags on the first axis is worth; above 0, more than no tag."""


@dataclass(frozen=True, kw_only=True)
class CutSample:
    """The images that thresholds are fitted on.

    Parameters
    ----------
    curves : Curves
        Of all the images.
    parts, held : tuple of Curves
        Of the images less one fold each, and of that fold.
    n_images : int
    category : array of shape (n_tags,), int
    contested : bool
        Whether the pairs are ordered by what the decoder leaves, not by their probability.
    """

    curves: Curves
    parts: tuple[Curves, ...]
    held: tuple[Curves, ...]
    n_images: int
    category: NDArray[np.intp]
    contested: bool = False


def best_cuts(curves: Curves, settings: ThresholdSettings, goal: Goal = goal_of) -> Floats:
    """Return the logit of each tag's best cut, strictest on ties; NaN where none is any good.

    Shape (n_tags,).
    """
    counts = curves.cut_counts()
    usable = curves.is_cut & (counts.hits > 0)
    return cut_at(curves, np.where(usable, goal(counts, settings), -1.0))


def cut_at(curves: Curves, score: Floats) -> Floats:
    """Return, per tag, the logit midway below the first pair of the highest score above 0.

    Shape (n_tags,).
    """
    score = np.nan_to_num(score, nan=-1.0)
    place = first_best(score, curves)
    best = np.full(curves.n_tags, np.nan)
    middle = (logits_of(curves.proba[place]) + logits_of(curves.lower[place])) / 2
    best[curves.tag[place]] = np.where(score[place] > 0, middle, np.nan)
    return best


def first_best(score: Floats, curves: Curves) -> NDArray[np.intp]:
    """Return the first position of the highest score of each tag that has pairs.

    Shape (n_tags_with_pairs,).
    """
    if not len(score):
        return np.zeros(0, np.intp)
    begin = curves.starts[:-1][np.diff(curves.starts) > 0]
    highest = np.maximum.reduceat(score, begin)
    sizes = np.diff(np.append(begin, len(score)))
    places = np.flatnonzero(score == np.repeat(highest, sizes))
    _, first = np.unique(curves.tag[places], return_index=True)
    return places[first]


def edge(curves: Curves, allowed: Bools, which: Literal["strictest", "laxest"]) -> Floats:
    """Return the logit of each tag's strictest or laxest allowed cut; NaN where there is none.

    Shape (n_tags,).
    """
    places = np.flatnonzero(allowed & curves.is_cut)
    if which == "laxest":
        places = places[::-1]
    tags, first = np.unique(curves.tag[places], return_index=True)
    found = np.full(curves.n_tags, np.nan)
    found[tags] = logits_of(curves.proba[places[first]])
    return found


def above_all(curves: Curves) -> Floats:
    """Return the logit of each tag's highest score; of its floor where it has no pair.

    Shape (n_tags,).
    """
    top = curves.floor.copy()
    tags, first = np.unique(curves.tag, return_index=True)
    top[tags] = curves.proba[first]
    return logits_of(top)


def pooled(
    curves: Curves,
    group: NDArray[np.intp],
    choose: Choice,
    fallback: float,
    *,
    averages: bool = False,
) -> Floats:
    """Return the logit chosen for each group of tags; all tags' where a group has none.

    Parameters
    ----------
    curves : Curves
    group : array of shape (n_tags,), int
    choose : callable
    fallback : float
        Logit where not even all tags together lead to a choice.
    averages : bool
        Whether ``choose`` averages over tags that have a positive, and wants a row of each; by
        default it adds up, and a row for all tags of a group will do.
    """
    names, group = np.unique(group, return_inverse=True)
    if averages:
        counts, group_of_row = _counts_apart(curves, group)
    else:
        counts, group_of_row = curves.grid_counts(group.astype(np.int64)), np.arange(len(names))
    overall = choose(counts)
    logits = np.full(curves.n_tags, fallback if overall is None else logit(GRID[overall]))
    for name in range(len(names)):
        best = choose(counts.take(group_of_row == name))
        if best is not None:
            logits[group == name] = logit(GRID[best])
    return logits


def _counts_apart(curves: Curves, group: NDArray[np.intp]) -> tuple[Counts, NDArray[np.intp]]:
    """Return the counts of tags that have a positive, each in a row, and the group of each row.

    Of very many tags of a group, evenly spaced ones: one number for all needs no more of them.
    """
    true = np.flatnonzero(curves.n_positives > 0)
    drawn = [_spaced(true[group[true] == name]) for name in np.unique(group[true])]
    tags = np.sort(np.concatenate([true[:0], *drawn]))
    # All others share the first row, which nobody asks for.
    row = np.zeros(curves.n_tags, np.int64)
    row[tags] = 1 + np.arange(len(tags))
    return curves.grid_counts(row).take(1 + np.arange(len(tags))), group[tags]


def _spaced(tags: Ints) -> Ints:
    every = -(-len(tags) // _MOST_TAGS)
    return tags[:: max(1, every)]


def best_shared(
    curves: Curves,
    group: NDArray[np.intp],
    settings: ThresholdSettings,
    average: Average | None = None,
) -> Floats:
    """Return the logit that is best for the goal of each group of tags; strictest on ties.

    Shape (n_tags,).
    """
    goal = average or average_goal

    def choose(counts: Counts) -> int | None:
        score = goal(counts, settings)
        if not score.max(initial=0.0) > 0:
            return None
        return len(score) - 1 - int(np.argmax(score[::-1]))

    # A strategy's own average looks at tags one by one, whatever the settings raise.
    own = average is not None
    by_tag = own or (settings.objective != "utility" and settings.average == "macro")
    return pooled(curves, group, choose, float(logit(settings.value)), averages=by_tag)


def capped(logits: Floats, curves: Curves, settings: ThresholdSettings) -> Floats:
    """Return thresholds raised until no tag is predicted far more often than it is true.

    Shape (n_tags,).

    F1 of a tag that the scores hardly know is best at "always", which no reader wants.
    """
    room = np.floor(settings.max_rate * curves.n_positives).astype(np.int64) + 1 - curves.sure
    place = curves.starts[:-1] + np.maximum(room, 0)
    over = place < curves.starts[1:]
    least = np.full(curves.n_tags, -np.inf)
    # Just above the first pair that is one too many.
    least[over] = logits_of(np.nextafter(curves.proba[place[over]], np.float32(2)))
    return np.asarray(np.maximum(logits, least))


def logits_of(proba: NDArray[np.float32] | Floats) -> Floats:
    """Return finite logits. Of the shape of ``proba``."""
    return np.asarray(logit(np.clip(proba.astype(np.float64), INSIDE, 1 - INSIDE)))
