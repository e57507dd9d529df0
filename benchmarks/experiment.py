"""Hold the interval of `tagstack experiment` to its word under continuous looking.

    python benchmarks/experiment.py [--runs 2000] [--units 3000]

Each row is a kind of outcomes; the runs go side by side. "Missed" is the share of runs whose
interval ever left the true difference, at any unit (alpha is 5 %), "z-test" the same for the
ordinary interval looked at from the 30th unit on, "decided" the share that left zero by the end,
where arms differ. Where the package `expectation` is installed (Python 3.12 on), the last line
has the width of its empirical Bernstein interval beside ours, on the same numbers.
"""

import argparse

import numpy as np
from numpy.typing import NDArray

from tagstack.ensemble.experiments.betting import BettingSequence
from tagstack.ensemble.experiments.contrast import bound_of

ALPHA, Z = 0.05, 1.96
Floats = NDArray[np.float64]
# Title, means of A and B, chance of B, paired.
KINDS = (
    ("0 or 1, alike", 0.5, 0.5, 0.5, False),
    ("0 or 1, alike, frequent", 0.95, 0.95, 0.5, False),
    ("0 or 1, alike, B for one in five", 0.8, 0.8, 0.2, False),
    ("0 or 1, B better by .05", 0.8, 0.85, 0.5, False),
    ("0 or 1, paired, alike", 0.8, 0.8, 0.5, True),
    ("0 or 1, paired, B better by .05", 0.8, 0.85, 0.5, True),
)


def numbers(
    rng: np.random.Generator, total: Floats, n: int, kind: tuple[str, float, float, float, bool]
) -> Floats:
    """Return the next contrast of each run; ``total`` holds what outcomes were before."""
    _, a, b, share, paired = kind
    if paired:
        first, other = rng.random((2, len(total)))
        other = np.where(rng.random(len(total)) < 0.5, first, other)
        return np.asarray(np.subtract(other < b, first < a, dtype=np.float64))
    in_b = rng.random(len(total)) < share
    outcome = (rng.random(len(total)) < np.where(in_b, b, a)).astype(np.float64)
    own = outcome - total / n
    total += outcome
    return np.where(in_b, own / share, -own / (1 - share))


def row(kind: tuple[str, float, float, float, bool], n_runs: int, n_units: int) -> str:
    """Return a line of the table."""
    title, a, b, share, paired = kind
    rng, bound = np.random.default_rng(0), bound_of(share, paired=paired)
    true = BettingSequence(ALPHA, -bound, bound, np.full(n_runs, b - a))
    zero = BettingSequence(ALPHA, -bound, bound, np.zeros(n_runs))
    total, sums, squares = np.full(n_runs, 0.5), np.zeros(n_runs), np.zeros(n_runs)
    fooled = np.zeros(n_runs, bool)
    for n in range(1, n_units + 1):
        value = numbers(rng, total, n, kind)
        true.add_one(value)
        zero.add_one(value)
        sums += value
        squares += value**2
        error = np.sqrt(np.maximum(squares / n - (sums / n) ** 2, 1e-12) / n)
        fooled |= (n >= 30) & (np.abs(sums / n - (b - a)) > Z * error)
    decided = f"{zero.rejected().mean():.0%}" if a != b else "-"
    return f"| {title} | {true.rejected().mean():.2%} | {fooled.mean():.0%} | {decided} |"


def beside_expectation(n_units: int) -> str:
    """Return the widths of both intervals on the same numbers; or why there is but one."""
    values = np.random.default_rng(1).beta(4, 2, n_units)
    own = BettingSequence(ALPHA, 0.0, 1.0)
    own.add(values)
    low, high = own.interval
    try:
        from expectation.confseq.confidenceconfig import EmpiricalBernsteinConfig
        from expectation.confseq.confidencesequence import EmpiricalBernsteinConfidenceSequence
    except ImportError as error:
        return f"Width after {n_units}: {high - low:.4f}; nothing to set beside it ({error})."
    config = EmpiricalBernsteinConfig(alpha=ALPHA, lower_bound=0.0, upper_bound=1.0)
    found = EmpiricalBernsteinConfidenceSequence(config=config).update(values)
    width = float(np.max(found.upper)) - float(np.min(found.lower))
    return (
        f"Width after {n_units}: {high - low:.4f}; expectation, empirical Bernstein: {width:.4f}."
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--units", type=int, default=3000)
    asked = parser.parse_args()
    print(f"{asked.runs} runs of {asked.units} units a row, alpha {ALPHA:g}\n")
    print("| outcomes | missed, ever | z-test, ever | decided |")
    print("|---|--:|--:|--:|")
    for kind in KINDS:
        print(row(kind, asked.runs, asked.units), flush=True)
    print(f"\n{beside_expectation(asked.units)}")


if __name__ == "__main__":
    main()
