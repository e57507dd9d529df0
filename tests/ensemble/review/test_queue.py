"""The next card: the urgent first, its probability as stated, and nobody judged by what judges."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tagstack.ensemble.review.pairs import ReviewPairs
from tagstack.ensemble.review.queue import ORDERS, Draw, Queue

N_IMAGES, N_TAGS = 30, 4
JUDGING = np.arange(N_IMAGES) % 5 == 0


def table(rng: np.random.Generator) -> ReviewPairs:
    image, tag = np.divmod(np.arange(N_IMAGES * N_TAGS, dtype=np.int32), N_TAGS)
    proba = rng.random(len(image)).astype(np.float32)
    has = proba >= 0.5
    count = np.full(N_TAGS, N_IMAGES)
    return ReviewPairs(
        image=image.astype(np.int32), tag=tag.astype(np.int32), proba=proba,
        threshold=np.full(len(image), 0.5, np.float32), tagged=has, has=has,
        wrong=np.zeros(N_TAGS), missing=np.zeros(N_TAGS), n_has=count, n_near=count, n_pairs=count,
    )  # fmt: skip


def row_of(draw: Draw | None) -> int:
    assert draw is not None
    return draw.row


@pytest.fixture
def make_queue(rng: np.random.Generator) -> Callable[..., Queue]:
    def make(**more: Any) -> Queue:
        groups = np.arange(N_IMAGES) // 10  # ten copies each: they hardly ever all agree
        own = {"probes": 0.1, "window": 6, "floor": 0.05, "groups": groups}
        return Queue(table(rng), JUDGING, **{**own, **more})

    return make


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_stated_is_how_often_it_comes(
    make_queue: Callable[..., Queue], rng: np.random.Generator, order: Any
) -> None:
    queue, n = make_queue(), 4000
    queue.settle([3, 7, 50])
    draws = [queue.draw(order, None, rng) for _ in range(n)]
    stated = {draw.row: draw.propensity for draw in draws if draw}
    for row, times in Counter(draw.row for draw in draws if draw).items():
        sigma = np.sqrt(stated[row] * (1 - stated[row]) / n)
        assert abs(times / n - stated[row]) < 4.5 * sigma + 1e-9
    assert not {3, 7, 50} & stated.keys()
    probes = sum(draw.probe for draw in draws if draw) / n
    assert abs(probes - (0 if order == "random" else 0.1)) < 0.025


def test_the_urgent_come_first(make_queue: Callable[..., Queue], rng: np.random.Generator) -> None:
    queue = make_queue(probes=0.0)
    own = queue.table
    free = ~JUDGING[own.image]
    urgency: dict[Any, Any] = {
        "wrong": np.where(own.has & free, 1 - own.proba, -1),
        "missing": np.where(~own.has & free & (own.proba >= 0.05), own.proba, -1),
        "useful": np.where(free & (own.proba >= 0.05), 1 - np.abs(own.proba - 0.5), -1),
    }
    for order, value in urgency.items():
        head = set(np.argsort(-value)[:6].tolist())
        drawn = {row_of(queue.draw(order, None, rng)) for _ in range(200)}
        assert drawn == head


def test_copies_that_disagree_are_an_order_of_their_own(
    make_queue: Callable[..., Queue], rng: np.random.Generator
) -> None:
    groups = np.where(np.arange(N_IMAGES) < 4, 1, np.arange(N_IMAGES))  # 1 to 3 and 0, a judge
    queue = make_queue(groups=groups, probes=0.0, window=1000)
    own, expected = queue.table, set()
    for tag in range(N_TAGS):
        rows = [image * N_TAGS + tag for image in range(4)]
        if len({bool(own.has[row]) for row in rows}) == 2:
            expected |= {row for row in rows if not JUDGING[own.image[row]]}
    assert expected
    drawn = [queue.draw("twins", None, rng) for _ in range(400)]
    assert {None if card is None else card.row for card in drawn} == expected
    assert make_queue(groups=None).draw("twins", None, rng) is None


def test_pictures_that_judge_are_in_one_order_alone(
    make_queue: Callable[..., Queue], rng: np.random.Generator
) -> None:
    queue = make_queue(window=1000)
    for order in ORDERS:
        images = {queue.table.image[row_of(queue.draw(order, None, rng))] for _ in range(500)}
        assert all(JUDGING[i] == (order == "random") for i in images)


def test_every_pair_is_asked_once_and_then_none(
    make_queue: Callable[..., Queue], rng: np.random.Generator
) -> None:
    queue = make_queue()
    seen = []
    while draw := queue.draw("missing", 2, rng):
        seen.append(draw.row)
        queue.settle([draw.row])
    assert len(seen) == len(set(seen))
    assert {int(queue.table.tag[row]) for row in seen} == {2}
    assert queue.left("missing", 2) == 0
    for order in ORDERS:  # as many as are really open, however often they were counted
        before = queue.left(order)
        row = row_of(queue.draw(order, None, rng))
        queue.settle([row, row])
        assert queue.left(order) == before - 1
        queue.settle([row], done=False)
        assert queue.left(order) == before
    queue.settle([seen[0]], done=False)  # taken back
    assert queue.left("missing", 2) == 1


def test_what_somebody_looks_at_is_shown_to_nobody_else(
    make_queue: Callable[..., Queue], rng: np.random.Generator
) -> None:
    queue = make_queue(probes=0.5)
    taken = frozenset(range(0, 120, 2))
    for order in ORDERS:
        rows = {row_of(queue.draw(order, None, rng, taken)) for _ in range(200)}
        assert not rows & taken


def test_without_a_pair_there_is_no_card(rng: np.random.Generator) -> None:
    queue = Queue(
        ReviewPairs.empty(3), np.zeros(0, bool), probes=0.1, window=5, floor=0.05
    )  # fmt: skip
    assert [queue.draw(order, None, rng) for order in ORDERS] == [None] * len(ORDERS)
