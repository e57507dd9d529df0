import numpy as np
import pytest
from sklearn.svm import LinearSVC

from tagstack.meta.learners.squared_hinge import HingeBatch, fit_squared_hinge


def drawn(rng: np.random.Generator, n_rows: list[int], n_columns: int = 6) -> HingeBatch:
    """Return machines of different sizes, padded with rows that must not count."""
    most = max(n_rows)
    design = rng.normal(size=(len(n_rows), most, n_columns))
    design[:, :, -1] = 1.0
    weight = np.where(np.arange(most) < np.array(n_rows)[:, None], 1.0, 0.0)
    weight[:, ::3] *= 2.0
    side = np.where(design[:, :, 0] + rng.normal(size=weight.shape) > 0.7, 1.0, -1.0)
    return HingeBatch(design=design, side=side, weight=weight)


@pytest.mark.parametrize("cost", [0.01, 1.0])
def test_every_machine_agrees_with_scikit_learn(rng: np.random.Generator, cost: float) -> None:
    batch = drawn(rng, [40, 300, 111])
    theta = fit_squared_hinge(batch, cost)
    for machine in range(3):
        counted = batch.weight[machine] > 0
        svm = LinearSVC(C=cost, dual=False, fit_intercept=False, tol=1e-8, max_iter=10_000)
        svm.fit(
            batch.design[machine, counted],
            batch.side[machine, counted],
            sample_weight=batch.weight[machine, counted],
        )
        np.testing.assert_allclose(theta[machine], svm.coef_[0], atol=2e-4)


def test_a_machine_does_not_depend_on_its_neighbours(rng: np.random.Generator) -> None:
    batch = drawn(rng, [50, 50, 50])
    together = fit_squared_hinge(batch, 0.1)
    alone = HingeBatch(design=batch.design[1:2], side=batch.side[1:2], weight=batch.weight[1:2])
    np.testing.assert_allclose(fit_squared_hinge(alone, 0.1)[0], together[1], atol=1e-6)


def test_separable_rows_stay_finite() -> None:
    design = np.array([[[-2.0, 1.0], [-1.0, 1.0], [1.0, 1.0], [2.0, 1.0]]])
    batch = HingeBatch(
        design=design, side=np.array([[-1.0, -1.0, 1.0, 1.0]]), weight=np.ones((1, 4))
    )
    theta = fit_squared_hinge(batch, 1e6)
    assert np.isfinite(theta).all()
    assert (np.sign(design[0] @ theta[0]) == batch.side[0]).all()


def test_without_counted_rows_nothing_is_learned() -> None:
    batch = HingeBatch(design=np.ones((2, 3, 2)), side=np.ones((2, 3)), weight=np.zeros((2, 3)))
    np.testing.assert_array_equal(fit_squared_hinge(batch, 1.0), np.zeros((2, 2)))
