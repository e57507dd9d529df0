import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagstack.base_models.pairs import Pairs


def pairs_of(counts: list[int]) -> Pairs:
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Pairs(indptr=indptr, tag=np.zeros(indptr[-1], np.int32), n_tags=1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 12))
def test_blocks_are_all_images_in_order_and_within_bounds(counts: list[int], most: int) -> None:
    pairs, image, pair = pairs_of(counts), 0, 0
    for images, rows in pairs.blocks(most):
        assert (images.start, rows.start) == (image, pair)
        assert images.stop > images.start
        n_pairs = rows.stop - rows.start
        assert n_pairs == sum(counts[images])
        assert n_pairs <= most or images.stop - images.start == 1
        image, pair = images.stop, rows.stop
    assert (image, pair) == (len(counts), len(pairs))


def test_no_images_have_no_blocks() -> None:
    assert list(pairs_of([]).blocks()) == []


@pytest.mark.parametrize("most", [1, 3])
def test_an_image_that_is_too_large_is_a_block_of_its_own(most: int) -> None:
    assert [images for images, _ in pairs_of([2, 9, 1]).blocks(most)][-1] == slice(2, 3)
