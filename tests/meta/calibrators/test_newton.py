from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from tagstack.meta.calibrators.newton import fit_hierarchy, fit_segments
from tagstack.meta.calibrators.tag_rows import tag_rows


def case(rng: np.random.Generator, n_rows: int = 400) -> tuple[Any, ...]:
    """Weighted rows of six tags in two categories; tag 5 has none."""
    columns = rng.normal(size=(2, n_rows)) * 2
    tag = rng.integers(0, 5, n_rows)
    true = rng.random(n_rows) < 1 / (1 + np.exp(-(columns[0] - 0.5 * columns[1] - 1)))
    weight = rng.integers(0, 4, n_rows).astype(float)
    category = np.array([0, 0, 1, 1, 1, 0])
    return columns, true, weight, tag, category


def reference(columns: Any, true: Any, weight: Any, centre: Any, precision: Any) -> Any:
    """Minimise the penalised negative log likelihood with a general-purpose optimiser."""
    design = np.concatenate([np.ones((1, columns.shape[1])), columns])

    def loss(theta: Any) -> float:
        logit = theta @ design
        nll = weight * (np.logaddexp(0, logit) - true * logit)
        return float(nll.sum() + 0.5 * (precision * (theta - centre) ** 2).sum())

    return minimize(loss, centre, method="BFGS", options={"gtol": 1e-6}).x


def test_every_segment_agrees_with_a_general_optimiser(rng: np.random.Generator) -> None:
    columns, true, weight, tag, category = case(rng)
    rows = tag_rows(columns, true, weight, tag, category)
    centre = np.tile([0.1, 0.5, 0.5], (len(rows.tags), 1))
    precision = np.array([0.5, 2.0, 5.0])
    theta = fit_segments(rows, rows.tag_start, centre, precision)

    for i, t in enumerate(rows.tags):
        of = tag == t
        expected = reference(columns[:, of], true[of], weight[of], centre[0], precision)
        np.testing.assert_allclose(theta[i], expected, atol=2e-4)


def test_strong_prior_gives_the_pooled_fit_and_weak_prior_each_tag_its_own(
    rng: np.random.Generator,
) -> None:
    columns, true, weight, tag, category = case(rng)
    rows = tag_rows(columns, true, weight, tag, category)
    prior = np.array([0.0, 0.5, 0.5])
    pooled = reference(columns, true, weight, prior, np.full(3, 1e-2))

    tight = fit_hierarchy(rows, prior, np.full(3, 1e9))
    np.testing.assert_allclose(tight, np.tile(pooled, (6, 1)), atol=1e-3)
    loose = fit_hierarchy(rows, prior, np.full(3, 1e-3))
    alone = reference(columns[:, tag == 2], true[tag == 2], weight[tag == 2], pooled, 1e-3)
    np.testing.assert_allclose(loose[2], alone, atol=2e-2)


def test_rows_fitted_before_at_other_strengths_give_the_same(rng: np.random.Generator) -> None:
    """The fit over all tags is kept, but not where something else holds it."""
    prior, bound = np.array([0.0, 0.5, 0.5]), np.array([-np.inf, 0.8, 0.0])
    ways: list[tuple[Any, ...]] = [
        (prior, np.full(3, 5.0), None),
        (prior, np.full(3, 500.0), None),
        (prior, np.array([1e12, 5.0, 5.0]), None),
        (prior + 0.2, np.full(3, 5.0), None),
        (prior, np.full(3, 5.0), bound),
    ]
    drawn = case(rng)
    shared = tag_rows(*drawn)
    for held_to, precision, least in ways:
        again = fit_hierarchy(shared, held_to, precision, least=least)
        fresh = fit_hierarchy(tag_rows(*drawn), held_to, precision, least=least)
        np.testing.assert_array_equal(again, fresh)


def test_a_tag_without_rows_takes_its_category(rng: np.random.Generator) -> None:
    columns, true, weight, tag, category = case(rng)
    rows = tag_rows(columns, true, weight, tag, category)
    prior, precision = np.array([0.0, 0.5, 0.5]), np.full(3, 5.0)
    theta = fit_hierarchy(rows, prior, precision)
    only_first = tag_rows(columns, true, weight * (category[tag] == 0), tag, category)

    assert not np.allclose(theta[5], theta[2])
    assert np.abs(theta[5] - theta[[0, 1]].mean(0)).max() < 0.5
    assert len(only_first.categories) == 1


