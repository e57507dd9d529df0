"""Scorers: BRISQUE against the published package, technical ones against loops and expectations."""

import io
import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter1d

from tagstack.configs.errors import TagstackError
from tagstack.configs.hooks import SCORERS
from tagstack.ensemble.workshop.quality.scorers import brisque as own
from tagstack.ensemble.workshop.quality.scorers import technical
from tagstack.ensemble.workshop.quality.scorers.opening import opened_scorers

Pixels = NDArray[np.uint8]
PACKAGE = "tagstack.ensemble.workshop.quality.scorers"


def noise(seed: int = 1, size: tuple[int, int] = (97, 131)) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def soft() -> Pixels:
    y, x = np.indices((101, 75))
    noisy = np.random.default_rng(3).integers(-3, 4, (101, 75, 3))
    base = np.stack([(x * x + y * y) // 64 % 200 + 20] * 3, -1)
    return np.asarray((base + noisy).astype(np.uint8))


def drawing() -> Pixels:
    pixels = np.full((96, 128, 3), 255, np.uint8)
    y, x = np.indices((96, 128))
    pixels[20:70, 30:90], pixels[50:, 70:] = (200, 40, 60), (30, 80, 160)
    pixels[(x + y) % 40 < 3] = 0
    return pixels


def tiles() -> Pixels:
    """Flat squares beside noise: on flat areas the fit counts what rounding left."""
    drawn = np.random.default_rng(5)
    flat = drawn.integers(0, 60, (12, 16, 3)).repeat(8, 0).repeat(8, 1) + 90
    flat[:, :32] = drawn.integers(0, 40, (96, 32, 3)) + 90
    return np.asarray(flat.astype(np.uint8))


# What brisque 0.2.0 gives for these pixels (with opencv-python-headless 5.0.0 and libsvm 3.37).
PUBLISHED = {
    "noise": (noise(), 91.44639268097458),
    "soft": (soft(), 59.846715236744075),
    "drawing": (drawing(), 154.25329956727361),
    "tiles": (tiles(), 58.022097491724566),
    "smallest": (noise(4, (16, 17)), 155.845),
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_brisque_is_that_of_the_package(name: str) -> None:
    pixels, published = PUBLISHED[name]
    assert own.brisque(pixels) == pytest.approx(published, abs=1e-6)


def test_the_order_of_sums_matters_on_flat_areas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why the sums run in the order of the package: another rounding is half a point off."""

    def plain(pixels: Pixels) -> NDArray[np.float64]:
        return np.asarray((pixels * (1 / 255) * np.array(own._GREY)).sum(axis=-1))

    monkeypatch.setattr(own, "_grey", plain)
    pixels, published = PUBLISHED["tiles"]
    assert abs(own.brisque(pixels) - published) > 0.1


def test_brisque_in_strips_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "_STRIP_PIXELS", 131 * 7)
    pixels, published = PUBLISHED["tiles"]
    assert own.brisque(pixels) == pytest.approx(published, abs=1e-6)


@pytest.mark.parametrize("pixels", [np.zeros((40, 40, 3), np.uint8), noise(0, (5, 90))])
def test_where_there_are_no_statistics_there_is_no_score(pixels: Pixels) -> None:
    assert np.isnan(own.brisque(pixels))


def test_the_model_is_plain_data_with_its_notice() -> None:
    folder = resources.files(PACKAGE)
    with folder.joinpath("brisque.npz").open("rb") as stream:
        data = stream.read()
    assert len(data) < 200_000
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        shapes = {name: arrays[name].shape for name in arrays.files}
    assert shapes["vectors"] == (770, 36)
    notice = folder.joinpath("brisque.txt").read_text("utf-8")
    assert "Copyright 2024 Rehan Guha" in notice
    assert "Apache" in notice
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["package-data"][PACKAGE] == ["*.npz", "*.txt"]


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream).convert("RGB"))


def photo() -> Pixels:
    """Something smooth with detail, as photographs have it."""
    rough = np.random.default_rng(7).normal(size=(160, 208, 3))
    waves = sum(gaussian_filter(rough, (s, s, 0)) * s**1.5 for s in (1, 3, 9))
    return np.asarray((waves * 20 + 128).clip(0, 255).astype(np.uint8))


def test_blur_is_that_of_a_loop_and_grows_with_blur() -> None:
    grey = photo() @ np.array([0.299, 0.587, 0.114])
    expected = []
    for axis in (0, 1):
        smooth = uniform_filter1d(grey, 9, axis=axis, mode="nearest")
        sharp, left = (np.abs(np.diff(v, axis=axis)) for v in (grey, smooth))
        expected.append((sharp.sum() - np.maximum(sharp - left, 0).sum()) / sharp.sum())
    assert technical.blur(photo()) == pytest.approx(max(expected), rel=1e-12)
    blurred = [gaussian_filter(photo(), (s, s, 0)) for s in (0, 1, 2, 4)]
    found = [technical.blur(pixels) for pixels in blurred]
    assert found == sorted(found)
    assert found[-1] > found[0] + 0.2


def test_noise_is_measured_in_levels() -> None:
    flat = np.full((200, 300, 1), 128.0)
    noisy = flat + np.random.default_rng(0).normal(0, 10, flat.shape)
    pixels = noisy.round().clip(0, 255).astype(np.uint8).repeat(3, axis=2)
    assert technical.noise(pixels) == pytest.approx(10, rel=0.03)
    assert np.isnan(technical.noise(noise(0, (2, 50))))


def test_compression_shows_the_blocks_of_jpeg_also_cropped_and_turned() -> None:
    plain = technical.compression(photo())
    kept = [technical.compression(jpeg(photo(), quality)) for quality in (90, 30, 10)]
    assert plain < 0.1
    assert plain < kept[1] < kept[2]
    cropped = jpeg(photo(), 10)[3:-2, 5:-1]
    assert technical.compression(cropped) > 0.5 * kept[2]
    assert technical.compression(np.rot90(cropped)) == pytest.approx(technical.compression(cropped))
    lines = photo().copy()
    lines[:, 50] = 0
    assert technical.compression(lines) < plain + 0.05  # a line is no grid


@pytest.mark.parametrize(
    ("function", "black", "half"),
    [
        (technical.exposure, 1.0, 0.0),
        (technical.clipping, 1.0, 1.0),
        (technical.contrast, 0.0, 1.0),
        (technical.colourfulness, 0.0, 0.0),
        (technical.resolution, 0.0024, 0.0024),
    ],
)
def test_light_and_colour_of_black_and_of_half_white(
    function: Callable[[Pixels], float], black: float, half: float
) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    assert function(pixels) == pytest.approx(black, abs=1e-9)
    pixels[:, 30:] = 255
    assert function(pixels) == pytest.approx(half, abs=1e-9)


def test_colourfulness_is_that_of_its_paper() -> None:
    r, g, b = (photo()[..., i].astype(float) for i in range(3))
    rg, yb = r - g, (r + g) / 2 - b
    expected = np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean())
    assert technical.colourfulness(photo()) == pytest.approx(expected, rel=1e-9)


@given(st.integers(1, 45), st.integers(1, 45), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_any_picture_has_a_number_or_none_whatever_the_strips(
    height: int, width: int, seed: int
) -> None:
    pixels = noise(seed, (height, width)) if seed else np.full((height, width, 3), 9, np.uint8)
    before = pixels.copy()
    with opened_scorers(tuple(SCORERS.built_in), threads=1) as scorers:
        whole = [scorer.function(pixels) for scorer in scorers]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(technical, "_STRIP_PIXELS", 3 * width)
            parts = [scorer.function(pixels) for scorer in scorers]
    assert (pixels == before).all()
    assert not np.isinf(whole).any()
    np.testing.assert_allclose(parts, whole, rtol=1e-9, atol=1e-9)


def test_unknown_and_doubled_scorers_are_refused() -> None:
    with pytest.raises(TagstackError, match=r"Unknown scorer 'blurr' in --scorer\. Built in are"):
        with opened_scorers(("blurr",), threads=1):
            pass
    with pytest.raises(TagstackError, match="Two scorers are called 'blur'"):
        with opened_scorers(("blur", "blur"), threads=1):
            pass
