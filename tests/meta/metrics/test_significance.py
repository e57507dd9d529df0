from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from scipy import sparse, stats

from tagstack.meta.metrics.bootstrap import TagTests, compare_tags


def run(ours: Any, theirs: Any, labels: Any, rate: float = 0.05) -> TagTests:
    return compare_tags(
        sparse.csr_array(ours),
        sparse.csr_array(theirs),
        sparse.csr_array(labels),
        false_discovery_rate=rate,
    )


@settings(deadline=None, max_examples=50)
@given(arrays(bool, (3, 25, 4)))
def test_counts_and_p_values_equal_a_loop(table: Any) -> None:
    ours, theirs, labels = table
    found = run(ours, theirs, labels)
    for tag in range(4):
        right, also = ours[:, tag] == labels[:, tag], theirs[:, tag] == labels[:, tag]
        only_ours, only_theirs = int((right & ~also).sum()), int((also & ~right).sum())
        assert found.only_ours[tag] == only_ours
        assert found.only_theirs[tag] == only_theirs
        if only_ours + only_theirs < 6:
            assert np.isnan(found.p_value[tag])
        else:
            expected = stats.binomtest(only_ours, only_ours + only_theirs).pvalue
            assert found.p_value[tag] == pytest.approx(expected)


def test_a_clear_winner_is_called_and_a_coin_is_not(rng: np.random.Generator) -> None:
    labels = rng.random((400, 3)) < 0.5
    noisy = labels ^ (rng.random((400, 3)) < 0.3)
    other = labels ^ (rng.random((400, 3)) < 0.3)
    ours = np.column_stack([labels[:, 0], noisy[:, 1], noisy[:, 2]])
    theirs = np.column_stack([noisy[:, 0], labels[:, 1], other[:, 2]])
    found = run(ours, theirs, labels)
    assert found.verdict == ("better", "worse", "no significant difference")


def test_many_tags_without_a_difference_are_rarely_called(rng: np.random.Generator) -> None:
    labels = rng.random((200, 400)) < 0.3
    ours = labels ^ (rng.random(labels.shape) < 0.1)
    theirs = labels ^ (rng.random(labels.shape) < 0.1)
    found = run(ours, theirs, labels)
    assert (found.p_value < 0.05).sum() > 5  # the naive count, by chance alone
    assert sum(word != "no significant difference" for word in found.verdict) <= 2
