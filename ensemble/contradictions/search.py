"""The exact search for the best legal tags of one component: branch and bound on bit masks.

A component is a handful of tags of one image that rules tie together. Sets of its tags are the
bits of one int. Weights are multiples of 2**-30, so that sums are exact in float64 and the same
in every order.
"""

import math
from dataclasses import dataclass

UNMET = 2.0**16
"""Cost of an at-least-one rule that nothing meets: more than all weights of a component together,
so that it is broken only where the other rules leave no choice."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most one of ``members`` (a mask), under guards; ``least`` asks for one as well."""

    members: int
    when: int = 0
    unless: int = 0
    penalty: float = math.inf
    least: bool = False

    def cost(self, kept: int, open_: int) -> float:
        """Return what a solution costs at least, whatever becomes of the tags still open."""
        if self.when & ~kept or self.unless & (kept | open_):
            return 0.0
        held = self.members & kept
        if held & (held - 1):
            return self.penalty * (held.bit_count() - 1)
        if self.least and not held and not self.members & open_:
            return min(self.penalty, UNMET)
        return 0.0


@dataclass(frozen=True, kw_only=True)
class Component:
    """Tags of one image that must be decided together.

    Parameters
    ----------
    weight : tuple of float
        Gain of keeping each tag, in log-odds; multiples of 2**-30.
    choices : int
        Mask of the tags that may be kept for their own sake; any other is kept if and only if
        a kept tag implies it, and has a weight of at most 0.
    above : tuple of int
        For each tag the mask of itself and everything that it implies.
    limits : tuple of Limit
    """

    weight: tuple[float, ...]
    choices: int
    above: tuple[int, ...]
    limits: tuple[Limit, ...]

    def __len__(self) -> int:
        return len(self.weight)

    def below(self) -> list[int]:
        """Return for each tag the mask of itself and everything that implies it."""
        masks = [0] * len(self)
        for tag, above in enumerate(self.above):
            for parent in bits(above):
                masks[parent] |= 1 << tag
        return masks

    def order(self) -> list[int]:
        """Return the choices, guards first, then by falling weight; ties by position."""
        guards = 0
        for limit in self.limits:
            guards |= limit.when | limit.unless
        chosen = bits(self.choices)
        return sorted(chosen, key=lambda tag: (not guards >> tag & 1, -self.weight[tag]))

    def value(self, kept: int) -> float:
        """Return the objective of keeping exactly ``kept``, closed under implications."""
        gain = sum(self.weight[tag] for tag in bits(kept))
        return gain - sum(limit.cost(kept, 0) for limit in self.limits)


@dataclass(frozen=True, slots=True)
class Solution:
    """The tags kept, as a mask, their objective, and whether no better one exists."""

    kept: int
    value: float
    exact: bool


def bits(mask: int) -> list[int]:
    """Return the positions of the set bits, ascending."""
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


def greedy(component: Component) -> Solution:
    """Return the tags taken heaviest first, each with what it implies if that gains anything."""
    kept, value = 0, component.value(0)
    for tag in component.order():
        trial = kept | component.above[tag]
        gained = component.value(trial)
        if gained > value:
            kept, value = trial, gained
    return Solution(kept, value, exact=False)


def branch_and_bound(
    component: Component, budget: int, *, forced_in: int = 0, forced_out: int = 0
) -> Solution:
    """Return the best legal tags of a component.

    Parameters
    ----------
    component : Component
    budget : int
        Search nodes after which the best found so far is returned with ``exact=False``.
    forced_in, forced_out : int
        Masks of tags that must (closed upwards) or must not (closed downwards) be kept.

    Returns
    -------
    Solution
        ``value`` is minus infinity if nothing legal obeys what is forced.
    """
    if component.choices.bit_count() == 1 and not forced_in and not forced_out:
        return _single(component)
    search = _Search(component, budget)
    gain = sum(component.weight[tag] for tag in bits(forced_in))
    search.descend(forced_in, forced_out, gain)
    exact = search.left > 0
    if exact or forced_in or forced_out:
        return Solution(search.best_kept, search.best, exact)
    fallback = greedy(component)
    if fallback.value > search.best:
        return fallback
    return Solution(search.best_kept, search.best, exact)


