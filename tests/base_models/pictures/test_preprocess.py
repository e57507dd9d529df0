"""Preprocessing against references written from the published facts."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tagstack.base_models.contract import Input
from tagstack.base_models.pictures.images import decode, open_image
from tagstack.base_models.pictures.preprocess import framed, framing_from_input, input_tensor
from tagstack.base_models.pictures.resampling import chosen_resampler
from tagstack.base_models.taggers.registry import show_tagger


def _input(**changes: object) -> Input:
    values: dict[str, Any] = {
        "layout": "NHWC",
        "colour": "RGB",
        "size": 16,
        "geometry": "pad_square",
        "resample": "bicubic",
        "range": "0-255",
        "batch": "dynamic",
    }
    return Input.model_validate(values | changes)


def _wd_reference(image: Image.Image) -> NDArray[np.float32]:
    """WD as its publisher runs it: white under transparency, white square, bicubic 448, BGR."""
    colours = np.asarray(image.convert("RGBA"), np.int64)
    alpha = colours[..., 3:]
    mixed = colours[..., :3] * alpha + 255 * (255 - alpha)
    # Division by 255 with rounding in integers, as Pillow's compositing does it.
    flat = ((mixed + 128) + ((mixed + 128) >> 8)) >> 8
    height, width = flat.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = flat
    resized = Image.fromarray(square).resize((448, 448), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float32)[None, :, :, [2, 1, 0]]


def _portrait(rng: np.random.Generator, mode: str, size: tuple[int, int]) -> Image.Image:
    width, height = size
    channels = 4 if mode == "RGBA" else 3
    rough = rng.integers(0, 256, (height // 7 + 2, width // 7 + 2, channels), dtype=np.uint8)
    image = Image.fromarray(rough).resize(size, Image.Resampling.BILINEAR)
    return image.quantize(37) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
@pytest.mark.parametrize("size", [(600, 401), (333, 700), (448, 448), (50, 31), (1, 1)])
def test_wd_golden_tensor(
    rng: np.random.Generator, tmp_path: Any, mode: str, size: tuple[int, int]
) -> None:
    image = _portrait(rng, mode, size)
    image.save(tmp_path / "x.png")
    contract = show_tagger("wd-vit-tagger-v3").contract.input
    decoded = decode(open_image((tmp_path / "x.png").read_bytes(), max_pixels=10**7))
    tensor = input_tensor(framed(decoded, framing_from_input(contract))[None], contract)
    assert tensor.dtype == np.float32
    difference = np.abs(tensor - _wd_reference(image))
    # Pillow composites in its own integer arithmetic; everything else is exact.
    assert difference.max() <= (2 if mode == "RGBA" else 0)
    assert difference.mean() < 0.2


@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    resample=st.sampled_from(["nearest", "area", "bilinear", "bicubic", "lanczos"]),
    up=st.booleans(),
)
@hypothesis_settings(deadline=None, max_examples=60)
def test_padding_in_strips_equals_padding_at_once(
    monkeypatch_strips: None, width: int, height: int, resample: str, up: bool
) -> None:
    noise = np.random.default_rng(width * 100 + height).integers(0, 256, (height, width, 3))
    image = Image.fromarray(noise.astype(np.uint8))
    pad = (10, 200, 77)
    contract = _input(
        resample=resample, pad=pad, geometry="pad_square_up" if up else "pad_square", size=[20, 16]
    )
    side = max(width, height, 20) if up else max(width, height)
    square = Image.new("RGB", (side, side), pad)
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    filters = Image.Resampling
    chosen = filters.BOX if resample == "area" else filters[resample.upper()]
    expected = np.asarray(square.resize((16, 20), chosen))
    np.testing.assert_array_equal(framed(image, framing_from_input(contract)), expected)


@pytest.mark.parametrize("resample", ["nearest", "area", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(
    "size", [(1, 50), (50, 1), (3, 200), (200, 3), (30, 300), (300, 31), (2, 999), (1, 1)]
)
def test_strips_have_the_pixels_of_their_whole_square(
    monkeypatch_strips: None, rng: np.random.Generator, size: tuple[int, int], resample: str
) -> None:
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    square = Image.new("RGB", (max(size), max(size)), (10, 200, 77))
    square.paste(image, ((max(size) - size[0]) // 2, (max(size) - size[1]) // 2))
    filters = Image.Resampling
    chosen = filters.BOX if resample == "area" else filters[resample.upper()]
    for height, width in ((16, 20), (1, 1), (7, 2), (64, 48)):
        contract = _input(resample=resample, pad=(10, 200, 77), size=[height, width])
        rows = square.resize((width, max(size)), chosen)  # rows before columns
        expected = np.asarray(rows.resize((width, height), chosen))
        np.testing.assert_array_equal(framed(image, framing_from_input(contract)), expected)


def test_a_strip_is_never_made_a_square() -> None:
    # Work, not time: what passes through Pillow's resize, in pixels of both sides.
    looked_at, resize = list[int](), Image.Image.resize

    def watched(image: Image.Image, *args: Any, **kwargs: Any) -> Image.Image:
        looked_at.append(image.width * image.height)
        return resize(image, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, "resize", watched)
        framed(Image.new("RGB", (8, 4000)), framing_from_input(_input(size=64)))
    assert sum(looked_at) < 40 * 8 * 4000  # the square has 500 times as many


@pytest.fixture(scope="module")
def monkeypatch_strips() -> Any:
    """Make strips three rows or so high, so that small pictures have several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tagstack.base_models.pictures.squares._STRIP_PIXELS", 250)
        patch.setattr("tagstack.base_models.pictures.thin_canvas._STRIP_VALUES", 250)
        yield


