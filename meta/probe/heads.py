"""A logistic regression for every tag at once, on columns that all tags share.

Every tag starts from a logit of its own for each image (the prior) and learns a correction,
``logit + columns @ weights + bias``, held to zero by an L2 penalty. Tags differ in their Hessians
alone, and those all have the form ``columns.T @ diag(p (1 - p)) @ columns + penalty``. So one
matrix product gives the gradients of all tags, and one eigendecomposition of the columns' Gram
matrix, shared by all, turns each Hessian nearly into a diagonal: a few conjugate-gradient steps
on that diagonal solve for every tag's Newton step together. Only the widest axes are looked at:
along narrow ones the penalty leaves next to nothing of a weight.

References
----------
Nocedal & Wright (2006), "Numerical Optimization", chapter 7 (truncated Newton).
Halko, Martinsson & Tropp (2011), "Finding structure with randomness", algorithm 4.4.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Singles: TypeAlias = NDArray[np.float32]

# Stopped early: more steps of either kind rank left-out images no better.
_NEWTON_STEPS, _INNER_STEPS, _HALVINGS = 2, 2, 8
_ENOUGH = 1e-4  # of the loss: what a further Newton step must gain
_TINY = 1e-12
_SPARE_AXES, _TURNS = 64, 2


@dataclass(frozen=True, kw_only=True)
class Basis:
    """Columns in their principal axes, for fits on any of these images.

    Parameters
    ----------
    axes : array of shape (n_columns, n_axes), float32
    images : array of shape (n_images, n_axes), float32
    mean_square : array of shape (n_axes,), float32
        Of each axis over the images.
    """

    axes: Singles
    images: Singles
    mean_square: Singles

    @classmethod
    def of(cls, columns: Singles, most: int) -> "Basis":
        """Return the basis of columns of shape (n_images, n_columns), float32.

        Parameters
        ----------
        columns : array
        most : int
            Axes that are kept, the widest.
        """
        values, axes = _widest(columns.T @ columns, most)
        kept = values > max(float(values[-1]), _TINY) * 1e-7
        axes = np.ascontiguousarray(axes[:, kept], np.float32)
        return cls(
            axes=axes,
            images=columns @ axes,
            mean_square=np.asarray(values[kept] / len(columns), np.float32),
        )


def _widest(gram: Singles, most: int) -> tuple[Singles, Singles]:
    """Return the largest eigenvalues, ascending, and the eigenvectors of a Gram matrix.

    Where many are not wanted, all but the narrowest of the others are as `scipy.linalg.eigh` gives
    them, at a share of its time.
    """
    from scipy import linalg

    n_columns, n_drawn = len(gram), most + _SPARE_AXES
    found: Singles | None = None
    if 2 * n_drawn < n_columns:
        found = np.random.default_rng(0).standard_normal((n_columns, n_drawn), np.float32)
        for _ in range(_TURNS):
            found, _ = linalg.qr(gram @ found, mode="economic", check_finite=False)
        gram = found.T @ (gram @ found)
    values, axes = linalg.eigh(gram, driver="evd", check_finite=False)
    axes = axes if found is None else found @ axes
    return values[-most:], axes[:, -most:]


@dataclass(frozen=True, kw_only=True)
class Heads:
    """What every tag adds to its prior.

    Parameters
    ----------
    weights : array of shape (n_axes, n_tags), float32
        On the axes of the basis that they were fitted in.
    bias : array of shape (n_tags,), float32
    """

    weights: Singles
    bias: Singles


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Images to learn some tags from.

    Parameters
    ----------
    images : array of shape (n_images, n_axes), float32
    prior : array of shape (n_images, n_tags), float32
        Logit that each pair starts from.
    true : array of shape (n_images, n_tags), float32, 0 or 1
    weight : array of shape (n_images, n_tags), float32
        0 where nobody knows.
    """

    images: Singles
    prior: Singles
    true: Singles
    weight: Singles


@dataclass(frozen=True, kw_only=True)
class Penalty:
    """L2 on each tag's weights and bias, against the sum of its log losses.

    Parameters
    ----------
    weights, bias : arrays of shape (n_tags,), float32, above 0
    """

    weights: Singles
    bias: Singles

    def of_tags(self, tags: NDArray[np.int64]) -> "Penalty":
        """Return the penalties of some tags."""
        return Penalty(weights=self.weights[tags], bias=self.bias[tags])


def fit_heads(examples: Examples, mean_square: Singles, penalty: Penalty) -> Heads:
    """Return the heads of some tags, fitted together.

    Parameters
    ----------
    examples : Examples
    mean_square : array of shape (n_axes,), float32
        Of each axis, as `Basis` has it.
    penalty : Penalty
    """
    fit = _Fit(examples, mean_square * len(examples.images), penalty)
    for _ in range(_NEWTON_STEPS):
        before = fit.loss.sum()
        fit.step()
        if before - fit.loss.sum() < _ENOUGH * before:
            break
    return Heads(weights=fit.weights, bias=fit.bias)


