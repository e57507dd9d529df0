"""Weights of images: values of a column count alike, and so do groups within a value."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tagstack.configs.errors import TagstackError
from tagstack.meta.labels.balance import balance_of


def test_values_count_alike_and_groups_within_a_value() -> None:
    style = ("photo", "photo", "photo", "photo", "drawn", "drawn")
    groups = np.array([0, 0, 0, 1, 2, 3])
    found = balance_of("style", {"style": style}, groups, most=100)
    assert found.weight.mean() == pytest.approx(1)
    assert found.weight[:4].sum() == pytest.approx(found.weight[4:].sum())
    assert found.weight[:3].sum() == pytest.approx(found.weight[3])
    assert found.values["photo"] == {"images": 4, "groups": 2, "share": 0.5}


def test_a_group_counts_once_in_each_of_its_values() -> None:
    found = balance_of("s", {"s": ("a", "a", "b", "b")}, np.array([0, 1, 0, 0]), most=100)
    np.testing.assert_allclose(found.weight, 1)


def test_no_image_counts_more_than_the_limit_allows() -> None:
    style = ("rare", *("common",) * 99)
    found = balance_of("s", {"s": style}, np.arange(100), most=5)
    assert found.held == 1
    assert found.weight[0] / found.weight[1] == pytest.approx(5 / (100 / 198))
    assert found.values["rare"]["share"] < 0.1


@settings(max_examples=25)
@given(arrays(int, 30, elements=st.integers(0, 3)), arrays(int, 30, elements=st.integers(0, 9)))
def test_order_and_names_decide_nothing(value: np.ndarray, group: np.ndarray) -> None:
    value[:2] = 0, 1
    order = np.random.default_rng(0).permutation(30)
    one = balance_of("s", {"s": [f"v{v}" for v in value]}, group, most=5)
    other = balance_of("s", {"s": [f"w{9 - v}" for v in value[order]]}, 7 * group[order], most=5)
    np.testing.assert_allclose(one.weight[order], other.weight)
    assert (one.weight > 0).all()


def test_images_without_a_value_are_a_kind_of_their_own() -> None:
    found = balance_of("s", {"s": ("", "a", "a")}, np.arange(3), most=100)
    assert found.values["(none)"]["share"] == 0.5


def test_a_column_that_is_not_there_is_refused_with_a_hint() -> None:
    with pytest.raises(TagstackError, match=r"no column 'stile' to balance by.*\['style'\].*style"):
        balance_of("stile", {"style": ("a", "b")}, np.arange(2), most=5)


def test_a_column_of_one_value_is_refused() -> None:
    with pytest.raises(TagstackError, match=r"All 2 images have style=a; expected two values"):
        balance_of("style", {"style": ("a", "a")}, np.arange(2), most=5)