def _along(pixels: NDArray[np.uint8], out: int) -> NDArray[np.uint8]:
    """Return an array resized along its first axis, by bicubic weights from their formula."""
    length = len(pixels)
    shrink = max(1.0, length / out)
    result = np.empty((out, *pixels.shape[1:]), np.uint8)
    for i in range(out):
        middle = (i + 0.5) * length / out
        first, last = (int(middle + sign * 2 * shrink + 0.5) for sign in (-1, 1))
        taken = np.arange(max(0, first), min(length, last))
        x = np.abs((taken + 0.5 - middle) / shrink)
        near, far = (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
        weight = np.where(x < 1, near, np.where(x < 2, far, 0))
        total = np.tensordot(weight / weight.sum(), pixels[taken], 1)
        result[i] = np.clip(np.floor(total + 0.5), 0, 255)
    return result


def _rows_first(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    rows = _along(pixels.transpose(1, 0, 2), size[0]).transpose(1, 0, 2)
    return _along(rows, size[1])


def _columns_first(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return _rows_first(pixels.transpose(1, 0, 2), size[::-1]).transpose(1, 0, 2)


@pytest.mark.parametrize("resampling", ["pillow", "compiled"])
@pytest.mark.parametrize(
    ("size", "width", "geometry", "canvas"),
    [
        ((600, 1800), 149, "fit_pad", None),
        ((600, 1800), 448, "squash", None),
        ((320, 1792), 80, "fit_edge", None),
        ((600, 1800), 149, "squash", {"size": 448, "resample": "bicubic"}),
    ],
)
def test_rows_are_resized_before_columns_in_tall_pictures(
    rng: np.random.Generator,
    size: tuple[int, int],
    width: int,
    geometry: str,
    canvas: Any,
    resampling: Any,
) -> None:
    if resampling == "compiled":
        pytest.importorskip("numba")
    levels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    contract = _input(geometry=geometry, size=448, canvas=canvas)
    framing, resampler = framing_from_input(contract), chosen_resampler(resampling)
    pixels = framed(Image.fromarray(levels), framing, resampler=resampler)
    left = (448 - width) // 2
    shown = pixels[:, left : left + width].astype(int)
    rows, columns = (order(levels, (width, 448)) for order in (_rows_first, _columns_first))
    assert np.abs(rows - shown).max() <= 1  # the weights of the reference are not rounded
    assert (rows != shown).mean() < 1e-4
    assert (columns != shown).mean() > 0.01


def test_squash_ignores_the_ratio(picture: Callable[..., Image.Image]) -> None:
    image = picture(40, 10)
    expected = np.asarray(image.resize((16, 16), Image.Resampling.LANCZOS))
    contract = _input(geometry="squash", resample="lanczos")
    np.testing.assert_array_equal(framed(image, framing_from_input(contract)), expected)


def test_fit_pad_centres_on_the_pad_colour() -> None:
    image = Image.new("RGB", (40, 20), (1, 2, 3))
    contract = _input(geometry="fit_pad", pad=(124, 116, 104))
    pixels = framed(image, framing_from_input(contract))
    assert (pixels[4:12] == (1, 2, 3)).all()
    assert (pixels[:4] == (124, 116, 104)).all()
    assert (pixels[12:] == (124, 116, 104)).all()


def test_fit_edge_repeats_the_border() -> None:
    rows = np.zeros((8, 32, 3), np.uint8)
    rows[0], rows[-1] = 255, 100
    contract = _input(geometry="fit_edge", resample="nearest", size=32)
    pixels = framed(Image.fromarray(rows), framing_from_input(contract))
    assert (pixels[:13] == 255).all()
    assert (pixels[19:] == 100).all()


def test_fit_edge_rounds_the_mean_of_two_pixels_half_up() -> None:
    """Of an odd remainder each pixel lies between two of the picture's: 11.5 is 12, not 11."""
    rows = np.repeat([[10], [13]], 32, axis=1).astype(np.uint8)
    picture = np.tile(rows, (16, 1))[:31, :, None].repeat(3, axis=2)
    contract = _input(geometry="fit_edge", resample="nearest", size=32)
    pixels = framed(Image.fromarray(picture), framing_from_input(contract))
    assert (pixels[1:-1] == 12).all()
    assert (pixels[[0, -1]] == 10).all()


@pytest.mark.parametrize(
    "geometry", ["pad_square", "pad_square_up", "squash", "fit_pad", "fit_edge"]
)
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (15, 17)])
def test_every_geometry_takes_every_size(geometry: str, size: tuple[int, int]) -> None:
    contract = _input(geometry=geometry, size=[12, 20])
    pixels = framed(Image.new("RGB", size, (5, 6, 7)), framing_from_input(contract))
    assert pixels.shape == (12, 20, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("matte", [(255, 255, 255), (0, 0, 0), (128, 128, 128)])
def test_transparency_shows_the_contracts_matte(matte: tuple[int, int, int]) -> None:
    # Under full transparency lies green, which must not be seen.
    image = Image.new("RGBA", (16, 16), (0, 255, 0, 0))
    pixels = framed(image, framing_from_input(_input(matte=matte)))
    assert (pixels == matte).all()


def test_ranges_are_the_stated_arithmetic(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    wide = pixels.astype(np.float64)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    for contract, expected in (
        (_input(), wide),
        (_input(range="0-1"), wide / 255),
        (_input(range="-1-1"), wide / 127.5 - 1),
        (_input(range=None, mean=mean, std=std), (wide / 255 - mean) / std),
    ):
        tensor = input_tensor(pixels, contract)
        assert tensor.dtype == np.float32
        np.testing.assert_allclose(tensor, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_layout_and_colour_order(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    tensor = input_tensor(pixels, _input(layout="NCHW", colour="BGR"))
    assert tensor.shape == (2, 3, 16, 16)
    assert tensor.flags.c_contiguous
    np.testing.assert_array_equal(tensor[:, 0], pixels[..., 2])
    np.testing.assert_array_equal(tensor[:, 2], pixels[..., 0])


def test_mean_is_in_rgb_order_whatever_the_colour_order_is() -> None:
    pixels = np.zeros((1, 16, 16, 3), np.uint8)
    contract = _input(colour="BGR", range=None, mean=(0.1, 0.2, 0.3), std=(1, 1, 1))
    tensor = input_tensor(pixels, contract)
    np.testing.assert_allclose(tensor[0, 0, 0], [-0.3, -0.2, -0.1], rtol=1e-6)
