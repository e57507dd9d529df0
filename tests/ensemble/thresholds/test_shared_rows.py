"""Tags share rows of the table that a group's threshold is chosen from, where sums are the same."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.settings import load_settings
from tagstack.ensemble.thresholds import cuts
from tagstack.ensemble.thresholds.curves import GRID, Curves, Sorted, average_goal
from tagstack.ensemble.thresholds.cuts import best_shared

N_IMAGES, N_TAGS = 80, 9
GROUP = np.array([0, 0, 5, 5, 5, 5, 5, 3, 3])


@pytest.fixture
def curves(rng: np.random.Generator) -> Curves:
    """Return curves of nine tags, four of them never true, among them a whole group."""
    proba = expit(rng.normal(-1.5, 2.0, (N_IMAGES, N_TAGS))).astype(np.float32)
    labels = rng.random(proba.shape) < proba
    labels[:, [0, 1, 4, 8]] = False
    indptr = np.arange(N_IMAGES + 1, dtype=np.int64) * N_TAGS
    tag = np.tile(np.arange(N_TAGS, dtype=np.int32), N_IMAGES)
    pairs = Pairs(indptr=indptr, tag=tag, n_tags=N_TAGS)
    listed = PairProba(pairs=pairs, proba=proba.ravel(), base=np.zeros(N_TAGS, np.float32))
    found = Sorted.from_pairs(listed, sparse.csr_array(labels)).curves
    return replace(found, sure=np.arange(N_TAGS), sure_hits=np.arange(N_TAGS) // 2)


def test_a_row_holds_the_sums_of_its_tags(curves: Curves) -> None:
    own, shared = curves.grid_counts(), curves.grid_counts(GROUP % 4)
    for name in ("hits", "predicted", "positives"):
        tags = [getattr(own, name)[GROUP % 4 == row].sum(axis=0).tolist() for row in range(4)]
        assert getattr(shared, name).tolist() == tags


@pytest.mark.parametrize("changes", [{}, {"average": "micro"}, {"objective": "utility"}])
def test_a_groups_threshold_is_that_of_all_tags_counted_apart(
    curves: Curves, changes: dict[str, str]
) -> None:
    goal = ThresholdSettings(**(load_settings().thresholds.model_dump() | changes))
    every = curves.grid_counts()

    def best(tags: NDArray[np.bool_], otherwise: float) -> float:
        score = average_goal(every.take(tags), goal)
        place = len(score) - 1 - int(np.argmax(score[::-1]))
        return float(GRID[place]) if score.max() > 0 else otherwise

    overall = best(np.ones(N_TAGS, bool), goal.value)
    own = {name: best(GROUP == name, overall) for name in (0, 3, 5)}
    found = expit(best_shared(curves, GROUP, goal))
    assert found == pytest.approx([own[name] for name in GROUP.tolist()])


def test_an_average_over_very_many_tags_looks_at_evenly_spaced_ones(
    curves: Curves, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal = load_settings().thresholds
    group = np.zeros(N_TAGS, np.intp)
    every = expit(best_shared(curves, group, goal))[0]
    monkeypatch.setattr(cuts, "_MOST_TAGS", 2)
    found = expit(best_shared(curves, group, goal))[0]
    positive = np.flatnonzero(curves.n_positives > 0)
    score = average_goal(curves.grid_counts().take(positive[::3]), goal)
    assert found == pytest.approx(GRID[len(score) - 1 - int(np.argmax(score[::-1]))])
    assert found != every
