"""A small store that forgets what was used longest ago."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class RecentlyUsed(Generic[K, V]):
    """At most ``limit`` values; a further one pushes out the one used longest ago.

    Parameters
    ----------
    limit : int
        0 keeps nothing.
    discard : callable
        Frees a value that is pushed out.
    """

    def __init__(self, limit: int, discard: Callable[[V], None]) -> None:
        self._limit = limit
        self._discard = discard
        self._values: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: K) -> V | None:
        """Return a value, which then counts as used, or None."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep a value and free those that no longer fit."""
        self._values[key] = value
        self._values.move_to_end(key)
        while len(self._values) > self._limit:
            self._discard(self._values.popitem(last=False)[1])

    def clear(self) -> None:
        """Free every value."""
        while self._values:
            self._discard(self._values.popitem()[1])
