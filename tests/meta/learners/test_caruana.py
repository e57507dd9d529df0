import itertools

import numpy as np
import pytest

from tagstack.meta.learners.caruana import GreedySelection


def closeness(target: np.ndarray):  # type: ignore[no-untyped-def]
    """A metric of one value per row, each row being a fold."""
    return lambda average: -((average - target) ** 2)


def test_finds_the_weights_that_an_exhaustive_search_finds() -> None:
    values = np.array([[0.0, 0.0], [1.0, 1.0], [9.0, 9.0]])
    target = np.array([0.25, 0.25])
    weights = GreedySelection(values, closeness(target), 8).weights(np.ones(2, bool))
    grid = [np.array(w) / 4 for w in itertools.product(range(5), repeat=3) if sum(w) == 4]
    best = max(grid, key=lambda w: float(closeness(target)(w @ values).mean()))
    np.testing.assert_allclose(weights, best)


def test_weights_of_a_fold_never_look_at_it() -> None:
    values = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    selection = GreedySelection(values, closeness(np.array([0.0, 0.0, 1.0])), 5)
    np.testing.assert_allclose(selection.weights(np.array([True, True, False])), [1, 0])
    np.testing.assert_allclose(selection.weights(np.array([False, False, True])), [0, 1])


def test_of_equals_the_first_is_taken() -> None:
    values = np.ones((3, 2))
    weights = GreedySelection(values, closeness(np.zeros(2)), 5).weights(np.ones(2, bool))
    np.testing.assert_array_equal(weights, [1, 0, 0])


def test_an_undefined_metric_gives_equal_weights() -> None:
    selection = GreedySelection(np.ones((4, 2)), lambda average: np.full(2, np.nan), 5)
    np.testing.assert_allclose(selection.weights(np.ones(2, bool)), np.full(4, 0.25))


@pytest.mark.parametrize("rounds", [1, 2, 7])
def test_weights_sum_to_one(rounds: int) -> None:
    values = np.random.default_rng(0).random((5, 4))
    selection = GreedySelection(values, closeness(np.full(4, 0.4)), rounds)
    assert selection.weights(np.ones(4, bool)).sum() == pytest.approx(1)
