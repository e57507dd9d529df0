"""In which order taggers are asked: so that good answers are there early, for what they cost."""

from collections.abc import Callable, Sequence
from itertools import combinations

_EXHAUSTIVE = 6  # members up to which every order is looked at: 63 sets of them


def best_order(
    seconds: Sequence[float], score: Callable[[tuple[int, ...]], float]
) -> tuple[int, ...]:
    """Return the order of members that has the best answers earliest.

    While the next member is at work, the answer of those before it is the one that stands: an
    order is worth the score of each beginning of it times the seconds for which it stands. With
    few members every order counts; with many, each next one is the best at that point.

    Parameters
    ----------
    seconds : sequence of n_members float, above 0
    score : callable
        Of the members at ascending positions; larger is better, at least 0.
    """
    n = len(seconds)
    if n > _EXHAUSTIVE:
        return _greedy(seconds, score)
    best: dict[frozenset[int], tuple[float, tuple[int, ...]]] = {frozenset(): (0.0, ())}
    known: dict[frozenset[int], float] = {frozenset(): 0.0}
    for size in range(1, n + 1):
        for chosen in combinations(range(n), size):
            whole = frozenset(chosen)
            if size < n:
                known[whole] = score(chosen)
            ways = []
            for last in chosen:
                rest = whole - {last}
                worth, order = best[rest]
                ways.append((worth + known[rest] * seconds[last], -last, (*order, last)))
            worth, _, order = max(ways)
            best[whole] = (worth, order)
    return best[frozenset(range(n))][1]


def _greedy(seconds: Sequence[float], score: Callable[[tuple[int, ...]], float]) -> tuple[int, ...]:
    order: list[int] = []
    left, reached = set(range(len(seconds))), 0.0
    while left:
        found = {m: score(tuple(sorted((*order, m)))) for m in sorted(left)}
        chosen = max(found, key=lambda m: ((found[m] - reached) / seconds[m], -m))
        order.append(chosen)
        left.remove(chosen)
        reached = found[chosen]
    return tuple(order)
