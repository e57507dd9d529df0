"""Calibrators: one contract for all, and an independent reference for each."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from venn_abers import VennAbers  # type: ignore[import-untyped]

from tagstack.meta.calibrators.calibration import category_numbers
from tagstack.meta.calibrators.protocol import How, Sample
from tagstack.meta.calibrators.registry import fit_maps, maps_from_arrays, named_arrays
from tagstack.meta.calibrators.step_maps import StepMaps
from tagstack.meta.labels.truth import PairTruth
from tests.meta.calibrators.test_calibration import fit_members

MakeLabelled = Callable[..., Any]

FITTED = ("platt", "beta", "isotonic", "temperature", "venn_abers")
POOLS = ("tag", "category", "hierarchical")


def how(kind: Any, pool: Any = "hierarchical", strength: float = 30.0) -> How:
    return How(kind=kind, pool=pool, strength=strength)


def sample(seed: int, n_rows: int = 600, n_tags: int = 5, decimals: int = 9) -> Sample:
    """Rows of overconfident logits; the last tag has rows but no positive, and one none at all."""
    rng = np.random.default_rng(seed)
    tag = rng.integers(0, n_tags, n_rows)
    raw = rng.normal(-1.0, 2.5, n_rows).round(decimals)
    true = (rng.random(n_rows) < expit(0.5 * raw - 0.7 + 0.3 * tag)) & (tag < n_tags - 1)
    weight = rng.integers(1, 4, n_rows).astype(float)
    category = np.append(np.arange(n_tags) % 2, 0)
    return Sample(logit=raw, weight=weight, true=true, tag=tag.astype(np.int64), category=category)


def alone(rows: Sample) -> Sample:
    """Return the same rows as if all were of one tag."""
    nothing = np.zeros_like(rows.tag)
    return replace(rows, tag=nothing, category=np.zeros(1, np.int64))


GRID = np.linspace(-12, 12, 97)


def on_grid(maps: Any, n_tags: int) -> Any:
    """Return the maps' values on a grid of logits, shape (n_tags, n_points)."""
    return np.stack([maps.apply(np.full(len(GRID), t), GRID) for t in range(n_tags)])


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("kind", ["none", *FITTED])
class TestContract:
    @settings(deadline=None, max_examples=15)
    @given(seed=st.integers(0, 10_000))
    def test_maps_rise_and_stay_finite(self, kind: str, pool: str, seed: int) -> None:
        values = on_grid(fit_maps(sample(seed), how(kind, pool)), 6)
        assert np.isfinite(values).all()
        assert (np.diff(values, axis=1) > 0).all()
        assert ((expit(values) > 0) & (expit(values) < 1)).all()

    def test_abstentions_stay_missing(self, kind: str, pool: str) -> None:
        maps = fit_maps(sample(0), how(kind, pool))
        values = maps.apply(np.array([0, 1, 5]), np.array([np.nan, 0.5, np.nan]))
        assert np.isnan(values).tolist() == [True, False, True]

    def test_order_of_rows_does_not_matter(self, kind: str, pool: str) -> None:
        rows, order = sample(1), np.random.default_rng(2).permutation(600)
        shuffled = replace(
            rows,
            logit=rows.logit[order],
            weight=rows.weight[order],
            true=rows.true[order],
            tag=rows.tag[order],
        )
        one, other = (on_grid(fit_maps(r, how(kind, pool)), 6) for r in (rows, shuffled))
        np.testing.assert_allclose(one, other, atol=1e-6)

    def test_a_pair_s_value_does_not_depend_on_the_others(self, kind: str, pool: str) -> None:
        maps, rng = fit_maps(sample(2), how(kind, pool)), np.random.default_rng(3)
        tag, raw = rng.integers(0, 6, 50), rng.normal(size=50) * 4
        together = maps.apply(tag, raw)
        one_by_one = [maps.apply(tag[i : i + 1], raw[i : i + 1])[0] for i in range(50)]
        np.testing.assert_array_equal(together, one_by_one)

    def test_same_bits_after_saving_and_loading(self, kind: str, pool: str, tmp_path: Path) -> None:
        maps = fit_maps(sample(4), how(kind, pool))
        arrays = named_arrays("rung:a:b:", maps) | named_arrays("rung:a:", maps)
        save_file(arrays, tmp_path / "x.safetensors")
        back = maps_from_arrays("rung:a:b:", load_file(tmp_path / "x.safetensors"))
        np.testing.assert_array_equal(on_grid(maps, 6), on_grid(back, 6))
        assert back.kind == kind

    def test_rows_of_whole_weight_count_like_so_many_rows(self, kind: str, pool: str) -> None:
        rows = sample(5)
        times = rows.weight.astype(int)
        repeated = replace(
            rows,
            logit=np.repeat(rows.logit, times),
            weight=np.ones(times.sum()),
            true=np.repeat(rows.true, times),
            tag=np.repeat(rows.tag, times),
        )
        one, other = (on_grid(fit_maps(r, how(kind, pool)), 6) for r in (rows, repeated))
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("kind", FITTED)
class TestPools:
    def test_without_strength_each_tag_is_alone(self, kind: str) -> None:
        rows = sample(6, n_rows=4000)
        held = on_grid(fit_maps(rows, how(kind, "hierarchical", 1e-9)), 4)
        own = on_grid(fit_maps(rows, how(kind, "tag")), 4)
        np.testing.assert_allclose(expit(held), expit(own), atol=2e-3)
        for tag in range(4):
            of = rows.tag == tag
            part = replace(
                rows, logit=rows.logit[of], weight=rows.weight[of], true=rows.true[of],
                tag=rows.tag[of],
            )  # fmt: skip
            single = on_grid(fit_maps(alone(part), how(kind, "tag")), 1)[0]
            np.testing.assert_allclose(expit(own[tag]), expit(single), atol=1e-5)

    def test_with_infinite_strength_all_tags_are_one(self, kind: str) -> None:
        rows = sample(7)
        held = on_grid(fit_maps(rows, how(kind, "hierarchical", np.inf)), 6)
        pooled = on_grid(fit_maps(alone(rows), how(kind, "category")), 1)[0]
        for values in held:
            np.testing.assert_allclose(expit(values), expit(pooled), atol=2e-3)

    def test_a_category_is_fitted_as_one_tag(self, kind: str) -> None:
        rows = sample(8)
        values = on_grid(fit_maps(rows, how(kind, "category")), 6)
        for number in (0, 1):
            of = rows.category[rows.tag] == number
            part = replace(
                rows, logit=rows.logit[of], weight=rows.weight[of], true=rows.true[of],
                tag=rows.tag[of],
            )  # fmt: skip
            pooled = on_grid(fit_maps(alone(part), how(kind, "tag")), 1)[0]
            for tag in np.flatnonzero(rows.category == number):
                np.testing.assert_allclose(expit(values[tag]), expit(pooled), atol=1e-5)

    def test_a_tag_without_positives_stays_below_its_category(self, kind: str) -> None:
        values = on_grid(fit_maps(sample(9), how(kind)), 6)
        assert expit(values[4]).max() < 1
        if kind != "temperature":  # which cannot move a tag's level
            assert expit(values[4]).sum() < expit(values[0]).sum()

    def test_a_tag_without_rows_has_its_category(self, kind: str) -> None:
        values = on_grid(fit_maps(sample(9), how(kind, "category")), 6)
        np.testing.assert_array_equal(values[5], values[0])


