import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagstack.meta.features.pair_rows import informative_rows


def case(seed: int, n: int = 5_000) -> tuple[np.ndarray, np.ndarray]:
    """Return a pilot's probabilities and outcomes that follow them, mostly foreseen negatives."""
    rng = np.random.default_rng(seed)
    proba = rng.beta(0.2, 4.0, n)
    return proba, rng.random(n) < proba


def test_few_rows_are_kept_as_they_are() -> None:
    proba, true = case(0, 50)
    weight = np.where(np.arange(50) % 5, 2.0, 0.0)
    rows, kept = informative_rows(proba, true, weight, 40, seed=0)
    np.testing.assert_array_equal(rows, np.flatnonzero(weight))
    np.testing.assert_array_equal(kept, np.full(40, 2.0))


@given(seed=st.integers(0, 10_000), n_rows=st.integers(50, 4_000))
@settings(max_examples=30, deadline=None)
def test_about_as_many_rows_as_asked_for_each_counted_up(seed: int, n_rows: int) -> None:
    proba, true = case(seed)
    weight = np.where(np.arange(5_000) % 7, 1.0, 0.0)
    rows, kept = informative_rows(proba, true, weight, n_rows, seed)
    assert (np.diff(rows) > 0).all()
    assert weight[rows].min() > 0
    assert (kept >= weight[rows] - 1e-12).all()
    assert 0.97 * n_rows - 2 <= len(rows) <= n_rows + 2


def test_sums_over_the_rows_keep_their_expectation() -> None:
    proba, true = case(1)
    values = np.stack([np.ones(5_000), proba, true * 1.0, np.sin(np.arange(5_000.0))])
    sums = []
    for seed in range(200):
        rows, weight = informative_rows(proba, true, np.ones(5_000), 800, seed)
        sums.append(values[:, rows] @ weight)
    error = np.std(sums, axis=0) / np.sqrt(200) + 1e-9
    assert (np.abs(np.mean(sums, axis=0) - values.sum(axis=1)) < 4 * error + 1).all()


def test_what_the_pilot_got_wrong_is_kept_for_certain() -> None:
    proba, true = case(2)
    rows, weight = informative_rows(proba, true, np.ones(5_000), 1_500, seed=0)
    wrong = np.flatnonzero(np.abs(true - proba) > 0.5)
    assert np.isin(wrong, rows).all()
    np.testing.assert_array_equal(weight[np.isin(rows, wrong)], 1.0)
    assert weight[proba[rows] < 0.01].mean() > 2


def test_the_seed_decides_and_nothing_else() -> None:
    proba, true = case(3)
    first, second, other = (
        informative_rows(proba, true, np.ones(5_000), 500, seed)[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert set(first.tolist()) != set(other.tolist())


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_pilot_that_is_certain_and_wrong_everywhere_still_gives_rows(value: float) -> None:
    rows, weight = informative_rows(
        np.full(1_000, value), np.full(1_000, value == 0.0), np.ones(1_000), 100, seed=0
    )
    assert len(rows) == pytest.approx(100, abs=2)
    assert weight.sum() == pytest.approx(1_000, rel=0.05)
