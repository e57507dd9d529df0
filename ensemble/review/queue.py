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

from tagstack.ensemble.review.pairs import PairTable

Order: TypeAlias = Literal["wrong", "missing", "useful", "random"]
ORDERS: tuple[Order, ...] = get_args(Order)
TITLES: Mapping[Order, str] = {
    "wrong": "Most likely wrong",
    "missing": "Most likely missing",
    "useful": "Most useful for thresholds",
    "random": "Random slice",
}
_FALL = 0.9  # each place down the list is this much less likely

Rows = NDArray[np.int64]


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
    table : PairTable
    judging : array of shape (n_images,), bool
        Pictures of the frozen slice.
    probes : float, in [0, 1)
        Share of cards that are probes.
    window : int
        Length of the head that cards are drawn from.
    floor : float
        Pairs below it are asked about as probes alone.
    """

    def __init__(
        self,
        table: PairTable,
        judging: NDArray[np.bool_],
        *,
        probes: float,
        window: int,
        floor: float,
    ) -> None:
        self.table = table
        self.done = np.zeros(len(table.image), bool)
        self._probes, self._window, self._floor = probes, window, floor
        self._judging = judging[table.image] if len(table.image) else np.zeros(0, bool)
        self._by_tag = np.argsort(table.tag, kind="stable")
        self._starts = np.searchsorted(table.tag[self._by_tag], np.arange(len(table.wrong) + 1))
        self._lists: dict[tuple[str, int | None], Rows] = {}

    def settle(self, rows: Iterable[int], *, done: bool = True) -> None:
        """Note that pairs were answered, or are open again."""
        self.done[list(rows)] = done
        if not done:
            self._lists.clear()  # heads were cut

    def left(self, order: Order, tag: int | None = None) -> int:
        """Return how many pairs of an order are open."""
        return int((~self.done[self._list(order, tag)]).sum())

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
        head = self._head(order, tag, taken)
        if order == "random":
            if not len(head):
                return None
            return Draw(row=int(rng.choice(head)), propensity=1 / len(head), probe=False)
        pool = self._open(self._list("probe", tag), taken)
        share = self._probes if len(pool) and len(head) else 0.0
        if not len(head):
            return None
        weight = _FALL ** np.arange(len(head))
        weight /= weight.sum()
        probe = bool(rng.random() < share)
        row = int(rng.choice(pool) if probe else rng.choice(head, p=weight))
        chance = (1 - share) * float(weight[head == row].sum())
        if share and (place := int(np.searchsorted(pool, row))) < len(pool) and pool[place] == row:
            chance += share / len(pool)
        return Draw(row=row, propensity=min(chance, 1.0), probe=probe)

    def _head(self, order: Order, tag: int | None, taken: frozenset[int]) -> Rows:
        rows = self._list(order, tag)
        if order == "random":
            return self._open(rows, taken)
        size = self._window + len(taken)
        first = np.flatnonzero(~self.done[rows[: 4 * size]])
        if len(first) < size:  # the head is answered: cut it off
            rows = rows[~self.done[rows]]
            self._lists[order, tag] = rows
            first = np.arange(min(size, len(rows)))
        return self._open(rows[first[:size]], taken)[: self._window]

    def _open(self, rows: Rows, taken: frozenset[int]) -> Rows:
        rows = rows[~self.done[rows]]
        return rows[~np.isin(rows, list(taken))] if taken else rows

    def _list(self, order: str, tag: int | None) -> Rows:
        if (order, tag) not in self._lists:
            if len(self._lists) > 64:  # lists of single tags are quickly made again
                self._lists.clear()
            rows = self._listed(order, self._of(tag))
            self._lists[order, tag] = rows
        return self._lists[order, tag]

    def _of(self, tag: int | None) -> Rows:
        if tag is None:
            return np.arange(len(self.done))
        return np.sort(self._by_tag[self._starts[tag] : self._starts[tag + 1]])

    def _listed(self, order: str, rows: Rows) -> Rows:
        table = self.table
        judging = self._judging[rows]
        if order == "random":
            return np.asarray(rows[judging])
        rows = rows[~judging]
        proba, has = table.proba[rows], table.has[rows]
        if order == "probe":
            return rows[~has & (proba < table.threshold[rows])]
        shown = table.has[rows] | (proba >= self._floor)
        if order == "wrong":
            rows, urgency = rows[has], -proba[has]
        elif order == "missing":
            rows, urgency = rows[~has & shown], proba[~has & shown]
        else:
            margin = np.abs(table.margin[rows])
            close = shown & np.isfinite(margin)
            rows, urgency = rows[close], -margin[close]
        return np.asarray(rows[np.argsort(-urgency, kind="stable")])