@pytest.mark.parametrize("kind", ["platt", "beta", "isotonic", "venn_abers"])
def test_probabilities_add_up_to_the_positives_unlisted_pairs_included(
    make_labelled: MakeLabelled, kind: str
) -> None:
    data = make_labelled(n_images=400, floor=-1.5)
    truth = PairTruth.of(data.scores.pairs, data.labels)
    members = fit_members(data.scores, truth, how(kind)).apply(data.scores)
    unlisted = (truth.n_true + truth.n_false)[None] * expit(members.base)
    expected = expit(members.listed).sum(axis=1) + unlisted.sum(axis=1)
    np.testing.assert_allclose(expected, data.labels.sum(), rtol=0.06)


@pytest.mark.parametrize("kind", ["none", *FITTED])
def test_members_that_lack_a_tag_abstain(make_labelled: MakeLabelled, kind: str) -> None:
    data = make_labelled(n_images=100)
    data.scores.knows[1, 3] = False
    data.scores.logit[1, data.scores.pairs.tag == 3] = np.nan
    truth = PairTruth.of(data.scores.pairs, data.labels)
    members = fit_members(data.scores, truth, how(kind)).apply(data.scores)
    np.testing.assert_array_equal(np.isnan(members.listed), np.isnan(data.scores.logit))
    np.testing.assert_array_equal(np.isnan(members.base), ~data.scores.knows)
    assert len(category_numbers(data.scores.vocabulary)) == 12


def one_tag(seed: int, decimals: int = 9) -> Sample:
    return alone(sample(seed, n_tags=3, decimals=decimals))


def test_platt_and_beta_agree_with_scikit_learn() -> None:
    rows = one_tag(10)
    p = expit(rows.logit)
    columns = {"platt": [rows.logit], "beta": [np.log(p), -np.log1p(-p)]}
    for kind, of_row in columns.items():
        reference = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
        reference.fit(np.stack(of_row, axis=1), rows.true, sample_weight=rows.weight)
        theta = fit_maps(rows, how(kind, "tag")).arrays()["theta"][0]
        expected = np.append(reference.intercept_, reference.coef_)
        assert (expected[1:] > 0.05).all()
        np.testing.assert_allclose(theta, expected, atol=0.02)


