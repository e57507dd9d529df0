"""The interval keeps its word under continuous looking, and it is the one of the paper."""

import numpy as np
import pytest

from tagstack.ensemble.experiments.betting import BettingSequence
from tagstack.ensemble.experiments.contrast import A, B, Outcome, bound_of, contrasts
from tagstack.ensemble.experiments.planning import expected_duration


@pytest.mark.parametrize("mean", [0.5, 0.95])
def test_the_truth_is_left_no_more_often_than_alpha_however_often_one_looks(mean: float) -> None:
    """Two hundred sequences side by side; a z-test at every look would err in a third of them."""
    rng, n_runs = np.random.default_rng(4), 200
    sequence = BettingSequence(0.1, 0.0, 1.0, np.full(n_runs, mean))
    hits = np.zeros(n_runs)
    fooled = np.zeros(n_runs, bool)
    for n in range(1, 1501):
        value = (rng.random(n_runs) < mean).astype(np.float64)
        sequence.add_one(value)
        hits += value
        fooled |= (n > 30) & (np.abs(hits / n - mean) > 1.645 * np.sqrt(mean * (1 - mean) / n))
    assert sequence.rejected().mean() <= 0.1 + 2 * np.sqrt(0.09 / n_runs)
    assert fooled.mean() > 0.25


def test_the_capital_is_that_of_two_gamblers() -> None:
    """By the formulas of Waudby-Smith and Ramdas, one number after the other."""
    rng, alpha = np.random.default_rng(1), 0.05
    values, m = rng.beta(2, 3, 300), 0.31
    up = down = most = 0.0
    for n in range(1, len(values) + 1):
        seen = values[: n - 1]
        means = [(0.5 + seen[:i].sum()) / (i + 1) for i in range(1, n)]
        variance = (0.25 + sum((x - mu) ** 2 for x, mu in zip(seen, means, strict=True))) / n
        stake = np.sqrt(2 * np.log(2 / alpha) / (variance * n * np.log(1 + n)))
        up += np.log(1 + min(stake, 0.5 / m) * (values[n - 1] - m))
        down += np.log(1 - min(stake, 0.5 / (1 - m)) * (values[n - 1] - m))
        most = max(most, max(up, down) - np.log(2))
    sequence = BettingSequence(alpha, 0.0, 1.0, np.array([m]))
    sequence.add(values)
    assert float(sequence._most[0]) == pytest.approx(most)


def test_the_interval_closes_in_on_the_mean() -> None:
    rng = np.random.default_rng(0)
    sequence = BettingSequence(0.05, -2.0, 2.0)
    widths = []
    for size in (50, 450, 1500):
        sequence.add(rng.choice([-1.0, 1.0], size, p=[0.35, 0.65]))
        low, high = sequence.interval
        assert low < 0.3 < high
        widths.append(high - low)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.25
    with pytest.raises(ValueError, match="not within"):
        sequence.add([2.1])


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_contrasts_have_the_difference_of_the_arms_as_their_mean(share: float) -> None:
    rng = np.random.default_rng(2)
    outcomes = []
    for unit in range(20_000):
        arm = B if rng.random() < share else A
        value = float(rng.random() < (0.8 if arm == B else 0.7))
        outcomes.append(Outcome(unit=str(unit), arm=arm, value=value))
    found = np.array(list(contrasts(outcomes, share, paired=False)))
    assert np.abs(found).max() <= bound_of(share, paired=False)
    assert found.mean() == pytest.approx(0.1, abs=4 * found.std() / np.sqrt(len(found)))


def test_pairs_are_complete_in_the_order_of_their_second_outcome() -> None:
    rows = [("x", A, 0.2), ("y", B, 1.0), ("z", A, 0.5), ("y", A, 0.25), ("x", B, 0.1)]
    outcomes = [Outcome(unit=u, arm=arm, value=value) for u, arm, value in rows]
    found = list(contrasts(outcomes, 0.5, paired=True))
    assert found == pytest.approx([0.75, -0.1])


def test_the_expected_duration_grows_as_the_effect_shrinks() -> None:
    def typical(effect: float, *, paired: bool) -> int:
        found = expected_duration(0.8, effect, alpha=0.05, share=0.5, paired=paired, seed=0)
        assert found.typical is not None
        return found.typical

    assert 20 < typical(0.4, paired=False) < typical(0.2, paired=False) < 3000
    assert typical(0.2, paired=True) < typical(0.2, paired=False)
