"""Metrics of a tag's counts: their score, their place in the gate, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.configs.stack import StackSettings
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.labels.truth import Evidence
from tagstack.meta.metrics.count_metrics import CountMetric, metric_of, score_of_counts
from tagstack.meta.metrics.fold_scores import FoldScorer
from tagstack.meta.metrics.influence import f1_influence, metric_influence
from tagstack.meta.metrics.ranking import Rankings, falling_order
from tagstack.meta.metrics.scores import Judged
from tagstack.meta.stack.stacker import Stacker

HEAD = "from tagstack.meta.metrics.count_metrics import score_of_counts\n"
F1 = (
    HEAD + "OWN = score_of_counts('own', 'Own', lambda tp, fp, fn, tn: tp / (tp + (fp + fn) / 2))\n"
)


def installed(install_package: Callable[..., Path], source: str = F1) -> CountMetric:
    install_package("own_metric", source, {"tagstack.metrics": {"own": "OWN"}})
    found = metric_of("own")
    assert found is not None
    return found


def scorer(metric: CountMetric | None, seed: int = 0) -> tuple[FoldScorer, PairProba]:
    rng = np.random.default_rng(seed)
    n, n_tags = 120, 5
    truth = rng.random((n, n_tags)) < 0.3
    proba = np.clip(0.3 + 0.4 * truth + 0.25 * rng.normal(size=truth.shape), 0.02, 0.98)
    listed = proba > 0.1
    pairs = Pairs(
        indptr=np.concatenate([[0], np.cumsum(listed.sum(1))]).astype(np.int64),
        tag=np.nonzero(listed)[1].astype(np.int32),
        n_tags=n_tags,
    )
    found = PairProba(
        pairs=pairs,
        proba=proba[listed].astype(np.float32),
        base=np.full(n_tags, 0.05, np.float32),
    )
    evidence = Evidence.of(sparse.csr_array(truth))
    folds, groups = np.arange(n) % 3, np.arange(n)
    return FoldScorer(pairs, evidence.truth(pairs), evidence, folds, groups, metric=metric), found


def test_a_metric_equal_to_f1_is_judged_as_f1(install_package: Callable[..., Path]) -> None:
    judge, proba = scorer(installed(install_package))
    own, f1 = judge.score(proba, "metric"), judge.score(proba, "macro_f1")
    np.testing.assert_allclose(own.values, f1.values, atol=0.04)  # cuts differ by rows
    assert np.corrcoef(own.influence, f1.influence)[0, 1] > 0.9


def test_its_influences_are_f1s_where_it_is_f1(install_package: Callable[..., Path]) -> None:
    metric, rng = installed(install_package), np.random.default_rng(0)
    value, key = rng.random(60).astype(np.float32), np.arange(60) % 3
    true = (rng.random(60) < value).astype(np.int64)
    rankings = Rankings(
        key=key, value=value, falling=falling_order(value), count=np.ones(60, np.int64), true=true,
        n_true=np.bincount(key, true, 3).astype(np.int64),
    )  # fmt: skip
    own = metric_influence(rankings, value > 0.5, metric, np.full(3, 20))
    for mine, theirs in zip(own, f1_influence(rankings, value > 0.5), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_influences_say_how_the_score_moves_with_a_group(
    install_package: Callable[..., Path],
) -> None:
    source = HEAD + (
        "OWN = score_of_counts('own', 'Own',"
        " lambda tp, fp, fn, tn: (tp - .3 * fp) / (tp + fn) + tn / (tn + fp))\n"
    )
    judge, proba = scorer(installed(install_package, source))
    found = judge.score(proba, "metric")
    assert np.isfinite(found.values).all()
    assert abs(found.influence.sum()) < 0.05  # of shares: twice the weights, no change


def test_in_a_comparison_it_is_the_mean_over_tags_with_a_positive() -> None:
    decided = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1]], bool)
    labels = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 0]], bool)
    unknown = np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]], bool)
    seen = []

    def own(tp: Any, fp: Any, fn: Any, tn: Any) -> Any:
        seen.append(np.stack([tp, fp, fn, tn]))
        return tp / (tp + fn)

    score = score_of_counts("own", "Own", own)
    judged = Judged(
        proba=None,  # type: ignore[arg-type]  # decisions alone
        decided=sparse.csr_array(decided & ~unknown),
        labels=sparse.csr_array(labels),
        unknown=sparse.csr_array(unknown),
    )
    assert score.function(judged) == pytest.approx((2 / 3 + 0) / 2)
    np.testing.assert_array_equal(seen[0].T, [[2, 0, 1, 0], [0, 0, 2, 0]])


def test_what_grows_with_the_images_is_refused(install_package: Callable[..., Path]) -> None:
    with pytest.raises(TagstackError, match="Expected a function of shares"):
        installed(
            install_package, HEAD + "OWN = score_of_counts('own', 'o', lambda a, b, c, d: a)\n"
        )


def test_objective_and_metric_belong_together() -> None:
    with pytest.raises(TagstackError, match="belong together"):
        load_settings(changes={"stack": {"objective": "metric"}})
    assert metric_of("") is None


def test_the_metric_of_the_page_can_be_raised(from_docs: Callable[[str], None]) -> None:
    from_docs("A metric that is raised")
    found = metric_of("review_worth")
    assert found is not None
    from tagstack.meta.metrics.counts import Counts

    one = Counts(hits=np.array([4]), predicted=np.array([5]), positives=np.array([6]))
    assert found(one, 100.0)[0] == pytest.approx((4 - 0.2 * 5) / 6)


def test_a_fit_raises_it(
    install_package: Callable[..., Path],
    make_labelled: Callable[..., Any],
    stack_settings: Callable[..., StackSettings],
) -> None:
    installed(install_package)
    made = make_labelled(80)
    own = stack_settings(learners=(), objective="metric", metric="own")
    relations = TagRelations.none(len(made.scores.vocabulary))
    stacker = Stacker(own, seed=0, threads=1)
    stacker.fit(made.scores, made.labels, made.groups, relations)
    values = np.array([row.fold_values for row in stacker.ladder_])
    assert values.shape == (len(stacker.rungs_), 3)
    assert ((values > 0.2) & (values < 1)).all()