def test_temperature_agrees_with_a_scalar_search() -> None:
    rows = one_tag(11)

    def loss(slope: Any) -> float:
        z = slope * rows.logit
        return float((rows.weight * (np.logaddexp(0, z) - rows.true * z)).sum())

    expected = minimize(loss, [1.0], bounds=[(0.05, 10)]).x[0]
    theta = fit_maps(rows, how("temperature", "tag")).arrays()["theta"][0]
    np.testing.assert_allclose(theta, [0.0, expected], atol=1e-3)


def test_a_falling_source_is_held_at_a_slight_rise_and_the_level_fitted() -> None:
    rows = one_tag(12)
    for kind in ("platt", "beta"):
        falling = replace(rows, logit=-rows.logit)
        maps = fit_maps(falling, how(kind, "tag"))
        slopes = maps.arrays()["theta"][0, 1:]
        np.testing.assert_allclose(slopes, 0.05)
        proba = expit(maps.apply(falling.tag, falling.logit))
        share = (rows.weight * rows.true).sum() / rows.weight.sum()
        assert (rows.weight * proba).sum() / rows.weight.sum() == pytest.approx(share, abs=2e-3)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=20)
def test_isotonic_agrees_with_scikit_learn(seed: int) -> None:
    rows = one_tag(seed, decimals=1)
    maps = fit_maps(rows, how("isotonic", "tag"))
    assert isinstance(maps, StepMaps)
    reference = IsotonicRegression()
    reference.fit(rows.logit, rows.true.astype(float), rows.weight)
    expected = reference.predict(rows.logit)
    edge = 0.5 / (rows.weight.sum() + 1)
    got = expit(maps.look_up(np.zeros(len(rows.tag), np.int64) + 1, rows.logit))
    np.testing.assert_allclose(got, np.clip(expected, edge, 1 - edge), atol=1e-9)


@pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning")  # inside the package
@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=10)
def test_venn_abers_agrees_with_the_package(seed: int) -> None:
    """On few distinct logits ours gathers nothing, and both compute the same two regressions."""
    rng = np.random.default_rng(seed)
    raw = rng.choice(np.linspace(-3, 3, 30).round(2), 200)
    true = rng.random(200) < expit(raw)
    rows = Sample(
        logit=raw,
        weight=np.ones(200),
        true=true,
        tag=np.zeros(200, np.int64),
        category=np.zeros(1, np.int64),
    )
    reference = VennAbers()
    p = expit(raw)
    reference.fit(np.stack([1 - p, p], axis=1), true.astype(int))
    distinct = np.unique(raw)
    q = expit(distinct)
    expected = reference.predict_proba(np.stack([1 - q, q], axis=1))[0][:, 1]
    maps = fit_maps(rows, how("venn_abers", "tag"))
    assert isinstance(maps, StepMaps)
    got = expit(maps.look_up(np.ones(len(distinct), np.int64), distinct))
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_venn_abers_in_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from tagstack.meta.calibrators import venn_abers

    rows = sample(14)
    whole = on_grid(fit_maps(rows, how("venn_abers")), 6)
    monkeypatch.setattr(venn_abers, "_ROWS_AT_ONCE", 1000)
    np.testing.assert_allclose(on_grid(fit_maps(rows, how("venn_abers")), 6), whole, rtol=1e-12)


def test_no_rows_at_all_leave_logits_as_they_are() -> None:
    empty = Sample(
        logit=np.zeros(0),
        weight=np.zeros(0),
        true=np.zeros(0, bool),
        tag=np.zeros(0, np.int64),
        category=np.zeros(3, np.int64),
    )
    for kind in FITTED:
        maps = fit_maps(empty, how(kind))
        np.testing.assert_array_equal(maps.apply(np.array([2]), np.array([0.5])), [0.5])


def test_arrays_that_are_not_there_are_an_error() -> None:
    with pytest.raises(KeyError, match="rung:x:"):
        maps_from_arrays("rung:x:", {"rung:y:platt.theta": np.zeros((1, 2))})


def test_a_reference_logit_survives_isotonic_of_a_calibrated_source() -> None:
    """Calibrating what is calibrated moves little, whatever the calibrator."""
    rng = np.random.default_rng(0)
    raw = rng.normal(-1, 1.5, 20_000)
    rows = Sample(
        logit=raw,
        weight=np.ones(len(raw)),
        true=rng.random(len(raw)) < expit(raw),
        tag=np.zeros(len(raw), np.int64),
        category=np.zeros(1, np.int64),
    )
    at = logit(np.array([0.1, 0.3, 0.5, 0.7]))
    for kind in FITTED:
        maps = fit_maps(rows, how(kind))
        np.testing.assert_allclose(
            expit(maps.apply(np.zeros(4, np.int64), at)), [0.1, 0.3, 0.5, 0.7], atol=0.06
        )