def log_losses(logit: Singles, true: Singles, weight: Singles) -> NDArray[np.float64]:
    """Return each tag's weighted negative log likelihood in nats, shape (n_tags,), float64."""
    loss = np.log(1 + np.exp(-np.abs(logit))) + np.maximum(logit, 0) - true * logit
    return np.asarray((weight * loss).sum(axis=0, dtype=np.float64), np.float64)


class _Fit:
    """One fit on its way: where it is, and the way to the next point."""

    def __init__(self, examples: Examples, square: Singles, penalty: Penalty) -> None:
        self.examples, self.square = examples, square
        self.penalty, self.bias_penalty = penalty.weights, penalty.bias
        n_axes, n_tags = examples.images.shape[1], examples.prior.shape[1]
        self.weights = np.zeros((n_axes, n_tags), np.float32)
        self.bias = np.zeros(n_tags, np.float32)
        self.logit = examples.prior.copy()
        self.loss = self._loss(np.arange(n_tags), self.logit, self.weights, self.bias)

    def step(self) -> None:
        """Take one Newton step, each tag as much of it as lowers its loss."""
        weights, bias, moved = self._direction()
        left, share = np.arange(len(self.bias)), 1.0
        for _ in range(_HALVINGS):
            at = (
                self.logit[:, left] + share * moved[:, left],
                self.weights[:, left] + share * weights[:, left],
                self.bias[left] + share * bias[left],
            )
            loss = self._loss(left, *at)
            better = loss <= self.loss[left] * (1 + 1e-6)
            tags = left[better]
            self.logit[:, tags], self.weights[:, tags] = at[0][:, better], at[1][:, better]
            self.bias[tags], self.loss[tags] = at[2][better], loss[better]
            left, share = left[~better], share * 0.3
            if not len(left):
                break  # what no share of the step lowers stays

    def _direction(self) -> tuple[Singles, Singles, Singles]:
        """Return the Newton step in weights, in bias, and what it does to the logits."""
        images, weight = self.examples.images, self.examples.weight
        proba = expit(self.logit)
        residual = weight * (self.examples.true - proba)
        curvature = weight * proba * (1 - proba)
        left = images.T @ residual - self.penalty * self.weights
        left_bias = residual.sum(axis=0) - self.bias_penalty * self.bias
        mean = curvature.mean(axis=0)
        scale = 1 / (mean * self.square[:, None] + self.penalty)
        scale_bias = 1 / (curvature.sum(axis=0) + self.bias_penalty)
        step, step_bias = np.zeros_like(left), np.zeros_like(left_bias)
        moved = np.zeros_like(self.logit)
        way, way_bias = scale * left, scale_bias * left_bias
        size = _inner(left, way, left_bias, way_bias)
        for _ in range(_INNER_STEPS):
            along = images @ way + way_bias
            bent = curvature * along
            turned = images.T @ bent + self.penalty * way
            turned_bias = bent.sum(axis=0) + self.bias_penalty * way_bias
            length = size / np.maximum(_inner(way, turned, way_bias, turned_bias), _TINY)
            step += length * way
            step_bias += length * way_bias
            moved += length * along
            left = left - length * turned
            left_bias = left_bias - length * turned_bias
            next_way, next_bias = scale * left, scale_bias * left_bias
            rest = _inner(left, next_way, left_bias, next_bias)
            ratio = rest / np.maximum(size, _TINY)
            way, way_bias, size = next_way + ratio * way, next_bias + ratio * way_bias, rest
        return step, step_bias, moved

    def _loss(
        self, tags: NDArray[np.int64], logit: Singles, weights: Singles, bias: Singles
    ) -> NDArray[np.float64]:
        held = self.penalty[tags] * np.einsum("ij,ij->j", weights, weights)
        held += self.bias_penalty[tags] * bias**2
        true, weight = self.examples.true[:, tags], self.examples.weight[:, tags]
        return np.asarray(log_losses(logit, true, weight) + 0.5 * held, np.float64)


def _inner(one: Singles, other: Singles, bias: Singles, other_bias: Singles) -> Singles:
    return np.asarray(np.einsum("ij,ij->j", one, other) + bias * other_bias, np.float32)


def tag_blocks(n_tags: int, n_images: int) -> Iterator[slice]:
    """Yield slices of tags that are few enough for dense arrays of their pairs."""
    most = min(256, max(16, 2**25 // max(1, n_images)))
    for start in range(0, n_tags, most):
        yield slice(start, min(start + most, n_tags))
