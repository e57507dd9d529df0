"""The promise holds over many draws, groups count once, and nothing accepted breaks a rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from tagstack.ensemble.acceptance.conformal import Wrongs, accepted, p_values

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def drawn(
    rng: np.random.Generator, n_groups: int, copies: int = 1
) -> tuple[Floats, Ints, NDArray[np.bool_], Ints]:
    """Return sureness, image and wrongness of tags, and groups of images.

    Hard images have more tags, more of them wrong, and are too sure of them; images of a group
    are equal.
    """
    hard = rng.random(n_groups) < 0.2
    counts = np.where(hard, rng.integers(4, 13, n_groups), rng.integers(0, 5, n_groups))
    group = np.repeat(np.arange(n_groups), counts)
    wrong = rng.random(len(group)) < np.where(hard[group], 0.4, 0.08)
    logit = rng.normal(np.where(wrong, 0.0, 2.5) + hard[group] * 0.8, 1.2)
    sureness = np.tile(1 / (1 + np.exp(-logit)), copies)
    image = np.concatenate([group + copy * n_groups for copy in range(copies)])
    groups = np.tile(np.arange(n_groups), copies)
    return sureness, image, np.tile(wrong, copies), groups


def share_wrong(rng: np.random.Generator, rate: float, n_labelled: int, n_batch: int) -> Floats:
    """Return the share of wrong tags among the accepted ones, and the share accepted."""
    sureness, image, wrong, groups = drawn(rng, n_labelled)
    wrongs = Wrongs.of(sureness[wrong], image[wrong], groups)
    sureness, image, wrong, _ = drawn(rng, n_batch)
    chosen = accepted(p_values(wrongs, sureness, image, n_batch), rate)
    return np.array([wrong[chosen].mean() if chosen.any() else 0.0, chosen.mean()])


@pytest.mark.parametrize(("rate", "n_labelled", "n_batch"), [(0.05, 300, 200), (0.1, 60, 20)])
def test_no_more_are_wrong_than_promised(rate: float, n_labelled: int, n_batch: int) -> None:
    rng = np.random.default_rng(7)
    found = np.array([share_wrong(rng, rate, n_labelled, n_batch) for _ in range(400)])
    error = found[:, 0].std() / 20
    assert found[:, 0].mean() <= rate + 2 * error
    assert found[:, 0].mean() >= rate / 4  # and it is no empty promise
    assert found[:, 1].mean() > 0.2


def test_copies_in_the_labels_count_once() -> None:
    rng = np.random.default_rng(1)
    sureness, image, wrong, groups = drawn(rng, 80)
    once = Wrongs.of(sureness[wrong], image[wrong], groups)
    copied = [np.tile(values, 20) for values in (sureness, wrong)]
    images = np.concatenate([image + 80 * copy for copy in range(20)])
    often = Wrongs.of(copied[0][copied[1]], images[copied[1]], np.tile(groups, 20))
    at = np.linspace(0, 1, 50)
    np.testing.assert_allclose(once.as_sure(at), often.as_sure(at))
    assert often.n_groups == 80


def test_with_one_tag_an_image_it_is_jin_and_candes() -> None:
    rng = np.random.default_rng(2)
    score, wrong = rng.integers(0, 12, 70) / 12, rng.random(70) < 0.4
    batch = rng.integers(0, 12, 30) / 12
    wrongs = Wrongs.of(score[wrong], np.flatnonzero(wrong), np.arange(70))
    expected = [(1 + sum(score[wrong] >= own)) / 71 for own in batch]
    np.testing.assert_allclose(p_values(wrongs, batch, np.arange(30), 30), expected)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=40))
def test_tags_of_an_image_count_as_wrong_together(rows: list[tuple[int, int]]) -> None:
    image, sureness = np.array([r[0] for r in rows]), np.array([r[1] for r in rows]) / 5
    none = Wrongs.of(np.empty(0), np.empty(0, np.int64), np.arange(9))
    expected = [
        sum(i == image[j] and s >= sureness[j] for i, s in zip(image, sureness, strict=True))
        for j in range(len(rows))
    ]
    found = p_values(none, sureness, image, 5)
    np.testing.assert_allclose(found, np.minimum(np.array(expected) * 5 / len(rows) / 10, 1))


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.01, 0.5))
@settings(max_examples=60)
def test_step_up_is_that_of_scipy(values: list[float], rate: float) -> None:
    p_value = np.array(values)
    if not len(p_value):
        assert not len(accepted(p_value, rate))
        return
    adjusted = stats.false_discovery_control(p_value)
    clear = np.abs(adjusted - rate) > 1e-9  # a tie is a matter of rounding
    assert (accepted(p_value, rate) == (adjusted <= rate))[clear].all()


def test_few_labelled_images_promise_nothing() -> None:
    """Eighteen right ones cannot show that at most one in twenty is wrong; nineteen can."""
    for n_groups, number in ((18, 0), (19, 30)):
        none = Wrongs.of(np.empty(0), np.empty(0, np.int64), np.arange(n_groups))
        found = p_values(none, np.full(30, 0.99), np.arange(30), 30)
        assert accepted(found, 0.05).sum() == number
    assert not len(p_values(none, np.empty(0), np.empty(0, np.int64), 0))
