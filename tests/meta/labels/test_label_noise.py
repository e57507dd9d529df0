"""Suspicious labels: planted errors are found first, clean labels raise few suspicions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import expit, logit

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.configs.stack import StackSettings
from tagstack.meta.labels.label_noise import label_suspects
from tagstack.meta.labels.missing_labels import labelled_rates, pair_weights
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import PairTruth
from tagstack.meta.stack.stacker import Stacker

NOTHING = sparse.csr_array((400, 6), dtype=bool)


def case(seed: int, floor: float = 0.02) -> tuple[PairProba, Any]:
    """Calibrated probabilities of 400 images and 6 tags, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    dense = expit(rng.normal(-1.5, 3.0, (400, 6)))
    labels = rng.random(dense.shape) < dense
    listed = dense >= floor
    pairs = Pairs(
        indptr=np.concatenate([[0], np.cumsum(listed.sum(1))]).astype(np.int64),
        tag=np.nonzero(listed)[1].astype(np.int32),
        n_tags=6,
    )
    base = np.full(6, floor / 2, np.float32)
    return PairProba(pairs=pairs, proba=dense[listed].astype(np.float32), base=base), labels


def found(suspects: Any) -> list[tuple[int, int]]:
    return list(zip(suspects.image.tolist(), suspects.tag.tolist(), strict=True))


def test_planted_errors_come_first() -> None:
    proba, labels = case(0)
    dense = proba.dense()
    rng = np.random.default_rng(1)
    sure = np.argwhere(labels & (dense > 0.97))
    absent = np.argwhere(~labels & (dense < 0.03))
    dropped = {tuple(p) for p in rng.permutation(sure)[:15].tolist()}
    added = {tuple(p) for p in rng.permutation(absent)[:15].tolist()}
    for image, tag in dropped:
        labels[image, tag] = False
    for image, tag in added:
        labels[image, tag] = True
    suspects = label_suspects(proba, sparse.csr_array(labels), NOTHING)
    assert len(set(found(suspects.missing)[:20]) & dropped) >= 12
    assert len(set(found(suspects.wrong)[:20]) & added) >= 12
    assert suspects.n_labels == labels.sum()


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=25)
def test_lists_agree_with_confident_learning_on_dense_arrays(seed: int) -> None:
    proba, labels = case(seed)
    unknown = np.random.default_rng(seed).random(labels.shape) < 0.1
    got = label_suspects(proba, sparse.csr_array(labels), sparse.csr_array(unknown))
    dense = proba.dense().astype(np.float64)
    true, false = labels & ~unknown, ~labels & ~unknown
    missing: set[Any] = set()
    wrong: set[Any] = set()
    for tag in range(6):
        of_true = dense[true[:, tag], tag].mean()
        of_false = dense[false[:, tag], tag].mean()
        missing |= {
            (i, tag) for i in np.flatnonzero(false[:, tag] & (dense[:, tag] > max(of_true, 0.5)))
        }
        wrong |= {(i, tag) for i in np.flatnonzero(true[:, tag] & (dense[:, tag] < of_false))}
    assert set(found(got.missing)) == missing
    assert set(found(got.wrong)) == wrong
    assert (np.diff(got.missing.proba) <= 0).all()
    below = logit(got.wrong.proba) - logit(got.wrong.usual)
    assert (np.diff(below) >= -1e-6).all()


def test_a_tag_with_few_labels_has_no_missing_ones() -> None:
    proba, labels = case(2)
    labels[:, 3] = False
    labels[:4, 3] = True
    suspects = label_suspects(proba, sparse.csr_array(labels), NOTHING)
    assert 3 not in suspects.missing.tag


def test_an_abstaining_tag_is_on_neither_list() -> None:
    proba, labels = case(3)
    proba.base[2] = np.nan
    proba.proba[proba.pairs.tag == 2] = np.nan
    suspects = label_suspects(proba, sparse.csr_array(labels), NOTHING)
    assert 2 not in suspects.missing.tag
    assert 2 not in suspects.wrong.tag


