"""Simulate reviews whose truth is known: whether bounds hold, what moves, and what it gains.

    python benchmarks/feedback.py [--runs 200] [--answers 150] [--pairs 400]

One tag a run. Its probabilities are right, too low or too high by 0.3; a person answers cards of
the review's own queue, in orders that change, and thresholds are asked about after every ten
answers. Beside the rule of `tagstack feedback apply` stands what a plain count would do: move where
more (or fewer) of the answered pairs between two thresholds are right than the price asks for. A
last row is one-sided: a person adds the missing tags that come along, and says nothing of others.

Prints a Markdown table. "Wrong bound": runs in which any bound ever said more than is true, of
which 5 % are allowed. "Wrong": moves that truly lose on the pictures that they come from, and on as
many new ones, of which 5 % of the runs are allowed. "Gain": in right tags a run, on both.
"""

import argparse
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tagstack.ensemble.feedback.moving import Gain, TagPairs, best_of, gains, grid_around
from tagstack.ensemble.review.pairs import ReviewPairs
from tagstack.ensemble.review.queue import ORDERS, Queue

THRESHOLD = PRICE = 0.4
SHIFTS = (0.25, 0.5, 1.0, 1.5, 2.0)
ALPHA, LEAST = 0.05, 5
Bools = NDArray[np.bool_]


@dataclass
class Collection:
    """One tag's pairs, what is true of them, and a queue over them."""

    table: ReviewPairs
    true: Bools
    queue: Queue

    @classmethod
    def drawn(cls, rng: np.random.Generator, n: int, bias: float) -> "Collection":
        """Return a collection whose truth is ``bias`` more frequent than its probabilities say."""
        proba = rng.beta(0.8, 1.4, n).astype(np.float32)
        tagged, none = proba >= THRESHOLD, np.zeros(1)
        count = np.zeros(1, np.int64)
        table = ReviewPairs(
            image=np.arange(n, dtype=np.int32), tag=np.zeros(n, np.int32), proba=proba,
            threshold=np.full(n, THRESHOLD, np.float32), tagged=tagged, has=tagged,
            wrong=none, missing=none, n_has=count, n_near=count, n_pairs=count,
        )  # fmt: skip
        queue = Queue(table, np.zeros(n, bool), probes=0.08, window=40, floor=0.0)
        return cls(table, rng.random(n) < proba + bias, queue)

    def gain(self, threshold: float) -> float:
        """Return what another threshold truly gains."""
        new = self.table.proba >= threshold
        added, removed = new & ~self.table.tagged, self.table.tagged & ~new
        return float((self.true[added] - PRICE).sum() - (self.true[removed] - PRICE).sum())

    def counted(self, threshold: float, answer: NDArray[np.int8]) -> float:
        """Return what a plain count of the answers takes the gain to be, a picture."""
        new = self.table.proba >= threshold
        moved, sign = new != self.table.tagged, 1 if threshold < THRESHOLD else -1
        known = moved & (answer >= 0)
        if known.sum() < LEAST:
            return 0.0
        return sign * float((answer[known] - PRICE).mean()) * float(moved.sum())


def pairs_of(collection: Collection, rows: list[int], weights: list[float]) -> TagPairs:
    """Return the pairs as far as they were answered."""
    n = len(collection.true)
    answer, chosen = np.full(n, -1, np.int8), np.zeros(n, bool)
    answer[rows], chosen[rows] = collection.true[rows], True
    return TagPairs(
        proba=collection.table.proba.astype(np.float64), tagged=collection.table.tagged,
        answer=answer, chosen=chosen, drawn=np.array(rows, np.int64),
        at=np.arange(len(rows)), weight=np.array(weights),
    )  # fmt: skip


def broken(collection: Collection, found: list[Gain]) -> bool:
    """Return whether a bound says more than is true."""
    return any(gain.low > collection.gain(gain.threshold) + 1e-6 for gain in found)


