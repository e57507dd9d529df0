"""A limit on the pixels that are decoded at the same time."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class PixelBudget:
    """Lets threads decode side by side while their pictures fit the limit together.

    Parameters
    ----------
    limit : int
        Pixels; one picture alone may always be decoded.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._changed = Condition()

    @contextmanager
    def taking(self, pixels: int) -> Iterator[None]:
        """Wait until ``pixels`` fit, hold them while the block runs."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self._limit)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()
