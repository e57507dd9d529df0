"""Thresholds move where answers show it surely, and never by what only one side told."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tagstack.ensemble.feedback.moving import TagPairs, best_of, gains, price_of
from tagstack.ensemble.review.pairs import ReviewPairs
from tagstack.ensemble.review.queue import ORDERS, Queue

THRESHOLD, PRICE = 0.4, 0.4
SHIFTS = (0.5, 1.0, 1.5)


def collection(rng: np.random.Generator, bias: float) -> tuple[ReviewPairs, NDArray[np.bool_]]:
    """Return one tag's pairs and what is true: as probable as said, or ``bias`` more."""
    n = 260
    proba = rng.beta(0.8, 1.4, n).astype(np.float32)
    tagged = proba >= THRESHOLD
    none = np.zeros(1)
    count = np.zeros(1, np.int64)
    table = ReviewPairs(
        image=np.arange(n, dtype=np.int32), tag=np.zeros(n, np.int32), proba=proba,
        threshold=np.full(n, THRESHOLD, np.float32), tagged=tagged, has=tagged,
        wrong=none, missing=none, n_has=count, n_near=count, n_pairs=count,
    )  # fmt: skip
    return table, rng.random(n) < proba + bias


def reviewed(rng: np.random.Generator, bias: float, n_draws: int) -> TagPairs:
    """Return what a queue's cards found, in orders that the person changes at will."""
    table, true = collection(rng, bias)
    n = len(table.image)
    queue = Queue(table, np.zeros(n, bool), probes=0.08, window=40, floor=0.0)
    drawn, weight = [], []
    for number in range(n_draws):
        order = ORDERS[(number // 15) % 3]
        draw = queue.draw(order, 0, rng)
        if draw is None:
            continue
        queue.settle([draw.row])
        drawn.append(draw.row)
        weight.append(1 / draw.propensity)
    answer = np.full(n, -1, np.int8)
    answer[drawn] = true[drawn]
    chosen = np.zeros(n, bool)
    chosen[drawn] = True
    return TagPairs(
        proba=table.proba.astype(np.float64), tagged=table.tagged, answer=answer, chosen=chosen,
        drawn=np.array(drawn), at=np.arange(len(drawn)), weight=np.array(weight),
    )  # fmt: skip


def moves(bias: float, n_runs: int, n_draws: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(11)
    found = []
    for _ in range(n_runs):
        pairs = reviewed(rng, bias, n_draws)
        best = best_of(gains(pairs, THRESHOLD, PRICE, SHIFTS, 0.05), 5)
        found.append(np.nan if best is None else best.threshold)
    return np.array(found)


@pytest.mark.parametrize(("bias", "lower"), [(0.35, True), (-0.35, False)])
def test_a_threshold_that_is_wrong_moves_the_right_way(bias: float, lower: bool) -> None:
    found = moves(bias, 6, 220)
    moved = found[np.isfinite(found)]
    assert len(moved) >= 4
    assert ((moved < THRESHOLD) == lower).all()


def test_whoever_tells_one_side_alone_lowers_nothing() -> None:
    """Missing tags added by hand, a hundred of them, and never one that is no miss."""
    rng = np.random.default_rng(5)
    table, true = collection(rng, 0.35)
    answer = np.full(len(true), -1, np.int8)
    answer[true & ~table.tagged] = 1
    nobody = np.zeros(len(true), bool)
    none = np.empty(0, np.int64)
    pairs = TagPairs(
        proba=table.proba.astype(np.float64), tagged=table.tagged, answer=answer, chosen=nobody,
        drawn=none, at=none, weight=np.empty(0),
    )  # fmt: skip
    assert best_of(gains(pairs, THRESHOLD, PRICE, SHIFTS, 0.05), 1) is None
    answer[table.tagged & (table.proba < 0.5)] = 0  # what is wrong, though, raises it
    best = best_of(gains(replace(pairs, answer=answer), THRESHOLD, PRICE, SHIFTS, 0.05), 1)
    assert best is not None
    assert best.threshold > THRESHOLD


def test_unanswered_pairs_count_against_a_move() -> None:
    proba, tagged = np.full(20, 0.45), np.ones(20, bool)
    answer = np.full(20, -1, np.int8)
    none = np.empty(0, np.int64)
    # 0.6 of 20 is 12, and chance alone gives up to 17 with what is allowed of it.
    for n_wrong, moved in ((12, False), (17, False), (18, True)):
        answer[:n_wrong] = 0
        pairs = TagPairs(
            proba=proba, tagged=tagged, answer=answer, chosen=np.zeros(20, bool), drawn=none,
            at=none, weight=np.empty(0),
        )  # fmt: skip
        assert bool(best_of(gains(pairs, THRESHOLD, PRICE, SHIFTS, 0.05), 5)) is moved


def test_the_price_follows_from_the_objective() -> None:
    assert price_of("F1", 0.8) == pytest.approx(0.4)
    assert price_of("F2", 0.8) == pytest.approx(0.16)
    assert price_of("precision>=0.9", 0.95) == price_of("F1", float("nan")) == 0.5
