"""Which pair is asked about next, and with what probability it was chosen.

Each order is a list of pairs, the most urgent first. A card is drawn from the head of the list,
earlier pairs more often; now and then one from below its threshold is drawn instead, alike among
all of those (a probe). The probability of either way together is the pair's propensity, by which
what people answered can be weighed (inverse propensity weights).

Pictures that judge are asked about in one order alone, in which every pair is as likely as any
other; else what judges would be chosen by what is judged.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from tagstack.ensemble.review.pairs import ReviewPairs

Order: TypeAlias = Literal["twins", "wrong", "missing", "useful", "random"]
ORDERS: tuple[Order, ...] = get_args(Order)
TITLES: Mapping[Order, str] = {
    "twins": "Near-duplicates that disagree",
    "wrong": "Most likely wrong",
    "missing": "Most likely missing",
    "useful": "Most useful for thresholds",
    "random": "Random slice",
}
_FALL = 0.9  # each place down the list is this much less likely

_BLOCK = 4096  # pairs of a list looked at together
_TRIES = 200

Rows = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A chosen pair.

    ``row`` of the table; ``propensity`` in (0, 1]; whether it is a ``probe``.
    """

    row: int
    propensity: float
    probe: bool


class Queue:
    """The pairs of a table in every order; not for several threads at once.

    Parameters
    ----------
    table : ReviewPairs
    judging : array of shape (n_images,), bool
        Pictures of the frozen slice.
    probes : float, in [0, 1)
        Share of cards that are probes.
    window : int
        Length of the head that cards are drawn from.
    floor : float
        Pairs below it are asked about as probes alone.
    groups : array of shape (n_images,), int64, optional
        Equal for near-duplicates; nobody is alike by default.
    """

    def __init__(
        self,
        table: ReviewPairs,
        judging: NDArray[np.bool_],
        *,
        probes: float,
        window: int,
        floor: float,
        groups: NDArray[np.int64] | None = None,
    ) -> None:
        self.table = table
        self.done = np.zeros(len(table.image), bool)
        self._busy = np.zeros(len(table.image), bool)
        self._probes, self._window, self._floor = probes, window, floor
        self._judging = judging[table.image] if len(table.image) else np.zeros(0, bool)
        self._probe = ~table.has & (table.proba < table.threshold) & ~self._judging
        self._n_probes = int(self._probe.sum())
        self._apart = disagreeing(table, groups)
        self._left: dict[Order, tuple[NDArray[np.bool_], int]] = {}
        self._lists: dict[tuple[str, int | None], Rows] = {}
        self._answered: dict[tuple[str, int | None], int] = {}  # how long a list's beginning is

    def settle(self, rows: Iterable[int], *, done: bool = True) -> None:
        """Note that pairs were answered, or are open again."""
        changed = np.array([row for row in set(rows) if self.done[row] != done], np.int64)
        self.done[changed] = done
        for order, (mask, n_left) in self._left.items():
            n_changed = int(mask[changed].sum())
            self._left[order] = mask, n_left - n_changed if done else n_left + n_changed
        self._n_probes += int(self._probe[changed].sum()) * (-1 if done else 1)
        if not done:
            self._answered.clear()

    def left(self, order: Order, tag: int | None = None) -> int:
        """Return how many pairs of an order are open."""
        rows = self._list(order, tag)
        if tag is not None:
            return int((~self.done[rows]).sum())
        if order not in self._left:  # counted once, then kept in step: millions take a while
            mask = np.zeros(len(self.done), bool)
            mask[rows] = True
            self._left[order] = mask, int((~self.done[rows]).sum())
        return self._left[order][1]

    def draw(
        self,
        order: Order,
        tag: int | None,
        rng: np.random.Generator,
        taken: frozenset[int] = frozenset(),
    ) -> Draw | None:
        """Return a pair to ask about; None when none is left.

        Parameters
        ----------
        order : Order
        tag : int, optional
            Ask about this tag alone.
        rng : Generator
        taken : frozenset of int
            Rows that somebody looks at now.
        """
        self._busy[list(taken)] = True
        try:
            if order == "random":
                return self._any(tag, rng)
            return self._urgent(order, tag, rng, taken)
        finally:
            self._busy[list(taken)] = False

    def _any(self, tag: int | None, rng: np.random.Generator) -> Draw | None:
        free = self._open(self._list("random", tag))
        if not len(free):
            return None
        return Draw(row=int(rng.choice(free)), propensity=1 / len(free), probe=False)

    def _urgent(
        self, order: Order, tag: int | None, rng: np.random.Generator, taken: frozenset[int]
    ) -> Draw | None:
        head = self._head(order, tag)
        if not len(head):
            return None
        n_pool = self._n_pool(tag, taken)
        share = self._probes if n_pool else 0.0
        weight = _FALL ** np.arange(len(head))
        weight /= weight.sum()
        probe = bool(rng.random() < share)
        row = self._pooled(tag, rng) if probe else int(rng.choice(head, p=weight))
        chance = (1 - share) * float(weight[head == row].sum())
        if self._probe[row] and n_pool:
            chance += share / n_pool
        return Draw(row=row, propensity=min(chance, 1.0), probe=probe)

    def _n_pool(self, tag: int | None, taken: frozenset[int]) -> int:
        """Return how many pairs a probe is drawn from."""
        if tag is not None:
            return len(self._open(self._list("probe", tag)))
        rows = np.array(list(taken), np.int64)
        return self._n_probes - int((self._probe[rows] & ~self.done[rows]).sum())

    def _pooled(self, tag: int | None, rng: np.random.Generator) -> int:
        """Return an open pair of the probes, each as likely as any other."""
        rows = self._list("probe", tag)
        for row in rng.choice(rows, _TRIES):
            if not (self.done[row] or self._busy[row]):
                return int(row)
        return int(rng.choice(self._open(rows)))  # nearly all are answered

    def _head(self, order: Order, tag: int | None) -> Rows:
        """Return the first open pairs of an order."""
        rows, start = self._list(order, tag), self._answered.get((order, tag), 0)
        found: list[Rows] = []
        n_found = 0
        for at in range(start, len(rows), _BLOCK):
            block = rows[at : at + _BLOCK]
            if not n_found and self.done[block].all():
                self._answered[order, tag] = at + len(block)
                continue
            found.append(self._open(block))
            n_found += len(found[-1])
            if n_found >= self._window:
                break
        return np.concatenate(found)[: self._window] if found else rows[:0]

    def _open(self, rows: Rows) -> Rows:
        return rows[~(self.done[rows] | self._busy[rows])]

    def _list(self, order: str, tag: int | None) -> Rows:
        if (order, tag) not in self._lists:
            if len(self._lists) > 64:  # lists of single tags are quickly made again
                self._lists = {key: rows for key, rows in self._lists.items() if key[1] is None}
                self._answered.clear()
            self._lists[order, tag] = self._listed(order, self._of(tag)).astype(np.int32)
        return self._lists[order, tag]

    def _of(self, tag: int | None) -> NDArray[np.int64]:
        if tag is None:
            return np.arange(len(self.done))
        return np.flatnonzero(self.table.tag == tag)

    def _listed(self, order: str, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        table = self.table
        if order == "probe":
            return np.asarray(rows[self._probe[rows]])
        judging = self._judging[rows]
        if order == "random":
            return np.asarray(rows[judging])
        rows = rows[~judging]
        if order == "twins":
            rows = rows[self._apart[rows]]
        proba, has = table.proba[rows], table.has[rows]
        shown = has | (proba >= self._floor)
        if order == "twins":
            urgency = np.where(has, 1 - proba, proba)
        elif order == "wrong":
            rows, urgency = rows[has], -proba[has]
        elif order == "missing":
            rows, urgency = rows[~has & shown], proba[~has & shown]
        else:
            margin = np.abs(table.margin[rows])
            close = shown & np.isfinite(margin)
            rows, urgency = rows[close], -margin[close]
        return np.asarray(rows[np.argsort(-urgency, kind="stable")])


def disagreeing(table: ReviewPairs, groups: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    """Return the pairs of whose near-duplicates some have the tag and some do not.

    Shape (n_pairs,).

    Parameters
    ----------
    table : ReviewPairs
        Of the first images; those that are still to come count for nothing.
    groups : array of shape (n_images,), int64, optional
    """
    if groups is None or not len(table.image):
        return np.zeros(len(table.image), bool)
    size = np.bincount(groups[: int(table.image[-1]) + 1])
    own = groups[table.image]
    n_tags = int(table.tag.max()) + 1
    _, pair = np.unique(own * n_tags + table.tag, return_inverse=True)
    having = np.bincount(pair, table.has)[pair]
    return np.asarray((having > 0) & (having < size[own]))
