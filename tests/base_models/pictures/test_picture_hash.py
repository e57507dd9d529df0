"""Picture hashes: what leaves them nearly alone, and what does not."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tagstack.base_models.pictures.picture_hash import PictureHash, picture_hash

BITS = ["ff2a51ccf02abe40", "e32a3b1926e1b23e", "8a4de674f15f3888", "b4d36a1361dd6a2c"]
Change = Callable[[Image.Image], Image.Image]


def _picture(seed: int, width: int = 480, height: int = 640) -> Image.Image:
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height))
    for cells in (3, 9, 40):
        rough = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        image = Image.blend(image, rough.resize((width, height), Image.Resampling.BICUBIC), 0.5)
    return image


def _recompressed(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def _cropped(image: Image.Image, share: float) -> Image.Image:
    x, y = int(image.width * share), int(image.height * share)
    return image.crop((x, y, image.width - x, image.height - y))


def _distance(left: PictureHash, right: PictureHash) -> int:
    return (left.bits ^ right.bits).bit_count()


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.resize((240, 320), Image.Resampling.BILINEAR),
        lambda image: image.resize((960, 1280), Image.Resampling.NEAREST),
        lambda image: _recompressed(image, 40),
        lambda image: _cropped(image, 0.01),
        lambda image: image.resize((2400, 3200), Image.Resampling.LANCZOS),
    ],
    ids=["half", "double", "recompressed", "cropped", "large"],
)
def test_a_changed_copy_differs_in_few_bits(change: Change) -> None:
    for seed in range(5):
        picture = _picture(seed)
        copy = picture_hash(change(picture))
        assert _distance(picture_hash(picture), copy) <= 8
        thumbnails = [np.frombuffer(h.thumbnail, np.uint8) for h in (picture_hash(picture), copy)]
        assert np.abs(np.subtract(*thumbnails, dtype=int)).mean() < 6


def test_different_pictures_differ_in_many_bits() -> None:
    hashes = [picture_hash(_picture(seed)) for seed in range(30)]
    pairs = [(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(_distance(a, b) for a, b in pairs) > 8


def test_bits_are_the_signs_of_the_lowest_frequencies() -> None:
    wave = np.cos(np.pi * np.outer(np.arange(8), 2 * np.arange(32) + 1) / 64)
    for seed in range(20):
        picture = _picture(seed, 32, 32)
        lowest = wave @ np.asarray(picture.convert("L"), float) @ wave.T
        signs = (lowest > np.median(lowest)).ravel()
        assert f"{picture_hash(picture).bits:064b}" == "".join("01"[int(sign)] for sign in signs)


@pytest.mark.parametrize(("seed", "bits"), list(enumerate(BITS)))
def test_bits_are_those_of_imagehash(seed: int, bits: str) -> None:
    """As `imagehash.phash` of version 4.3.2 gave them: stores keep hashes for years."""
    levels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert f"{picture_hash(Image.fromarray(levels)).bits:016x}" == bits


def test_the_thumbnail_is_rgb() -> None:
    red = picture_hash(Image.new("RGB", (50, 70), (250, 20, 3)))
    assert red.thumbnail == bytes([250, 20, 3]) * 64


def test_what_lies_under_transparency_does_not_show() -> None:
    shown = _picture(1).convert("RGBA")
    hidden = _picture(2).convert("RGBA")
    mask = Image.new("L", shown.size, 0)
    mask.paste(255, (0, 0, 240, 640))
    shown.putalpha(mask)
    mixed = Image.composite(shown, hidden, mask)
    mixed.putalpha(mask)
    white = Image.new("RGB", shown.size, "white")
    white.paste(shown, mask=mask)
    assert _distance(picture_hash(shown), picture_hash(white)) <= 2
    assert _distance(picture_hash(mixed), picture_hash(white)) <= 2


@pytest.mark.parametrize("size", [(64, 127), (640, 1270), (100, 4001), (700, 30)])
def test_rows_are_averaged_before_columns_whatever_pillow_does_itself(
    size: tuple[int, int],
) -> None:
    levels = np.random.default_rng(4).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    step = max(1, min(size) // 512)
    whole = Image.fromarray(levels).resize((size[0] // step, size[1] // step), 0)
    reduced = whole.reduce((max(1, whole.width // 64), max(1, whole.height // 64)))
    exact = [whole.size[i] / max(1, whole.size[i] // 64) for i in (0, 1)]
    rows = _box_rows(np.asarray(reduced), exact[0], 32)
    small = _box_rows(rows.transpose(1, 0, 2), exact[1], 32).transpose(1, 0, 2)
    tiny = _box_rows(_box_rows(small, 32, 8).transpose(1, 0, 2), 32, 8).transpose(1, 0, 2)
    assert picture_hash(Image.fromarray(levels)).thumbnail == tiny.tobytes()


def _box_rows(pixels: NDArray[np.uint8], length: float, out: int) -> NDArray[np.uint8]:
    """Average the first ``length`` pixels of every row into ``out``, those whose centre is near."""
    scale = length / out
    reach = max(1.0, scale) / 2
    result = np.empty((len(pixels), out, 3), np.uint8)
    for i in range(out):
        distance = np.arange(pixels.shape[1]) + 0.5 - (i + 0.5) * scale
        near = (distance > -reach) & (distance <= reach)
        result[:, i] = pixels[:, near].mean(1, dtype=float) + 0.5
    return result


@settings(deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90), mode=st.sampled_from(["RGB", "RGBA"]))
def test_any_size_has_a_hash(width: int, height: int, mode: str) -> None:
    image = Image.new(mode, (width, height), (10, 200, 30, 40)[: len(mode)])
    found = picture_hash(image)
    assert len(found.thumbnail) == 192
    assert 0 <= found.bits < 2**64
