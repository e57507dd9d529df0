"""Bounds from draws with known probabilities hold at any time, whatever the drawing depends on."""

import numpy as np
import pytest

from tagstack.ensemble.feedback.sequences import at_least, log_capital


def run(rng: np.random.Generator, n_draws: int) -> tuple[float, int]:
    """Draw without replacement, by chances that follow what was found; return bound and truth."""
    counts = rng.random(60) < 0.4
    open_ = np.ones(60, bool)
    tilt = rng.normal(size=60)
    weights: list[float] = []
    at: list[int] = []
    for draw in range(n_draws):
        rows = np.flatnonzero(open_)
        if not len(rows):
            break
        own = np.exp(tilt[rows] * min(len(weights), 3))  # the more was found, the more it is tilted
        chance = 0.9 * own / own.sum() + 0.1 / len(rows)
        row = int(rng.choice(len(rows), p=chance))
        open_[rows[row]] = False
        if counts[rows[row]]:
            weights.append(1 / chance[row])
            at.append(draw)
    bound = at_least(np.array(weights), np.array(at, np.int64), 0.1)
    return bound, int(counts.sum())


def test_the_bound_is_right_as_often_as_it_says_and_says_something() -> None:
    rng = np.random.default_rng(3)
    found = np.array([run(rng, 40) for _ in range(100)])
    wrong = (found[:, 0] > found[:, 1]).mean()  # the bound is the best of all moments
    assert wrong <= 0.1 + 2 * np.sqrt(0.09 / 100)
    assert np.median(found[:, 0] / found[:, 1]) > 0.2


def test_more_draws_without_a_hit_do_not_raise_it() -> None:
    weights = np.full(10, 50.0)
    early, late = np.arange(10), np.arange(10) * 30
    assert at_least(weights, early, 0.05) > at_least(weights, late, 0.05) > 0
    assert at_least(np.empty(0), np.empty(0, np.int64), 0.05) == 0
    assert at_least(np.ones(1), np.zeros(1, np.int64), 0.05) < 0.01  # one hit proves nothing


@pytest.mark.parametrize("total", [3.0, 40.0])
def test_the_capital_is_that_of_betting_one_draw_after_another(total: float) -> None:
    rng = np.random.default_rng(0)
    hit, weight = rng.random(80) < 0.3, rng.uniform(1, 30, 80)
    shares = 0.5 ** np.arange(1, 15)
    capital, largest = np.ones(14), 1.0
    for counts, value in zip(hit, weight, strict=True):
        capital = capital * (1 + shares * ((value if counts else 0.0) / total - 1))
        largest = max(largest, capital.mean())
    found = log_capital(total, weight[hit], np.flatnonzero(hit))
    assert found == pytest.approx(np.log(largest), abs=1e-9)