def test_separable_rows_stay_finite() -> None:
    columns = np.array([[-3.0, -2.0, 2.0, 3.0]])
    true = np.array([False, False, True, True])
    rows = tag_rows(columns, true, np.ones(4), np.zeros(4, int), np.zeros(1, int))
    theta = fit_hierarchy(rows, np.array([0.0, 1.0]), np.full(2, 1.0))
    assert np.isfinite(theta).all()
    assert theta[0, 1] > 0.5


def test_no_rows_at_all_return_the_prior() -> None:
    rows = tag_rows(
        np.zeros((1, 3)), np.zeros(3, bool), np.zeros(3), np.arange(3), np.zeros(3, int)
    )
    theta = fit_hierarchy(rows, np.array([0.0, 1.0]), np.full(2, 1.0))
    np.testing.assert_array_equal(theta, np.tile([0.0, 1.0], (3, 1)))


@pytest.mark.parametrize("seed", [0, 1])
def test_order_of_rows_changes_nothing_that_matters(seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns, true, weight, tag, category = case(rng)
    shuffled = rng.permutation(len(tag))
    precision, prior = np.full(3, 3.0), np.array([0.0, 0.5, 0.5])
    first = fit_hierarchy(tag_rows(columns, true, weight, tag, category), prior, precision)
    rows = tag_rows(columns[:, shuffled], true[shuffled], weight[shuffled], tag[shuffled], category)
    np.testing.assert_allclose(fit_hierarchy(rows, prior, precision), first, atol=1e-6)


def test_compiled_code_finds_the_same_coefficients(rng: np.random.Generator) -> None:
    pytest.importorskip("numba", reason="the compiled fits need the extra `fast`")
    columns, true, weight, tag, category = case(rng, 3001)
    columns[0, :5] = [900.0, -900.0, 40.0, -1e-300, 0.0]  # where exponentials end
    true[:2] = [True, False]
    rows = tag_rows(columns, true, weight, tag, category)
    for centre, precision in (
        (np.tile([0.1, 0.5, 0.5], (5, 1)), np.array([0.5, 2.0, 5.0])),
        (np.tile([4.0, -9.0, 7.0], (5, 1)), np.full(3, 1e-3)),  # far off: steps are halved
        (np.zeros((5, 3)), np.array([1.0, 1e12, 1.0])),  # a coefficient that is held
    ):
        found, plain = (
            fit_segments(rows, rows.tag_start, centre, precision, compiled=way)
            for way in (True, False)
        )
        assert found == pytest.approx(plain, rel=1e-11, abs=1e-12)


def test_tags_of_all_sizes_converge_alike_in_compiled_code(rng: np.random.Generator) -> None:
    """Small and large ones need different steps; trees grow apart from the eighth digit on."""
    pytest.importorskip("numba", reason="the compiled fits need the extra `fast`")
    tag = (rng.zipf(1.5, 6000) % 60).astype(np.int64)
    columns, slopes = rng.normal(size=(3, 6000)) * 2, rng.normal(0.3, 0.5, (60, 3))
    true = rng.random(6000) < expit((slopes[tag].T * columns).sum(axis=0) - 2)
    rows = tag_rows(columns, true, np.ones(6000), tag, np.arange(60) % 3)
    centre = np.tile([0.0, 0.3, 0.3, 0.3], (len(rows.tags), 1))
    found, plain = (
        fit_segments(rows, rows.tag_start, centre, np.ones(4), compiled=way)
        for way in (True, False)
    )
    assert found == pytest.approx(plain, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_segment_does_not_depend_on_the_others(rng: np.random.Generator, compiled: bool) -> None:
    if compiled:
        pytest.importorskip("numba", reason="the compiled fits need the extra `fast`")
    columns, true, weight, tag, category = case(rng, 3001)
    rows = tag_rows(columns, true, weight, tag, category)
    of = tag == 3
    alone = tag_rows(columns[:, of], true[of], weight[of], tag[of], category)
    centre, precision = np.zeros((5, 3)), np.ones(3)
    every = fit_segments(rows, rows.tag_start, centre, precision, compiled=compiled)
    one = fit_segments(alone, alone.tag_start, centre[:1], precision, compiled=compiled)
    assert np.array_equal(every[3], one[0])
