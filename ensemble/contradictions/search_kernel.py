"""The branch and bound of `search` over many components, compiled by numba.

It visits the same nodes in the same order under the same bounds, so even a search that its budget
ends finds the same tags.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from tagstack.base_models.compilation import compiled, compiled_part
from tagstack.ensemble.contradictions.evidence import Bools, Floats, Ints
from tagstack.ensemble.contradictions.search import UNMET

_BITS = 64
_INFINITY = math.inf
_UNMET = UNMET  # a kernel sees the globals of its own module alone
# What is called with a plain 0, numba compiles once more for just that.
_NONE: Any = np.int64(0)


class Batch(NamedTuple):
    """Components to search, back to back; masks are of the tags of a component."""

    start: Ints  # of each component, its first tag; one more entry at the end
    limit_start: Ints
    choices: Ints
    weight: Floats  # of each tag
    above: Ints
    members: Ints  # of each limit
    when: Ints
    unless: Ints
    penalty: Floats
    least: Bools


class _Part(NamedTuple):
    """One component under search, with scratch."""

    n_tags: int
    weight: Floats
    above: Ints
    below: Ints
    choices: int
    n_limits: int
    members: Ints
    when: Ints
    unless: Ints
    penalty: Floats
    least: Bools
    order: Ints  # the choices as they are branched on
    seat: Ints  # of each tag, the member of a plain hard group that it lies in or under; -1: none
    group: Ints  # of each seat, its group
    total: Floats  # of each seat
    top: Floats  # of each group
    stack_kept: Ints
    stack_dropped: Ints
    stack_gain: Floats


@compiled_part
def _cost(part: _Part, kept: int) -> float:
    """Return what the limits cost a finished solution."""
    cost = 0.0
    for i in range(part.n_limits):
        if part.when[i] & ~kept or part.unless[i] & kept:
            continue
        held, n_held = part.members[i] & kept, 0
        while held:
            held &= held - 1
            n_held += 1
        if n_held > 1:
            cost += part.penalty[i] * (n_held - 1)
        elif part.least[i] and n_held == 0:
            cost += min(part.penalty[i], _UNMET)
    return cost


@compiled_part
def _value(part: _Part, kept: int) -> float:
    """Return the objective of keeping exactly ``kept``."""
    gain = 0.0
    for tag in range(part.n_tags):
        if kept >> tag & 1:
            gain += part.weight[tag]
    return gain - _cost(part, kept)


@compiled_part
def _lay_out(part: _Part) -> int:
    """Fill in what lies below each tag and the order of the choices; return their number."""
    n_tags, n_choices, guards = part.n_tags, 0, _NONE
    for tag in range(n_tags):
        part.below[tag] = 0
    for tag in range(n_tags):
        for parent in range(n_tags):
            if part.above[tag] >> parent & 1:
                part.below[parent] |= 1 << tag
    for i in range(part.n_limits):
        guards |= part.when[i] | part.unless[i]
    for tag in range(n_tags):
        if part.choices >> tag & 1:
            place = n_choices
            while place and _goes_before(part, guards, tag, part.order[place - 1]):
                part.order[place] = part.order[place - 1]
                place -= 1
            part.order[place] = tag
            n_choices += 1
    return n_choices


@compiled_part
def _goes_before(part: _Part, guards: int, tag: int, other: int) -> bool:
    """Return whether a tag is branched on before another of a lower position."""
    one, two = guards >> tag & 1, guards >> other & 1
    return one > two or (one == two and part.weight[tag] > part.weight[other])


@compiled_part
def _seat(part: _Part) -> int:
    """Seat the tags in and under the members of plain hard groups; return the number of seats."""
    n_seats = 0
    for tag in range(part.n_tags):
        part.seat[tag] = -1
    for i in range(part.n_limits):
        if part.penalty[i] < _INFINITY or part.when[i] or part.unless[i]:
            continue
        for member in range(part.n_tags):
            if not part.members[i] >> member & 1:
                continue
            taken = False
            for tag in range(part.n_tags):
                if part.below[member] >> tag & 1 and part.seat[tag] < 0:
                    part.seat[tag] = n_seats
                    taken = True
            if taken:
                part.group[n_seats] = i
                n_seats += 1
    return n_seats


@compiled_part
def _ruled_out(part: _Part, kept: int, open_: int) -> tuple[float, int]:
    """Return the cost that is already certain and the tags that it rules out."""
    cost, excluded = 0.0, 0
    for i in range(part.n_limits):
        if part.when[i] & ~kept or part.unless[i] & (kept | open_):
            continue
        held = part.members[i] & kept
        rivals = part.members[i] & open_
        if held:
            n_held = 0
            while held:
                held &= held - 1
                n_held += 1
            if n_held > 1:
                cost += part.penalty[i] * (n_held - 1)
            if rivals and part.penalty[i] == _INFINITY:
                for tag in range(part.n_tags):
                    if rivals >> tag & 1:
                        excluded |= part.below[tag]
        elif part.least[i] and not rivals:
            cost += min(part.penalty[i], _UNMET)
    return cost, excluded


@compiled_part
def _hope(part: _Part, n_choices: int, n_seats: int, open_: int) -> tuple[int, float]:
    """Return the next choice to branch on, -1 if none, and what the open ones could gain."""
    branch, hope = -1, 0.0
    for seat in range(n_seats):
        part.total[seat] = part.top[part.group[seat]] = 0.0
    for place in range(n_choices):
        tag = part.order[place]
        if not open_ >> tag & 1:
            continue
        if branch < 0:
            branch = tag
        if part.weight[tag] > 0:
            seat = part.seat[tag]
            if seat < 0:
                hope += part.weight[tag]
            else:
                part.total[seat] += part.weight[tag]
                group, total = part.group[seat], part.total[seat]
                if total > part.top[group]:
                    hope += total - part.top[group]
                    part.top[group] = total
    return branch, hope


@compiled_part
def _branch_and_bound(part: _Part, n_choices: int, budget: int) -> tuple[int, float, bool]:
    """Return the best tags found, their objective, and whether the budget sufficed."""
    n_seats, full = _seat(part), (1 << part.n_tags) - 1
    best, best_kept, left, depth = -_INFINITY, 0, budget, 1
    part.stack_kept[0], part.stack_dropped[0], part.stack_gain[0] = 0, 0, 0.0
    while depth:
        depth -= 1
        kept, dropped = part.stack_kept[depth], part.stack_dropped[depth]
        gain = part.stack_gain[depth]
        left -= 1
        if left <= 0 and best > -_INFINITY:
            continue
        open_ = full & ~kept & ~dropped
        cost, excluded = _ruled_out(part, kept, open_)
        branch, hope = _hope(part, n_choices, n_seats, open_ & ~excluded)
        if gain - cost + hope <= best:
            continue
        if branch < 0:
            value = gain - _cost(part, kept)
            if value > best:
                best, best_kept = value, kept
            continue
        dropped |= excluded & ~kept
        # Last in, first out: the branch that keeps the tag is searched first.
        part.stack_kept[depth], part.stack_gain[depth] = kept, gain
        part.stack_dropped[depth] = dropped | part.below[branch]
        added = part.above[branch] & ~kept
        for tag in range(part.n_tags):
            if added >> tag & 1:
                gain += part.weight[tag]
        part.stack_kept[depth + 1], part.stack_gain[depth + 1] = kept | added, gain
        part.stack_dropped[depth + 1] = dropped
        depth += 2
    return best_kept, best, left > 0


@compiled_part
def _greedy(part: _Part, n_choices: int) -> tuple[int, float]:
    """Return the tags taken heaviest first, each with what it implies if that gains anything."""
    kept, value = 0, _value(part, _NONE)
    for place in range(n_choices):
        trial = kept | part.above[part.order[place]]
        gained = _value(part, trial)
        if gained > value:
            kept, value = trial, gained
    return kept, value


@compiled_part
def _heaviest(part: _Part) -> int:
    """Return the winner if the component is one plain group of free choices, as a mask; else 0."""
    if part.n_limits != 1 or part.penalty[0] < _INFINITY or part.when[0] or part.unless[0]:
        return 0
    if part.choices != (1 << part.n_tags) - 1:
        return 0
    heaviest = 0
    for tag in range(part.n_tags):
        if part.weight[tag] < 0 or part.above[tag] != 1 << tag:
            return 0
        if part.weight[tag] > part.weight[heaviest]:
            heaviest = tag
    return 1 << heaviest


@compiled_part
def _solve(part: _Part, budget: int) -> tuple[int, bool]:
    """Return the best legal tags of a component and whether no better ones exist."""
    if not part.choices:
        return 0, True
    winner = _heaviest(part)
    if winner:
        return winner, True
    n_choices = _lay_out(part)
    if n_choices == 1:
        kept = part.above[part.order[0]]
        return (kept, True) if _value(part, kept) >= _value(part, _NONE) else (0, True)
    kept, best, exact = _branch_and_bound(part, n_choices, budget)
    if not exact:
        fallback, value = _greedy(part, n_choices)
        if value > best:
            kept = fallback
    return kept, exact


@compiled
def search_components(batch: Batch, budget: int) -> tuple[Ints, Bools]:
    """Return the tags kept of each component, as masks, and whether no better ones exist.

    Two arrays of shape (n_components,).

    Parameters
    ----------
    batch : Batch
    budget : int
        Search nodes per component after which the best found so far, or what a greedy choice
        finds, is returned as not exact.
    """
    n_components = len(batch.choices)
    kept, exact = np.zeros(n_components, np.int64), np.ones(n_components, np.bool_)
    ints = np.empty((6, _BITS), np.int64)
    floats = np.empty((2, _BITS))
    top = np.empty(max(len(batch.penalty), 1))
    stack, stack_gain = np.empty((2, _BITS + 2), np.int64), np.empty(_BITS + 2)
    for i in range(n_components):
        tags = slice(batch.start[i], batch.start[i + 1])
        limits = slice(batch.limit_start[i], batch.limit_start[i + 1])
        part = _Part(
            batch.start[i + 1] - batch.start[i],
            batch.weight[tags],
            batch.above[tags],
            ints[0],
            batch.choices[i],
            batch.limit_start[i + 1] - batch.limit_start[i],
            batch.members[limits],
            batch.when[limits],
            batch.unless[limits],
            batch.penalty[limits],
            batch.least[limits],
            ints[1],
            ints[2],
            ints[3],
            floats[0],
            top,
            stack[0],
            stack[1],
            stack_gain,
        )
        kept[i], exact[i] = _solve(part, budget)
    return kept, exact
