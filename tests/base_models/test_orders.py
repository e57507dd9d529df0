import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from tagstack.base_models import orders
from tagstack.base_models.orders import distinct, falling_within, whole_segments

ZEROS = st.sampled_from([0.0, -0.0, 0.5])
SINGLE = arrays.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32) | ZEROS)
DOUBLE = arrays.arrays(np.float64, st.integers(0, 40), elements=st.floats(width=64) | ZEROS)


@given(
    values=st.one_of(SINGLE, DOUBLE),
    data=st.data(),
    most=st.sampled_from([0, 1, 300, 2**16, 2**40]),
)
def test_it_is_the_order_that_two_sorts_give(
    values: NDArray[np.floating], data: st.DataObject, most: int
) -> None:
    numbers = st.lists(st.integers(0, most), min_size=len(values), max_size=len(values))
    number = np.array(data.draw(numbers), np.int64)
    assert falling_within(number, values).tolist() == np.lexsort((-values, number)).tolist()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("tag", [np.int32, np.int64, np.uint16])
def test_many_pairs_of_many_tags(kind: type, tag: type) -> None:
    rng = np.random.default_rng(0)
    values: NDArray[np.floating] = np.round(rng.normal(size=50_000), 3).astype(kind)
    number: NDArray[np.integer] = rng.integers(0, 60_000, len(values)).astype(tag)
    assert np.array_equal(falling_within(number, values), np.lexsort((-values, number)))


@given(arrays.arrays(st.sampled_from([np.int32, np.int64]), st.integers(0, 40)))
def test_each_value_once_is_what_numpy_says(values: NDArray[np.integer]) -> None:
    found, expected = distinct(values), np.unique(values)
    assert found.tolist() == expected.tolist()
    assert found.dtype == expected.dtype


def test_a_few_at_a_time_is_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of most rows, which no part may cut, among small ones."""
    rng = np.random.default_rng(1)
    values = np.round(rng.normal(size=900), 1)
    number = np.where(rng.random(900) < 0.4, 7, rng.integers(0, 60, 900))
    whole = np.lexsort((-values, number))
    monkeypatch.setattr(orders, "AT_ONCE", 50)
    assert np.array_equal(falling_within(number, values), whole)
    ascending = number[whole]
    parts = list(whole_segments(ascending, 50))
    assert [row for part in parts for row in range(900)[part]] == list(range(900))
    for before, after in itertools.pairwise(parts):
        assert ascending[before.stop - 1] < ascending[after.start]
    assert sum(part.stop - part.start > 50 for part in parts) == 1


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_what_is_no_number_comes_last_and_infinities_where_they_belong(kind: type) -> None:
    values: NDArray[np.floating] = np.array([1, np.nan, -np.inf, -np.nan, np.inf, 0, -1], kind)
    assert falling_within(np.zeros(7, np.int64), values).tolist() == [4, 0, 5, 6, 2, 1, 3]


def test_more_rows_of_a_number_than_places_fit_beside_their_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two million are looked at together, but never are a number's rows parted."""
    values = np.random.default_rng(2).permutation(100).astype(np.float32)
    monkeypatch.setattr(orders, "_PLACE_BITS", 4)
    found = falling_within(np.repeat([0, 3], 50), values)
    assert found.tolist() == np.lexsort((-values, np.repeat([0, 3], 50))).tolist()
