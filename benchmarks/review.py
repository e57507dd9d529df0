"""How long a visitor of the review page waits: cards, answers and the board of a large collection.

    python benchmarks/review.py --images 100000 --tags 10000

The pairs are drawn by chance; everything behind the page but the stack's own work on one picture
(votes, explanation) and the thumbnails is real, with decisions in a file on this disk. Times are
CPU seconds of this process, and seconds by the clock where the disk is waited for.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.settings import load_settings
from tagstack.ensemble.feedback.decision import Decision, Shown
from tagstack.ensemble.feedback.store import FILE, DecisionStore
from tagstack.ensemble.review.board import board_columns
from tagstack.ensemble.review.desk import Desk
from tagstack.ensemble.review.pairs import ReviewPairs
from tagstack.ensemble.review.queue import ORDERS

NOTHING_LEFT = object()
ANSWERS = 100  # of each order


def summed(
    tag: NDArray[np.int64], of_pairs: NDArray[np.floating], n_tags: int
) -> NDArray[np.float64]:
    """Return the sum of the pairs of each tag."""
    return np.bincount(tag, of_pairs, n_tags).astype(np.float64)


def drawn_pairs(n_images: int, n_tags: int, per_image: int, seed: int = 0) -> ReviewPairs:
    """Return pairs as frequent as tags are on a booru: a few everywhere, most of them rare."""
    rng = np.random.default_rng(seed)
    tag = (n_tags * rng.random(n_images * per_image) ** 3).astype(np.int64)
    key = np.unique(np.repeat(np.arange(n_images), per_image) * n_tags + tag)
    tag, proba = key % n_tags, (rng.random(len(key)) ** 2).astype(np.float32)
    has = proba >= 0.5
    count = np.bincount(tag, minlength=n_tags)
    return ReviewPairs(
        image=(key // n_tags).astype(np.int32), tag=tag.astype(np.int32), proba=proba,
        threshold=np.full(len(key), 0.5, np.float32), tagged=has, has=has,
        wrong=summed(tag[has], 1 - proba[has], n_tags),
        missing=summed(tag[~has], proba[~has], n_tags),
        n_has=np.bincount(tag[has], minlength=n_tags), n_near=count, n_pairs=count,
    )  # fmt: skip


def desk_of(table: ReviewPairs, n_images: int, n_tags: int, store: DecisionStore) -> Desk:
    """Return a desk with these pairs, of which one chunk is the whole."""
    tags = tuple(f"tag_{i:05d}" for i in range(n_tags))
    cutting = SimpleNamespace(value=np.full(n_tags, 0.5, np.float32))
    bundle: Any = SimpleNamespace(
        vocabulary=Vocabulary(tags, ("general",) * n_tags),
        thresholds=SimpleNamespace(cutting=cutting, state=("tuned",) * n_tags),
        threshold_version="fit",
    )
    ground: Any = SimpleNamespace(
        bundle=bundle, images=tuple(f"{i:07d}.png" for i in range(n_images)), floor=0.05,
        n_chunks=1, table=lambda number: table,
    )  # fmt: skip
    judging = np.arange(n_images) % 10 == 0
    return Desk(ground, store, Path(), load_settings().review, "0" * 64, lambda: judging)


def timed(what: str, work: Callable[[], object], times: int = 1) -> None:
    """Print the mean and the worst of some calls, of fewer where there is nothing left to do."""
    cpu, clock = [], []
    for _ in range(times):
        before = time.process_time(), time.perf_counter()
        if work() is NOTHING_LEFT:
            break
        cpu.append(time.process_time() - before[0])
        clock.append(time.perf_counter() - before[1])
    if not cpu:
        print(f"{what:44}     0 times: no card is left of this order")
        return
    print(
        f"{what:44} {len(cpu):5} times, CPU mean {1000 * np.mean(cpu):8.1f} ms, "
        f"worst {1000 * max(cpu):8.1f} ms; by the clock mean {1000 * np.mean(clock):8.1f} ms"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--tags", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=60, help="an image")
    parser.add_argument("--decisions", type=int, default=50_000)
    own = parser.parse_args()
    table = drawn_pairs(own.images, own.tags, own.pairs)
    if (due := own.decisions + ANSWERS * len(ORDERS)) > len(table.image):
        parser.error(
            f"{len(table.image):,} pairs are drawn, but the decisions and the answers that are "
            f"timed take {due:,}. Say more --images or --pairs, or fewer --decisions."
        )
    with tempfile.TemporaryDirectory() as folder, DecisionStore(Path(folder) / FILE) as store:
        desk = desk_of(table, own.images, own.tags, store)
        rows = np.random.default_rng(1).choice(len(table.image), own.decisions, replace=False)
        print(f"{len(table.image):,} pairs of {own.images:,} pictures and {own.tags:,} tags")

        def decided() -> None:
            for start in range(0, len(rows), 1000):
                store.record([decision(desk, int(row)) for row in rows[start : start + 1000]])

        timed(f"{own.decisions:,} decisions recorded, 1,000 at once", decided)
        timed("opening with these", desk.prepare)
        for order in ORDERS:
            timed(f"first card, {order}", partial(desk.cards, "a", order, None, 4))
            timed(f"how many are left, {order}", partial(desk.left, order, None), 5)
        for order in ORDERS:

            def turn(order: Any = order) -> object:
                if not (cards := desk.cards("b", order, None, 1)):
                    return NOTHING_LEFT
                (card,) = cards
                name = desk.ground.images[card.image]
                desk.answer(Decision(who="a", image=name, tag=card.tag, answer="no",
                                     shown=card.shown))  # fmt: skip
                return None

            timed(f"a card and its answer, {order}", turn, ANSWERS)

        def back() -> None:
            desk.undo("a", None)
            desk.cards("b", "wrong", None, 1)

        timed("undo and the next card", back, 20)
        timed("first card of one tag", lambda: desk.cards("c", "wrong", 17, 1))
        timed("the board", lambda: board_columns(desk), 5)


def decision(desk: Desk, row: int) -> Decision:
    """Return an answer to a row of the table."""
    table = desk.ground.table(0)
    tag = desk.ground.bundle.vocabulary.tags[table.tag[row]]
    return Decision(
        who="b", image=desk.ground.images[table.image[row]], tag=tag, answer="yes",
        shown=Shown(order="wrong", tagged=bool(table.has[row])),
    )  # fmt: skip


if __name__ == "__main__":
    main()
