"""Linear support vector machines of several tags at once, by Newton's method in the primal.

Each machine minimises ``|w|^2 / 2 + cost * sum(weight * max(0, 1 - side * (x @ w))^2)``, the
problem of scikit-learn's ``LinearSVC``, whose solver is called tag by tag: at ten thousand tags
its calls cost more than its steps. Here the small systems of a batch are solved as one stack.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MAX_STEPS = 50
_MAX_HALVINGS = 12
_TOLERANCE = 1e-4  # largest change of a coefficient at which a machine counts as converged


@dataclass(frozen=True, kw_only=True)
class HingeBatch:
    """Rows of some machines, each machine's filled up with rows of weight 0 to the same number.

    Parameters
    ----------
    design : array of shape (n_machines, n_rows, n_columns), float64
        With a column of ones where an intercept is wanted; it is penalised like any other.
    side : array of shape (n_machines, n_rows), float64, -1 or 1
    weight : array of shape (n_machines, n_rows), float64, not negative
    """

    design: Floats
    side: Floats
    weight: Floats


def fit_squared_hinge(batch: HingeBatch, cost: float) -> Floats:
    """Return each machine's coefficients, shape (n_machines, n_columns).

    Parameters
    ----------
    batch : HingeBatch
    cost : float, positive
        Of a row on the wrong side, against the size of the coefficients.

    References
    ----------
    Keerthi & DeCoste (2005), "A modified finite Newton method for fast solution of large scale
    linear SVMs".
    """
    theta = np.zeros((len(batch.design), batch.design.shape[2]))
    slack = np.ones(batch.side.shape)
    loss = _loss(batch, theta, slack, cost)
    for _ in range(_MAX_STEPS):
        step = _newton_step(batch, theta, slack, cost)
        theta, slack, loss, moved = _halved_where_worse(batch, theta, step, loss, cost)
        if moved < _TOLERANCE:
            break
    return theta


def _newton_step(batch: HingeBatch, theta: Floats, slack: Floats, cost: float) -> Floats:
    counted = 2 * cost * batch.weight * (slack > 0)
    pull = counted * batch.side * slack
    gradient = theta - (pull[:, None, :] @ batch.design)[:, 0, :]
    # A matrix times its own transpose is symmetric, and BLAS works out one half of it.
    scaled = batch.design * np.sqrt(counted)[:, :, None]
    hessian = scaled.transpose(0, 2, 1) @ scaled
    hessian += np.eye(theta.shape[1])
    return np.asarray(np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0], np.float64)


def _halved_where_worse(
    batch: HingeBatch, theta: Floats, step: Floats, loss: Floats, cost: float
) -> tuple[Floats, Floats, Floats, float]:
    """Take the step; halve it for machines whose loss rose, at last leave them where they were."""
    for _ in range(_MAX_HALVINGS):
        slack = _slack(batch, theta - step)
        trial = _loss(batch, theta - step, slack, cost)
        worse = trial > loss + 1e-10 * (1 + loss)
        if not worse.any():
            return theta - step, slack, trial, float(np.abs(step).max(initial=0.0))
        step = np.where(worse[:, None], 0.5 * step, step)
    step = np.where(worse[:, None], 0.0, step)
    slack = _slack(batch, theta - step)
    return theta - step, slack, np.where(worse, loss, trial), float(np.abs(step).max(initial=0.0))


def _slack(batch: HingeBatch, theta: Floats) -> Floats:
    margin = (batch.design @ theta[:, :, None])[:, :, 0]
    return np.asarray(1.0 - batch.side * margin, np.float64)


def _loss(batch: HingeBatch, theta: Floats, slack: Floats, cost: float) -> Floats:
    violation = np.maximum(slack, 0.0) ** 2
    hinge = cost * (batch.weight * violation).sum(axis=1)
    return np.asarray(0.5 * (theta**2).sum(axis=1) + hinge, np.float64)
