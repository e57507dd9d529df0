"""Pictures of concurrent requests, worked on together: a bounded queue and one worker.

What is waiting when the taggers are free goes as one batch. A picture's tags do not depend on its
company, so how it was batched is nobody's business but the clock's.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Other = TypeVar("Other")

_SMOOTHING = 0.2  # weight of the last batch in the pace that Retry-After is reckoned from


class QueueFullError(Exception):
    """There is no place; ``retry_after`` seconds later there should be."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"try again in {retry_after} second{'s'[: retry_after != 1]}")
        self.retry_after = retry_after


class WaitedTooLongError(QueueFullError):
    """The items were not reached in time."""


@dataclass(eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    done: "asyncio.Future[Result]" = field(repr=False)


class Batcher(Generic[Item, Result]):
    """Collects items and has them worked on in one thread, a batch at a time.

    Parameters
    ----------
    work : callable
        Turns a batch into a result for each item, in order; called in a thread, never twice at
        once.
    batch : int
        Items of a batch at most.
    queue : int
        Items waiting at most.
    window_s, wait_s : float
        How long a batch waits for company, and an item for its result, in seconds.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        batch: int,
        queue: int,
        window_s: float,
        wait_s: float,
    ) -> None:
        self._work = work
        self._batch, self._queue = batch, queue
        self._window_s, self._wait_s = window_s, wait_s
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tagging")
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._seconds_an_item = 0.0
        self.batches = 0
        self.items = 0

    @property
    def n_waiting(self) -> int:
        """Items that no batch has taken yet."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin; to be called where the event loop runs."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Finish what is waiting, take nothing more, and end."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown(wait=True)

    def check_room(self, n_items: int) -> None:
        """Raise `QueueFullError` if so many items have no place."""
        if self._closing or len(self._waiting) + n_items > self._queue:
            raise QueueFullError(self.retry_after())

    def retry_after(self) -> int:
        """Return in how many seconds, from 1 to 60, what waits now should be done."""
        return min(60, max(1, math.ceil(len(self._waiting) * self._seconds_an_item)))

    async def results(self, items: Sequence[Item]) -> list[Result]:
        """Return the result of each item; all are taken or none.

        Raises
        ------
        QueueFullError
            If they have no place.
        WaitedTooLongError
            If they were not done in time.
        """
        self.check_room(len(items))
        loop = asyncio.get_running_loop()
        own = [_Waiting[Item, Result](item, loop.create_future()) for item in items]
        self._waiting.extend(own)
        self._arrived.set()
        try:
            async with asyncio.timeout(self._wait_s):
                return list(await asyncio.gather(*(waiting.done for waiting in own)))
        except TimeoutError:
            raise WaitedTooLongError(self.retry_after()) from None
        finally:  # what nobody waits for any more is not worked on
            for waiting in own:
                waiting.done.cancel()

    async def between(self, call: Callable[[], Other]) -> Other:
        """Return what a call returns, made between two batches in their thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    async def _run(self) -> None:
        while not (self._closing and not self._waiting):
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                await self._company()
                await self._do([w for w in self._taken() if not w.done.done()])

    async def _company(self) -> None:
        """Wait for a full batch, but no longer than the window."""
        ends = time.monotonic() + self._window_s
        while len(self._waiting) < self._batch and not self._closing:
            left = ends - time.monotonic()
            if left <= 0:
                return
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                return

    def _taken(self) -> list[_Waiting[Item, Result]]:
        n_items = min(self._batch, len(self._waiting))
        return [self._waiting.popleft() for _ in range(n_items)]

    async def _do(self, batch: Sequence[_Waiting[Item, Result]]) -> None:
        if not batch:
            return
        began = time.monotonic()
        items = [waiting.item for waiting in batch]
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._thread, self._work, items)
        except Exception as error:  # whoever waits for it is told; the worker goes on
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_exception(error)
            return
        self._note(len(batch), time.monotonic() - began)
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.done.done():
                waiting.done.set_result(result)

    def _note(self, n_items: int, seconds: float) -> None:
        self.batches += 1
        self.items += n_items
        pace = seconds / n_items
        before = self._seconds_an_item
        self._seconds_an_item = before + _SMOOTHING * (pace - before) if before else pace
