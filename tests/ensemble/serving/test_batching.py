"""The queue: order kept, nothing lost, nothing beyond its bounds, whatever the work does."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence

import pytest

from tagstack.ensemble.serving.batching import Batcher, QueueFullError, WaitedTooLongError


class Work:
    """Squares numbers; may be held up, and refuses negative ones."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.begun.set()
        self.go.wait(10)
        self.batches.append(list(items))
        if min(items) < 0:
            raise ValueError("negative")
        return [item * item for item in items]

    async def held_up(self) -> None:
        """Wait until a batch is in the worker's hands."""
        await asyncio.to_thread(self.begun.wait, 10)


def with_batcher(
    use: Callable[[Batcher[int, int], Work], Awaitable[None]],
    *,
    batch: int = 4,
    queue: int = 8,
    window_s: float = 0.0,
    wait_s: float = 10.0,
) -> Work:
    work = Work()

    async def run() -> None:
        batcher = Batcher(work, batch=batch, queue=queue, window_s=window_s, wait_s=wait_s)
        batcher.start()
        try:
            await use(batcher, work)
        finally:
            work.go.set()
            await batcher.stop()

    asyncio.run(run())
    return work


def test_a_hundred_at_once_get_their_own_results_in_few_batches() -> None:
    async def use(batcher: Batcher[int, int], _: Work) -> None:
        found = await asyncio.gather(*(batcher.results([n, 0, n + 1]) for n in range(100)))
        assert found == [[n * n, 0, (n + 1) ** 2] for n in range(100)]
        assert (batcher.items, batcher.n_waiting) == (300, 0)

    work = with_batcher(use, batch=16, queue=300)
    assert max(map(len, work.batches)) == 16
    assert len(work.batches) <= 20


def test_company_is_waited_for_no_longer_than_it_takes_to_be_full() -> None:
    async def use(batcher: Batcher[int, int], _: Work) -> None:
        first = asyncio.create_task(batcher.results([1]))
        await asyncio.sleep(0.01)
        async with asyncio.timeout(5):
            assert await batcher.results([2, 3, 4]) == [4, 9, 16]
        assert await first == [1]

    assert with_batcher(use, window_s=30.0).batches == [[1, 2, 3, 4]]


def test_alone_one_waits_for_the_window_and_goes() -> None:
    async def use(batcher: Batcher[int, int], _: Work) -> None:
        assert await batcher.results([3]) == [9]

    assert with_batcher(use, window_s=0.01).batches == [[3]]


def test_beyond_the_queue_all_items_of_a_request_are_refused() -> None:
    async def use(batcher: Batcher[int, int], work: Work) -> None:
        work.go.clear()
        running = asyncio.create_task(batcher.results([0]))
        await work.held_up()
        waiting = [asyncio.create_task(batcher.results([n])) for n in range(7)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError, match="try again in") as caught:
            await batcher.results([8, 9])
        assert 1 <= caught.value.retry_after <= 60
        assert batcher.n_waiting == 7  # none of the two went in
        work.go.set()
        assert await asyncio.gather(running, *waiting) == [[0], *([n * n] for n in range(7))]

    with_batcher(use)


def test_who_waits_too_long_is_told_and_not_worked_for() -> None:
    async def use(batcher: Batcher[int, int], work: Work) -> None:
        work.go.clear()
        first = asyncio.create_task(batcher.results([1]))
        await work.held_up()
        with pytest.raises(WaitedTooLongError):
            await batcher.results([2])
        with pytest.raises(WaitedTooLongError):
            await first
        work.go.set()
        assert await batcher.results([3]) == [9]

    assert with_batcher(use, wait_s=0.2).batches == [[1], [3]]


def test_a_fault_of_the_work_reaches_who_waits_and_the_next_are_served() -> None:
    async def use(batcher: Batcher[int, int], _: Work) -> None:
        with pytest.raises(ValueError, match="negative"):
            await batcher.results([-1, 2])
        assert await batcher.results([2]) == [4]

    with_batcher(use)


def test_stopping_finishes_what_waits_and_takes_nothing_more() -> None:
    async def use(batcher: Batcher[int, int], work: Work) -> None:
        work.go.clear()
        first = asyncio.create_task(batcher.results([0]))
        await work.held_up()
        waiting = [asyncio.create_task(batcher.results([n])) for n in range(8)]
        await asyncio.sleep(0)
        stopping = asyncio.create_task(batcher.stop())
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await batcher.results([1])
        work.go.set()
        assert await asyncio.gather(first, *waiting) == [[0], *([n * n] for n in range(8))]
        await stopping

    with_batcher(use)