def incomplete(seed: int, rate: float, n: int = 6000) -> tuple[Any, Any, Any, Any]:
    """One tag: chances, labels with some forgotten, and the chance of being labelled."""
    rng = np.random.default_rng(seed)
    chance = expit(rng.normal(-1.0, 4.0, n))
    true = rng.random(n) < chance
    labelled = true & (rng.random(n) < rate)
    truth = PairTruth(
        listed=labelled,
        known=np.ones(n, bool),
        weight=np.ones(n),
        n_true=np.zeros(1, np.int64),
        n_false=np.zeros(1, np.int64),
    )
    return chance, true, truth, rate * chance


@pytest.mark.parametrize("rate", [0.5, 0.7, 0.9, 1.0])
def test_the_rate_of_labelling_is_found(rate: float) -> None:
    _, _, truth, proba = incomplete(0, rate, n=30_000)
    tag, category = np.zeros(len(proba), int), np.zeros(1, np.int64)
    assert labelled_rates(proba, truth, tag, category)[0] == pytest.approx(rate, abs=0.05)


def test_weights_make_incomplete_labels_add_up_to_the_truth() -> None:
    """Weighted sums over any region are those of the complete labels, up to chance."""
    chance, true, truth, proba = incomplete(1, 0.6, n=60_000)
    tag = np.zeros(len(proba), int)
    weight = pair_weights(proba, truth, tag, np.array([0.6]))
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        region = (chance >= low) & (chance < high)
        share = (weight * truth.listed)[region].sum() / weight[region].sum()
        assert share == pytest.approx(true[region].mean(), abs=0.03)


def test_complete_labels_weigh_one_and_unknown_ones_nothing() -> None:
    _, _, truth, proba = incomplete(2, 0.7, n=100)
    tag = np.zeros(100, int)
    np.testing.assert_allclose(pair_weights(proba, truth, tag, np.ones(1)), 1.0)
    truth.known[:10] = False
    assert (pair_weights(proba, truth, tag, np.array([0.7]))[:10] == 0).all()


def test_too_few_labels_borrow_the_rate_of_all() -> None:
    _, _, truth, proba = incomplete(3, 0.7)
    tag = np.zeros(len(proba), int)
    tag[:20] = 1
    rates = labelled_rates(proba, truth, tag, np.array([0, 1]))
    assert rates[1] == pytest.approx(rates[0], abs=0.02)


def fitted(data: Any, labels: Any, settings: StackSettings) -> Stacker:
    return Stacker(settings, seed=0, threads=1).fit(
        data.scores, sparse.csr_array(labels), data.groups, TagRelations.none(labels.shape[1])
    )


def test_reweighted_fits_give_probabilities_of_the_truth(
    make_labelled: Callable[..., Any], stack_settings: Callable[..., StackSettings]
) -> None:
    """With four of ten labels forgotten, plain fits say six tags where there are ten."""
    data = make_labelled(n_images=600, noise=(0.7, 0.9))
    true = data.labels.toarray()
    seen = true & (np.random.default_rng(9).random(true.shape) < 0.6)
    ignoring, reweighted = (
        fitted(data, seen, stack_settings(learners=("lightgbm",), missing_labels=way))
        for way in ("negative", "reweighted")
    )
    for rung in ("calibrated_mean", "shrunken_logistic", "lightgbm"):
        shares = [s.out_of_fold(rung).dense().sum() / true.sum() for s in (ignoring, reweighted)]
        assert shares[0] == pytest.approx(0.6, abs=0.05)
        assert shares[1] == pytest.approx(1.0, abs=0.12), rung


def test_reweighting_complete_labels_changes_little(
    make_labelled: Callable[..., Any], stack_settings: Callable[..., StackSettings]
) -> None:
    data = make_labelled(n_images=600, noise=(0.7, 0.9))
    plain, reweighted = (
        fitted(data, data.labels.toarray(), stack_settings(learners=(), missing_labels=way))
        for way in ("negative", "reweighted")
    )
    one, other = (s.out_of_fold("shrunken_logistic").dense() for s in (plain, reweighted))
    assert np.abs(one - other).mean() < 0.01
