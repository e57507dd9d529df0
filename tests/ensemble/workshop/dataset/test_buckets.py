"""Buckets as sd-scripts makes them, held to its rule written down another way, and to figures."""

from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.workshop.dataset.buckets import Buckets, Size


def buckets(**changes: object) -> Buckets:
    return Buckets(load_settings(changes={"dataset": {"buckets": changes}}).dataset.buckets)


def by_the_rule(resolution: int, least: int, most: int, step: int) -> set[Size]:
    """Return every size that cannot grow in one direction without leaving area or span."""
    area = resolution * resolution
    sides = [side for side in range(step, most + step, step) if least - step < side < most + step]

    def fits(width: int, height: int) -> bool:
        return width * height <= area and height <= sides[-1]

    tall = {(w, h) for w, h in product(sides, sides) if fits(w, h) and not fits(w, h + step)}
    square = max(side for side in range(step, resolution + 1, step))
    return tall | {(h, w) for w, h in tall} | {(square, square)}


spans = st.tuples(st.integers(64, 1100), st.integers(1, 500), st.integers(0, 900)).map(
    lambda own: (own[0], min(own[0], 64 + own[1]), own[0] + own[2])
)


@tries(max_examples=60, deadline=None)
@given(spans, st.sampled_from([8, 32, 64]))
def test_sizes_are_those_that_cannot_grow(span: tuple[int, int, int], step: int) -> None:
    resolution, least, most = span
    own = buckets(
        resolution=resolution,
        min_bucket_reso=least,
        max_bucket_reso=most,
        bucket_reso_steps=step,
    )
    assert set(own.shapes) == by_the_rule(resolution, least, most, step)


def test_the_sizes_of_stable_diffusion_1() -> None:
    own = buckets(resolution=512, max_bucket_reso=1024)
    wide = [(512, 512), (576, 448), (640, 384), (704, 320), (768, 320), (832, 256), (896, 256),
            (960, 256), (1024, 256)]  # fmt: skip
    assert set(own.shapes) == {*wide, *((height, width) for width, height in wide)}


@pytest.mark.parametrize(
    ("size", "bucket"),
    [
        ((1, 1), (1024, 1024)),
        ((4000, 3000), (1152, 896)),
        ((3000, 4000), (896, 1152)),
        ((1920, 1080), (1344, 768)),
        ((832, 1216), (832, 1216)),
        ((100_000, 1), (2048, 256)),
    ],
)
def test_pictures_go_to_the_nearest_shape(size: Size, bucket: Size) -> None:
    own = buckets()
    found = own.bucket_of(size)
    aspect = Fraction(*size)
    assert found == min(own.shapes, key=lambda s: (abs(Fraction(*s) - aspect), s))
    assert found == bucket


@pytest.mark.parametrize(
    ("size", "bucket"),
    [
        # No more pixels than the square: cut to multiples, never resized.
        ((1000, 700), (960, 640)),
        ((64, 64), (64, 64)),
        ((63, 900), None),
        # 4:3 of 2^20 pixels is 1182.4 x 886.8. A width of 1152 is 864 high, in steps 832: 1.385.
        # A height of 832 is 1109 wide, in steps 1088: 1.308, nearer to 1.333. So 1109 x 832.
        ((4000, 3000), (1088, 832)),
        # 16:9: 1365.3 x 768. 1344 wide is 756 high, in steps 704: 1.909; 768 high is 1365 wide,
        # in steps 1344: 1.750. So 1365 x 768.
        ((1920, 1080), (1344, 768)),
        ((2000, 2000), (1024, 1024)),
        ((2_000_000, 1), None),
    ],
)
def test_without_enlarging_pictures_keep_their_size_or_shrink(
    size: Size, bucket: Size | None
) -> None:
    assert buckets(bucket_no_upscale=True).bucket_of(size) == bucket


def test_ends_of_the_span_become_multiples_outwards() -> None:
    own = buckets(resolution=512, min_bucket_reso=250, max_bucket_reso=1030)
    assert min(min(shape) for shape in own.shapes) == 192
    assert max(max(shape) for shape in own.shapes) == 1088


def test_what_the_trainer_refuses_is_refused() -> None:
    with pytest.raises(TagstackError, match="min_bucket_reso <= resolution <= max_bucket_reso"):
        buckets(resolution=1280, max_bucket_reso=1024)