def _single(component: Component) -> Solution:
    kept = component.above[component.choices.bit_length() - 1]
    value, without = component.value(kept), component.value(0)
    return Solution(kept, value, True) if value >= without else Solution(0, without, True)


class _Search:
    """One depth-first run; ``best`` is the incumbent's objective.

    The bound on what is still open counts, of each plain hard group, only the heaviest member
    with its tags below: no two members can be kept together.
    """

    def __init__(self, component: Component, budget: int) -> None:
        self.component = component
        self.weight, self.above = component.weight, component.above
        self.limits = [
            (limit.members, limit.when, limit.unless, limit.penalty, limit.least)
            for limit in component.limits
        ]
        self.below = component.below()
        seats = _seats(component, self.below)
        self.order = [
            (tag, 1 << tag, component.weight[tag], seats.get(tag)) for tag in component.order()
        ]
        self.full = (1 << len(component)) - 1
        self.left = budget
        self.best = -math.inf
        self.best_kept = 0
        self.under: dict[int, int] = {}

    def descend(self, kept: int, dropped: int, gain: float) -> None:
        """Search everything that extends what is kept and dropped so far."""
        self.left -= 1
        if self.left <= 0 and self.best > -math.inf:
            return
        open_ = self.full & ~kept & ~dropped
        cost, excluded = self._settled(kept, open_)
        open_ &= ~excluded
        branch, hope = self._hope(open_)
        if gain - cost + hope <= self.best:
            return
        if branch < 0:
            self._record(kept, gain)
            return
        dropped |= excluded & ~kept
        added = self.above[branch] & ~kept
        more = gain + sum([self.weight[tag] for tag in bits(added)])
        self.descend(kept | added, dropped, more)
        self.descend(kept, dropped | self.below[branch], gain)

    def _settled(self, kept: int, open_: int) -> tuple[float, int]:
        """Return the cost that is already certain and the tags that it rules out."""
        cost, excluded, out = 0.0, 0, ~kept
        may = kept | open_
        for members, when, unless, penalty, least in self.limits:
            if when & out or unless & may:
                continue
            held = members & kept
            if held:
                if held & (held - 1):
                    cost += penalty * (held.bit_count() - 1)
                rivals = members & open_
                if rivals and penalty == math.inf:
                    excluded |= self.under.get(rivals) or self._under(rivals)
            elif least and not members & open_:
                cost += min(penalty, UNMET)
        return cost, excluded

    def _hope(self, open_: int) -> tuple[int, float]:
        """Return the next choice to branch on, -1 if none, and what the open ones could gain."""
        branch, hope = -1, 0.0
        seats: dict[int, float] = {}
        top: dict[int, float] = {}
        for tag, bit, weight, seat in self.order:
            if not bit & open_:
                continue
            if branch < 0:
                branch = tag
            if weight <= 0:
                continue
            if seat is None:
                hope += weight
                continue
            group, member = seat
            total = seats.get(member, 0.0) + weight
            seats[member] = total
            if total > top.get(group, 0.0):
                top[group] = total
        return branch, hope + sum(top.values())

    def _record(self, kept: int, gain: float) -> None:
        value = gain - sum(limit.cost(kept, 0) for limit in self.component.limits)
        if value > self.best:
            self.best, self.best_kept = value, kept

    def _under(self, mask: int) -> int:
        found = 0
        for tag in bits(mask):
            found |= self.below[tag]
        self.under[mask] = found
        return found


def _seats(component: Component, below: list[int]) -> dict[int, tuple[int, int]]:
    """Return, for each tag in or under a plain hard group, the group and the member above it.

    A member's number is unique over all groups.
    """
    found: dict[int, tuple[int, int]] = {}
    for group, limit in enumerate(component.limits):
        if math.isinf(limit.penalty) and not limit.when and not limit.unless:
            for member in bits(limit.members):
                for tag in bits(below[member]):
                    found.setdefault(tag, (group, group * len(component) + member))
    return found
