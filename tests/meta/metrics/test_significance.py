"""Verdicts per tag: paired resamples of groups, adjusted for many tags."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from scipy import sparse, stats

from tagstack.meta.metrics.bootstrap import Weightings
from tagstack.meta.metrics.counts import Counts
from tagstack.meta.metrics.tag_tests import TagTests, compare_tags, differing_groups

RESAMPLES = 400


def f_by_resample(decided: Any, labels: Any, groups: Any) -> Any:
    weights = np.hstack(list(Weightings(groups, resamples=RESAMPLES, seed=1).blocks()))
    counted = (table.T.astype(float) @ weights for table in (decided & labels, decided, labels))
    hits, predicted, positives = counted
    return Counts(hits=hits, predicted=predicted, positives=positives).f_beta(1).astype(np.float32)


def run(ours: Any, theirs: Any, labels: Any, groups: Any = None, rate: float = 0.05) -> TagTests:
    groups = np.arange(len(labels)) if groups is None else groups
    return compare_tags(
        f_by_resample(ours, labels, groups),
        f_by_resample(theirs, labels, groups),
        differing_groups(sparse.csr_array(ours), sparse.csr_array(theirs), groups),
        confidence=0.95,
        false_discovery_rate=rate,
    )


@settings(deadline=None, max_examples=50)
@given(arrays(bool, (2, 25, 4)), arrays(np.int64, 25, elements={"min_value": 0, "max_value": 6}))
def test_differing_groups_equal_a_loop(table: Any, groups: Any) -> None:
    ours, theirs = table
    found = differing_groups(sparse.csr_array(ours), sparse.csr_array(theirs), groups)
    for tag in range(4):
        assert found[tag] == len(set(groups[ours[:, tag] != theirs[:, tag]].tolist()))


def test_a_clear_winner_is_called_and_a_coin_is_not(rng: np.random.Generator) -> None:
    labels = rng.random((400, 3)) < 0.5
    noisy = labels ^ (rng.random((400, 3)) < 0.3)
    other = labels ^ (rng.random((400, 3)) < 0.3)
    ours = np.column_stack([labels[:, 0], noisy[:, 1], noisy[:, 2]])
    theirs = np.column_stack([noisy[:, 0], labels[:, 1], other[:, 2]])
    found = run(ours, theirs, labels)
    assert found.verdict == ("better", "worse", "no significant difference")
    assert (found.low <= found.difference).all()
    assert (found.difference <= found.high).all()


def test_fewer_wrong_images_alone_are_not_called_better() -> None:
    """On a rare tag, never deciding it is right more often, and its F is no better for that."""
    labels = np.zeros((400, 1), bool)
    labels[:4] = True
    nothing = np.zeros_like(labels)
    something = np.zeros_like(labels)
    something[2:40] = True
    found = run(nothing, something, labels)
    assert found.difference[0] < 0
    assert found.verdict == ("no significant difference",)
    assert run(nothing, ~labels, labels).verdict == ("no significant difference",)  # F 0 for both


def test_images_of_a_group_count_once(rng: np.random.Generator) -> None:
    labels = np.repeat(rng.random((40, 1)) < 0.5, 20, axis=0)
    theirs = labels ^ np.repeat(rng.random((40, 1)) < 0.3, 20, axis=0)
    groups = np.repeat(np.arange(40), 20)
    alone, together = run(labels, theirs, labels), run(labels, theirs, labels, groups)
    assert together.p_value[0] > 100 * alone.p_value[0]
    assert together.high[0] - together.low[0] > 3 * (alone.high[0] - alone.low[0])
    few = labels.copy()
    few[:100] = ~few[:100]  # five groups: nothing to be sure about
    assert np.isnan(run(labels, few, labels, groups).p_value[0])


def test_a_p_value_below_the_resamples_reach_is_the_normal_one(rng: np.random.Generator) -> None:
    values = np.hstack([[[0.5]], 0.5 + 0.05 * rng.standard_normal((1, 400))]).astype(np.float32)
    found = compare_tags(
        values, 0 * values, np.array([50]), confidence=0.95, false_discovery_rate=0.05
    )
    steps = 0.5 / values[0, 1:].astype(float).std()
    assert found.p_value[0] == pytest.approx(2 * stats.norm.sf(steps), rel=1e-4)
    assert 0 < found.p_value[0] < 1 / 400


def test_many_tags_without_a_difference_are_rarely_called(rng: np.random.Generator) -> None:
    labels = rng.random((200, 400)) < 0.3
    ours = labels ^ (rng.random(labels.shape) < 0.1)
    theirs = labels ^ (rng.random(labels.shape) < 0.1)
    found = run(ours, theirs, labels)
    assert (found.p_value < 0.05).sum() > 5  # the naive count, by chance alone
    assert sum(word != "no significant difference" for word in found.verdict) <= 2
