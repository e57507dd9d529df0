"""Policies that promise a recall: it is kept, and nothing is promised of too little."""

import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit
from scipy.stats import binom

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.serving import ModerationSettings
from tagstack.ensemble.moderation.promises import LADDER, Promise, promised

VOCABULARY = Vocabulary(("gore", "blood", "hair"), ("violence", "violence", "general"))


def pictures(proba: np.ndarray) -> PairProba:
    """Return dense probabilities as pairs; NaN is not listed."""
    listed = ~np.isnan(proba)
    indptr = np.concatenate([[0], np.cumsum(listed.sum(1))]).astype(np.int64)
    pairs = Pairs(indptr=indptr, tag=np.nonzero(listed)[1].astype(np.int32), n_tags=3)
    base = np.full(3, 0.0005, np.float32)
    return PairProba(pairs=pairs, proba=proba[listed].astype(np.float32), base=base)


def promise(
    proba: np.ndarray, true: np.ndarray, *, groups: np.ndarray | None = None, policy: str = "gore"
) -> Promise:
    (found,) = promised(
        ModerationSettings(block=(policy,), review=(), allow=()),
        pictures(proba),
        sparse.csr_array(true),
        np.arange(len(true)) if groups is None else groups,
        VOCABULARY,
        recall=0.9,
        confidence=0.95,
    )
    return found


def drawn(rng: np.random.Generator, n: int, policy_tags: int = 1) -> tuple[np.ndarray, np.ndarray]:
    true = rng.random((n, 3)) < 0.3
    proba = expit(rng.normal(size=(n, 3)) + np.where(true, 1.5, -1.5))
    proba[rng.random((n, 3)) < 0.05] = np.nan  # no candidate: never caught
    return proba, true


@pytest.mark.parametrize("policy", ["gore", "category:violence"])
def test_the_probability_is_the_strictest_that_an_exact_test_allows(policy: str) -> None:
    proba, true = drawn(np.random.default_rng(0), 600)
    tags = [0] if policy == "gore" else [0, 1]
    about = true[:, tags].any(axis=1)
    score = np.nanmax(np.where(np.isnan(proba), -1, proba)[:, tags], axis=1).astype(np.float32)
    kept = [
        step
        for step in LADDER
        if binom.sf((score[about] >= step).sum() - 1, about.sum(), 0.9) <= 0.05
    ]
    found = promise(proba, true, policy=policy)
    assert found.proba == kept[-1]
    assert found.written == f"{policy}>={kept[-1]:g}"
    assert found.n_groups == about.sum()
    assert found.n_caught == (score[about] >= kept[-1]).sum()
    assert found.held == pytest.approx((score >= kept[-1]).mean())


def test_promises_are_broken_no_oftener_than_said() -> None:
    """Of 400 draws, each judged on the truth of 40,000 pictures."""
    rng = np.random.default_rng(1)
    new, truth = drawn(rng, 40_000)
    score = np.where(np.isnan(new[:, 0]), -1, new[:, 0]).astype(np.float32)[truth[:, 0]]
    found = [promise(*drawn(rng, 500)).proba for _ in range(400)]
    kept = [step for step in found if step is not None]
    assert len(kept) > 200
    broken = np.mean([(score >= step).mean() < 0.9 for step in kept])
    assert 0.005 < broken <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(kept))


def test_a_group_counts_once_and_too_few_promise_nothing() -> None:
    proba, true = drawn(np.random.default_rng(2), 600)
    found = promise(proba, true, groups=np.arange(600) % 20)
    assert (found.proba, found.n_groups, found.needed) == (None, 20, 29)
    assert found.written == found.policy == "gore"
    none = promise(proba, np.zeros_like(true))
    assert (none.proba, none.n_groups) == (None, 0)
    assert np.isnan(none.recall)


def test_without_a_promise_the_figures_are_those_of_the_policy_as_it_was_written() -> None:
    proba, true = drawn(np.random.default_rng(4), 20)
    score = np.where(np.isnan(proba[:, 0]), -1, proba[:, 0])
    found = promise(proba, true, policy="gore>=.85")
    assert (found.proba, found.written) == (None, "gore>=.85")
    assert found.n_caught == (score[true[:, 0]] >= 0.85).sum() < found.n_groups
    assert found.held == (score >= 0.85).mean()
    by_threshold = promise(proba, true)  # the bundle's threshold decides; nothing is known of it
    assert by_threshold.n_caught is None
    assert np.isnan([by_threshold.recall, by_threshold.low, by_threshold.held]).all()


def test_a_policy_about_no_tag_is_refused() -> None:
    with pytest.raises(TagstackError, match="about no tag"):
        promise(*drawn(np.random.default_rng(3), 10), policy="gor")
