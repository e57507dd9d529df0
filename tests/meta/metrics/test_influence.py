from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score

from tagstack.meta.metrics import influence
from tagstack.meta.metrics.ranking import Rankings, area_of, falling_order

Floats = NDArray[np.float64]


@st.composite
def rankings(draw: st.DrawFn) -> Rankings:
    """Draw a few rankings with ties, some without a true pair, one perhaps without any row."""
    n = draw(st.integers(1, 40))
    key = np.array(draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.int64)
    value = np.array(
        draw(st.lists(st.integers(0, 6), min_size=n, max_size=n)), np.float32
    ) / np.float32(7)
    true = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n))).astype(np.int64)
    return Rankings(
        key=key, value=value, count=np.ones(n, np.int64), true=true,
        n_true=np.bincount(key, weights=true, minlength=4).astype(np.int64),
    )  # fmt: skip


@given(rows=rankings())
@settings(max_examples=100, deadline=None)
def test_compiled_code_says_the_same(rows: Rankings) -> None:
    compiled = pytest.importorskip(
        "tagstack.meta.metrics.compiled_rankings", reason="needs the extra `fast`"
    )
    rows = replace(rows, count=rows.count * (1 + 3 * (rows.true == 0)))
    order = falling_order(rows.value)
    assert compiled.falling(rows.value).tolist() == order.tolist()
    asked = (order, rows.key, rows.value, rows.count, rows.true, rows.n_true)
    area, pull = influence.average_precision_influence(rows)
    assert compiled.areas(*asked).tobytes() == area.tobytes()  # the same bits
    found, pulled = compiled.influences(*asked)
    assert found == pytest.approx(area, rel=1e-12, nan_ok=True)
    assert pulled == pytest.approx(pull, abs=1e-12)


def weighted_ap(rows: Rankings, key: int, weight: Floats) -> float:
    """Average precision of one ranking by its definition, each row counting ``weight`` times."""
    own = rows.key == key
    value, true, weight = rows.value[own], rows.true[own] > 0, weight[own]
    found = 0.0
    for cut in np.unique(value):
        at, above = value == cut, value >= cut
        precision = weight[above & true].sum() / weight[above].sum()
        found += weight[at & true].sum() * precision
    return float(found / weight[true].sum())


def weighted_f1(rows: Rankings, key: int, weight: Floats, tagged: NDArray[np.bool_]) -> float:
    """F1 of one ranking by its definition, each row counting ``weight`` times."""
    own = rows.key == key
    true, tagged, weight = rows.true[own] > 0, tagged[own], weight[own]
    return float(2 * weight[true & tagged].sum() / (weight[true].sum() + weight[tagged].sum()))


@given(rankings())
@settings(max_examples=60, deadline=None)
def test_scores_are_scikit_learn_s(rows: Rankings) -> None:
    tagged = rows.value > 0.4
    area, f1 = area_of(rows), influence.f1(rows, tagged)
    for key in range(4):
        own = rows.key == key
        if not rows.n_true[key]:
            assert np.isnan(area[key])
            assert np.isnan(f1[key])
            continue
        assert area[key] == pytest.approx(average_precision_score(rows.true[own], rows.value[own]))
        assert f1[key] == pytest.approx(f1_score(rows.true[own], tagged[own], zero_division=0))


@given(rankings())
@settings(max_examples=40, deadline=None)
def test_influence_is_the_derivative_by_the_row_s_weight(rows: Rankings) -> None:
    tagged = rows.value > 0.4
    _, of_area = influence.average_precision_influence(rows)
    _, of_f1 = influence.f1_influence(rows, tagged)
    for row, key in enumerate(rows.key):
        if not rows.n_true[key]:
            assert of_area[row] == of_f1[row] == 0
            continue
        found = [of_area[row], of_f1[row]]
        scores: list[Callable[[Floats, int], float]] = [
            lambda weight, key: weighted_ap(rows, key, weight),
            lambda weight, key: weighted_f1(rows, key, weight, tagged),
        ]
        for value, score in zip(found, scores, strict=True):
            step = 1e-5 * (np.arange(len(rows.key)) == row)
            slope = (score(1 + step, int(key)) - score(1 - step, int(key))) / 2e-5
            assert value == pytest.approx(slope, abs=1e-6)


@given(rankings())
@settings(max_examples=40, deadline=None)
def test_influences_of_a_ranking_cancel(rows: Rankings) -> None:
    """A score does not change when every row counts twice."""
    tagged = rows.value > 0.4
    for found in (
        influence.average_precision_influence(rows)[1],
        influence.f1_influence(rows, tagged)[1],
    ):
        total = np.bincount(rows.key, weights=found, minlength=4)
        np.testing.assert_allclose(total, 0, atol=1e-12)


def test_a_row_that_stands_for_many_counts_like_many_rows() -> None:
    value = np.array([0.9, 0.5, 0.5, 0.5, 0.1], np.float32)
    true = np.array([1, 0, 0, 0, 1])
    n_true = np.array([2])
    many = Rankings(
        key=np.zeros(5, np.int64), value=value, count=np.ones(5, np.int64), true=true, n_true=n_true
    )
    kept = [0, 1, 4]
    few = Rankings(
        key=np.zeros(3, np.int64), value=value[kept], count=np.array([1, 3, 1]), true=true[kept],
        n_true=n_true,
    )  # fmt: skip
    area, found = influence.average_precision_influence(many)
    few_area, few_found = influence.average_precision_influence(few)
    assert few_area == pytest.approx(area)
    np.testing.assert_allclose(few_found, found[kept])


def test_cut_is_half_the_best_expected_f1(rng: np.random.Generator) -> None:
    value = rng.random(50).astype(np.float32)
    rows = Rankings(
        key=np.zeros(50, np.int64), value=value, count=np.ones(50, np.int64),
        true=np.zeros(50, np.int64), n_true=np.zeros(2, np.int64),
    )  # fmt: skip
    seen = np.arange(50) < 40
    cuts = influence.expected_f1_cuts(rows, seen)
    p = np.sort(value[seen].astype(np.float64))[::-1]
    best = max(2 * p[: k + 1].sum() / (k + 1 + p.sum()) for k in range(len(p)))
    assert cuts[0] == pytest.approx(best / 2)
    assert cuts[1] == np.inf
