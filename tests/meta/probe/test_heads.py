"""Heads of all tags together are the logistic regressions that a library fits one by one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from tagstack.meta.probe import heads
from tagstack.meta.probe.columns import COLUMN_STEPS, WEIGHT_BITS, Columns, weights_on_grid
from tagstack.meta.probe.heads import Basis, Examples, Penalty, fit_heads, log_losses, tag_blocks


def examples(rng: np.random.Generator, n_images: int = 150, n_columns: int = 12) -> Any:
    columns = rng.normal(0, 1, (n_images, n_columns)).astype(np.float32)
    columns[:, 1] = columns[:, 0] * 0.9 + columns[:, 1] * 0.1  # features are never independent
    prior = rng.normal(-1, 1, (n_images, 4)).astype(np.float32)
    true = (rng.random((n_images, 4)) < 1 / (1 + np.exp(-prior - columns[:, :4]))).astype(
        np.float32
    )
    true[:, 3] = 0  # a tag without a positive
    weight = (rng.random((n_images, 4)) < 0.9).astype(np.float32)
    return columns, prior, true, weight


def loss(theta: Any, columns: Any, prior: Any, true: Any, weight: Any, penalty: float) -> float:
    logit = prior + columns @ theta[:-1] + theta[-1]
    nats = (weight * (np.logaddexp(0, logit) - true * logit)).sum()
    return float(nats + 0.5 * penalty * (theta[:-1] ** 2).sum() + 0.5 * theta[-1] ** 2)


@pytest.mark.parametrize("penalty", [1.0, 30.0])
def test_heads_are_those_of_a_general_optimiser(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, penalty: float
) -> None:
    monkeypatch.setattr(heads, "_NEWTON_STEPS", 12)
    monkeypatch.setattr(heads, "_ENOUGH", 1e-9)
    columns, prior, true, weight = examples(rng)
    basis = Basis.of(columns, 99)
    strength = Penalty(weights=np.full(4, penalty, np.float32), bias=np.ones(4, np.float32))
    found = fit_heads(
        Examples(images=basis.images, prior=prior, true=true, weight=weight),
        basis.mean_square,
        strength,
    )
    weights = basis.axes @ found.weights
    for tag in range(4):
        own = (columns, prior[:, tag], true[:, tag], weight[:, tag], penalty)
        expected = minimize(loss, np.zeros(13), args=own, method="BFGS")
        theta = np.append(weights[:, tag], found.bias[tag])
        assert loss(theta, *own) <= expected.fun + 1e-3
        np.testing.assert_allclose(theta, expected.x, atol=0.02)


def test_the_few_steps_that_are_taken_come_near(rng: np.random.Generator) -> None:
    columns, prior, true, weight = examples(rng)
    basis = Basis.of(columns, 99)
    penalty = Penalty(weights=np.full(4, 5.0, np.float32), bias=np.ones(4, np.float32))
    made = Examples(images=basis.images, prior=prior, true=true, weight=weight)
    found = fit_heads(made, basis.mean_square, penalty)
    logit = prior + basis.images @ found.weights + found.bias
    gained = log_losses(prior, true, weight) - log_losses(logit, true, weight)
    assert (gained > 0).all()
    for tag in range(3):
        own = (columns, prior[:, tag], true[:, tag], weight[:, tag], 5.0)
        least = minimize(loss, np.zeros(13), args=own, method="BFGS").fun
        theta = np.append(basis.axes @ found.weights[:, tag], found.bias[tag])
        assert loss(theta, *own) - least < 0.02 * (loss(np.zeros(13), *own) - least)


def test_the_widest_axes_are_those_of_the_whole_decomposition(rng: np.random.Generator) -> None:
    columns = rng.normal(0, 1, (400, 300)).astype(np.float32)
    columns = (columns * 0.93 ** np.arange(300)) @ rng.normal(0, 1, (300, 300)).astype(np.float32)
    some, every = Basis.of(columns, 20), Basis.of(columns, 300)
    assert some.axes.shape == (300, 20)
    np.testing.assert_allclose(some.mean_square, every.mean_square[-20:], rtol=2e-3)
    # The same subspace, whatever the signs and turns inside of it.
    overlap = np.linalg.svd(some.axes.T @ every.axes[:, -20:], compute_uv=False)
    assert overlap.min() > 0.995
    np.testing.assert_allclose(some.axes.T @ some.axes, np.eye(20), atol=1e-4)


def test_what_nobody_knows_has_no_say(rng: np.random.Generator) -> None:
    columns, prior, true, weight = examples(rng)
    basis = Basis.of(columns, 99)
    penalty = Penalty(weights=np.full(4, 5.0, np.float32), bias=np.ones(4, np.float32))
    made = [
        fit_heads(
            Examples(images=basis.images, prior=prior, true=own, weight=weight),
            basis.mean_square,
            penalty,
        )
        for own in (true, np.where(weight > 0, true, 1 - true))
    ]
    np.testing.assert_array_equal(made[0].weights, made[1].weights)


@given(
    n_images=st.integers(1, 40),
    n_columns=st.integers(1, 300),
    seed=st.integers(0, 2**32 - 1),
    large=st.sampled_from([1e-3, 1.0, 1e4]),
)
@settings(max_examples=25, deadline=None)
def test_a_score_does_not_depend_on_its_company(
    n_images: int, n_columns: int, seed: int, large: float
) -> None:
    rng = np.random.default_rng(seed)
    features = (rng.normal(0, 1, (n_images, n_columns)) * large).astype(np.float16)
    columns = Columns.of([features]).apply([features])
    weights = weights_on_grid(rng.normal(0, large, (n_columns, 7))).astype(np.float64)
    whole = columns @ weights
    order = rng.permutation(n_columns)
    np.testing.assert_array_equal(columns[:, order] @ weights[order], whole)
    alone = np.concatenate([columns[i : i + 1] @ weights for i in range(n_images)])
    np.testing.assert_array_equal(alone, whole)
    # Near to what was asked for, and on the grid that makes this so.
    assert (columns * COLUMN_STEPS == np.rint(columns * COLUMN_STEPS)).all()
    np.testing.assert_array_equal(weights_on_grid(weights), weights.astype(np.float32))
    assert WEIGHT_BITS < 24


def test_columns_that_never_change_and_none_at_all() -> None:
    still = np.full((5, 2), 3.0, np.float16)
    nothing = np.empty((5, 0), np.float16)
    columns = Columns.of([nothing, still])
    assert len(columns) == 2
    np.testing.assert_array_equal(columns.apply([nothing, still]), np.zeros((5, 2)))
    other = columns.apply([nothing[:1], np.array([[9, -9]], np.float16)])
    np.testing.assert_array_equal(other, [[16, -16]])


def test_blocks_cover_every_tag_once() -> None:
    for n_tags, n_images in ((1, 1), (173, 5000), (10_861, 5000), (300, 10**7)):
        blocks = list(tag_blocks(n_tags, n_images))
        assert [i for block in blocks for i in range(block.start, block.stop)] == [*range(n_tags)]
