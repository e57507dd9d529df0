"""Work done ahead of its reader, in order and within a bound."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], window: int
) -> Iterator[R]:
    """Yield ``work(item)`` in order while up to ``window`` items are being worked on.

    The next item is taken only when there is room: a slow reader holds the work back, so memory
    is bounded by the window however many items there are.

    Parameters
    ----------
    pool : ThreadPoolExecutor
        Whose threads do the work.
    work : callable
    items : iterable
        Read by the calling thread alone.
    window : int
        At least 1.
    """
    queue: deque[Future[R]] = deque()
    for item in items:
        queue.append(pool.submit(work, item))
        if len(queue) >= window:
            yield queue.popleft().result()
    while queue:
        yield queue.popleft().result()
