import numpy as np
import pytest

from tagstack.base_models.pairs import Pairs
from tagstack.configs.settings import load_settings
from tagstack.meta.features.pair_table import PairTable
from tagstack.meta.learners.counted_rows import counted_rows
from tagstack.meta.learners.meta_trees import MetaTrees
from tagstack.meta.learners.pair_trees import PairTrees


def table(n: int) -> PairTable:
    """Return ``n`` pairs of one tag whose logits say what is drawn from them."""
    rng = np.random.default_rng(0)
    pairs = Pairs(indptr=np.arange(n + 1, dtype=np.int64), tag=np.zeros(n, np.int32), n_tags=1)
    logit = rng.normal(-3.0, 2.0, n)
    values = np.stack([logit, rng.normal(size=n)], axis=1).astype(np.float32)
    return PairTable(pairs=pairs, names=("logit:a", "noise"), values=values, logit=logit)


def labels(of: PairTable) -> np.ndarray:
    return np.random.default_rng(1).random(len(of.logit)) < 1 / (1 + np.exp(-of.logit))


def test_all_rows_that_count_are_there_unweighted() -> None:
    rows = counted_rows(table(30), np.zeros(30, bool), None, max_rows=100, seed=0)
    assert rows.weight is None
    assert rows.share == 1.0
    half = (np.arange(30) % 2).astype(float)
    rows = counted_rows(table(30), np.zeros(30, bool), half, max_rows=100, seed=0)
    np.testing.assert_array_equal(rows.values, table(30).values[1::2])
    assert rows.weight is None


def test_too_many_rows_are_thinned_and_counted_up() -> None:
    of = table(20_000)
    rows = counted_rows(of, labels(of), None, max_rows=2_000, seed=0)
    assert len(rows.true) == pytest.approx(2_000, abs=2)
    assert rows.share == pytest.approx(0.1, rel=0.01)
    assert rows.weight is not None
    assert rows.weight.sum() == pytest.approx(20_000, rel=0.05)
    assert rows.true.mean() > 2 * labels(of).mean()


@pytest.mark.parametrize("n_rows", [0, 1, 3])
def test_trees_learn_from_next_to_nothing_and_say_something_finite(n_rows: int) -> None:
    of, stack = table(40), load_settings().stack
    weight = (np.arange(40) < n_rows).astype(float)
    for trees in (
        PairTrees(stack.lightgbm, seed=0, threads=1),
        MetaTrees(stack.xgboost, seed=0, threads=1),
    ):
        said = trees.fit(of, np.zeros(40, bool), weight).predict_logit(of)
        assert np.isfinite(said).all()


def test_thinned_trees_rank_like_trees_of_all_rows() -> None:
    of, stack = table(20_000), load_settings().stack
    fewer = stack.lightgbm.model_copy(update={"max_rows": 4_000})
    whole, thinned = (
        PairTrees(settings, seed=0, threads=1).fit(of, labels(of)).predict_logit(of)
        for settings in (stack.lightgbm, fewer)
    )
    assert np.corrcoef(whole, thinned)[0, 1] > 0.97
