"""Cutting batches into few sizes, and forgetting what was used longest ago."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagstack.base_models.runtimes.batch_sizes import BatchSizes, Call
from tagstack.base_models.runtimes.tensorrt.session import RecentlyUsed

SIZES = st.lists(st.integers(1, 64), min_size=1, max_size=8, unique=True)


@given(SIZES, st.integers(1, 300))
def test_calls_cover_a_batch_with_known_sizes(sizes: list[int], n_images: int) -> None:
    batch_sizes, left, calls = BatchSizes(sizes), n_images, 0
    while left:
        call = batch_sizes.call(left)
        assert call.size in sizes
        assert 1 <= call.count <= call.size
        # Filled up no further than to the next size.
        assert not any(call.count <= size < call.size for size in sizes)
        left -= call.count
        calls += 1
    assert calls == -(-n_images // max(sizes))


@given(SIZES)
def test_shrinking_ends_at_one_image(sizes: list[int]) -> None:
    batch_sizes, seen = BatchSizes(sizes), [max(sizes)]
    while batch_sizes.shrink():
        assert batch_sizes.largest <= seen[-1] // 2
        assert all(size <= batch_sizes.largest for size in batch_sizes.sizes)
        seen.append(batch_sizes.largest)
    assert seen[-1] == 1


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(32, (1, 4, 32)), (16, (1, 4, 16)), (4, (1, 4)), (1, (1,)), (99, (1, 4, 32))],
)
def test_a_profile_limits_the_sizes(limit: int, expected: tuple[int, ...]) -> None:
    batch_sizes = BatchSizes([1, 4, 32])
    batch_sizes.limit(1, limit)
    assert batch_sizes.sizes == expected


def test_a_batch_fixed_in_the_network_is_the_only_size() -> None:
    batch_sizes = BatchSizes([1, 4, 32])
    batch_sizes.limit(8, 8)
    assert (batch_sizes.sizes, batch_sizes.call(3)) == ((8,), Call(3, 8))
    assert not batch_sizes.shrink()


def test_what_was_used_longest_ago_goes_first() -> None:
    freed: list[str] = []
    kept = RecentlyUsed[int, str](2, freed.append)
    kept.put(1, "one")
    kept.put(2, "two")
    assert kept.get(1) == "one"
    kept.put(3, "three")
    assert freed == ["two"]
    assert (kept.get(2), kept.get(1), kept.get(3)) == (None, "one", "three")
    kept.clear()
    assert sorted(freed) == ["one", "three", "two"]
    assert len(kept) == 0