def run(
    rng: np.random.Generator, n_pairs: int, n_answers: int, bias: float
) -> tuple[bool, float | None, float | None, Collection]:
    """Return whether a bound broke, where the rule and a plain count moved first, and the truth."""
    own = Collection.drawn(rng, n_pairs, bias)
    rows: list[int] = []
    weights: list[float] = []
    wrong, ours, plain = False, None, None
    for number in range(n_answers):
        draw = own.queue.draw(ORDERS[(number // 15) % 3], 0, rng)
        if draw is None:
            continue
        own.queue.settle([draw.row])
        rows.append(draw.row)
        weights.append(1 / draw.propensity)
        if len(rows) % 10:
            continue
        pairs = pairs_of(own, rows, weights)
        found = gains(pairs, THRESHOLD, PRICE, SHIFTS, ALPHA)
        wrong |= broken(own, found)
        best = best_of(found, LEAST)
        ours = ours if ours is not None or best is None else best.threshold
        plain = plain if plain is not None else counted(own, pairs.answer)
    return wrong, ours, plain, own


def counted(own: Collection, answer: NDArray[np.int8]) -> float | None:
    """Return where a plain count moves; None where it does not."""
    grid = np.concatenate(grid_around(THRESHOLD, SHIFTS))
    best = max(grid, key=lambda value: own.counted(value, answer))
    return float(best) if own.counted(best, answer) > 0 else None


def one_sided(
    rng: np.random.Generator, n_pairs: int, n_answers: int
) -> tuple[bool, float | None, float | None, Collection]:
    """Return the same for a person who adds what is missing, and tells of nothing else."""
    own = Collection.drawn(rng, n_pairs, 0.0)
    missing = rng.permutation(np.flatnonzero(own.true & ~own.table.tagged))[:n_answers]
    pairs = pairs_of(own, missing.tolist(), [])
    nobody, none = np.zeros(n_pairs, bool), np.empty(0, np.int64)
    pairs = replace(pairs, chosen=nobody, drawn=none, at=none)
    found = gains(pairs, THRESHOLD, PRICE, SHIFTS, ALPHA)
    best = best_of(found, LEAST)
    ours = None if best is None else best.threshold
    return broken(own, found), ours, counted(own, pairs.answer), own


def long_run(rng: np.random.Generator, bias: float, threshold: float, n_pairs: int) -> float:
    """Return what a threshold gains on as many new pictures, averaged over many of them."""
    return Collection.drawn(rng, 100_000, bias).gain(threshold) * n_pairs / 100_000


Run = tuple[bool, float | None, float | None, Collection]


def row(title: str, bias: float, found: list[Run], rng: np.random.Generator) -> str:
    """Return a line of the table."""
    cells = [title, f"{np.mean([one[0] for one in found]):.1%}"]
    moved_to = [at for _, ours, plain, _ in found for at in (ours, plain) if at is not None]
    new = {at: long_run(rng, bias, at, len(found[0][3].true)) for at in moved_to}
    ours = [(at, own) for _, at, _, own in found if at is not None]
    plain = [(at, own) for _, _, at, own in found if at is not None]
    for moves in (ours, plain):
        here = [own.gain(at) for at, own in moves]
        there = [new[at] for at, _ in moves]
        cells.append(f"{len(moves) / len(found):.0%}")
        for gained in (here, there):
            lost = sum(gain < 0 for gain in gained) / len(found)
            cells.append(f"{lost:.1%} ({sum(gained) / len(found):+.1f})")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--answers", type=int, default=150)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = np.random.default_rng(asked.seed)
    print(f"{asked.runs} runs a row, {asked.pairs} pairs, {asked.answers} answers, {ALPHA:.0%}\n")
    print("| probabilities | wrong bound | moved | wrong (gain) | on new pictures | plain count: "
          "moved | wrong (gain) | on new pictures |")  # fmt: skip
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for title, bias in (("right", 0.0), ("0.3 too low", 0.3), ("0.3 too high", -0.3)):
        runs = [run(rng, asked.pairs, asked.answers, bias) for _ in range(asked.runs)]
        print(row(title, bias, runs, rng), flush=True)
    runs = [one_sided(rng, asked.pairs, asked.answers) for _ in range(asked.runs)]
    print(row("right, one-sided", 0.0, runs, rng))


if __name__ == "__main__":
    main()
