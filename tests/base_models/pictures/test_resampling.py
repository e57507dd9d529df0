"""Compiled resizing against Pillow, bit for bit, and which of both is used."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from tagstack.base_models.contract import Input
from tagstack.base_models.pictures import resampling, thin_canvas
from tagstack.base_models.pictures.images import decode, open_image
from tagstack.base_models.pictures.preprocess import Framing, framed, framing_from_input
from tagstack.base_models.pictures.resampling import (
    PILLOW,
    AutoResampler,
    PillowResampler,
    Resampler,
    chosen_resampler,
)
from tagstack.base_models.pictures.resampling_weights import ONE, Side, side_weights
from tagstack.base_models.pictures.squares import Canvas, alone, on_square
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scoring.sources import find_images
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings
from tests.base_models.scored import score_to_store

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")

FILTERS = (
    Resampling.BOX,
    Resampling.BILINEAR,
    Resampling.HAMMING,
    Resampling.BICUBIC,
    Resampling.LANCZOS,
)
GEOMETRIES = ("pad_square", "pad_square_up", "squash", "fit_pad", "fit_edge")
SIDE = st.integers(1, 300)
COLOUR = (7, 131, 255)


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Return black and white noise with few greys: what overshoots most and is clipped."""
    levels = np.array([0, 0, 0, 255, 255, 255, 100], np.uint8)
    rng = np.random.default_rng(width * 1000 + height)
    drawn = rng.integers(0, len(levels), (height, width, len(mode)), np.uint8)
    return Image.fromarray(levels[drawn], mode)


def compiled_pixels(canvas: Canvas, size: tuple[int, int], resample: Resampling) -> Any:
    from tagstack.base_models.pictures.compiled_resampling import compiled_pixels as found

    return found(canvas, size, resample)


def in_two_steps(canvas: Canvas, size: tuple[int, int], resample: Resampling) -> Any:
    """Return what Pillow makes of a canvas, rows first whatever its version would begin with."""
    left, top, right, bottom = canvas.box or (0, 0, *canvas.size)
    rows = (size[0], canvas.size[1])
    image = made(canvas).resize(rows, resample, box=(left, 0, right, rows[1]))
    return np.asarray(image.resize(size, resample, box=(0, top, size[0], bottom)))


def assert_same(canvas: Canvas, size: tuple[int, int], resample: Resampling) -> None:
    found = compiled_pixels(canvas, size, resample)
    assert found.dtype == np.uint8
    expected = in_two_steps(canvas, size, resample)
    np.testing.assert_array_equal(found, expected)
    for resampler in (PILLOW, chosen_resampler("compiled")):
        np.testing.assert_array_equal(resampler.resized(canvas, size, resample), expected)


def made(canvas: Canvas) -> Image.Image:
    """Return the canvas as a picture."""
    whole = Image.new("RGB", canvas.size, canvas.colour)
    whole.paste(canvas.image, canvas.at)
    return whole


@needs_numba
@settings(deadline=None, max_examples=100)
@given(width=SIDE, height=SIDE, out=st.tuples(SIDE, SIDE), resample=st.sampled_from(FILTERS))
@example(width=1, height=1, out=(1, 1), resample=Resampling.LANCZOS)
@example(width=1, height=300, out=(300, 1), resample=Resampling.BICUBIC)
@example(width=300, height=1, out=(1, 300), resample=Resampling.BOX)
@example(width=40, height=30, out=(40, 30), resample=Resampling.BICUBIC)
@example(width=40, height=30, out=(40, 12), resample=Resampling.HAMMING)
@example(width=40, height=30, out=(15, 30), resample=Resampling.BILINEAR)
def test_a_picture_is_resized_as_pillow_does(
    width: int, height: int, out: tuple[int, int], resample: Resampling
) -> None:
    assert_same(alone(noise(width, height)), out, resample)


@needs_numba
@settings(deadline=None, max_examples=150)
@given(
    size=st.tuples(SIDE, SIDE),
    beside=st.tuples(*[st.integers(0, 200)] * 4),
    out=st.tuples(SIDE, SIDE),
    resample=st.sampled_from(FILTERS),
    shares=st.tuples(*[st.floats(0, 1, width=32)] * 4),
)
def test_a_box_of_a_canvas_is_resized_as_pillow_does(
    size: tuple[int, int],
    beside: tuple[int, int, int, int],
    out: tuple[int, int],
    resample: Resampling,
    shares: tuple[float, float, float, float],
) -> None:
    left, top, right, bottom = beside
    whole = (left + size[0] + right, top + size[1] + bottom)
    (x0, x1), (y0, y1) = sorted(shares[::2]), sorted(shares[1::2])
    box = (x0 * whole[0], y0 * whole[1], x1 * whole[0], y1 * whole[1])
    if box[2] - box[0] < 0.01 or box[3] - box[1] < 0.01:
        box = (0, 0, *whole)
    canvas = Canvas(noise(*size), whole, (left, top), COLOUR, box)
    assert_same(canvas, out, resample)


REAL = [
    *((size, resample) for size in ((750, 501), (1700, 300), (143, 2333)) for resample in FILTERS),
    ((2048, 3072), Resampling.LANCZOS),
    ((433, 7001), Resampling.BICUBIC),
]


@needs_numba
@pytest.mark.parametrize(("size", "resample"), REAL)
def test_pictures_of_real_sizes(size: tuple[int, int], resample: Resampling) -> None:
    image = noise(*size)
    assert_same(on_square(image, max(size), COLOUR), (448, 448), resample)
    assert_same(alone(image), (299, 448), resample)


@needs_numba
def test_a_photograph_decoded_from_a_file(tmp_path: Path) -> None:
    noise(700, 500).resize((1400, 1000), Resampling.BICUBIC).save(tmp_path / "a.jpg")
    image = decode(open_image((tmp_path / "a.jpg").read_bytes(), max_pixels=10**8))
    assert_same(alone(image), (299, 213), Resampling.BICUBIC)


@needs_numba
@pytest.mark.parametrize("pixels", [1, 2_000])
def test_a_picture_in_several_pieces_is_the_same(
    pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tagstack.base_models.pictures.compiled_resampling._STRIP_PIXELS", pixels)
    large = noise(2048, 2200)  # 18 MB; Pillow's pieces have 16
    with pytest.raises(ValueError, match=r"not contiguous|multiple array blocks"):
        large.__arrow_c_array__()
    for image in (large, noise(100, 131)):
        assert_same(on_square(image, max(image.size), COLOUR), (40, 50), Resampling.BICUBIC)


def framing(**changes: object) -> Framing:
    values: dict[str, Any] = {
        "layout": "NHWC",
        "colour": "RGB",
        "size": [40, 56],
        "geometry": "pad_square",
        "resample": "bicubic",
        "range": "0-255",
        "batch": 1,
        "pad": COLOUR,
    }
    return framing_from_input(Input.model_validate(values | changes))


@needs_numba
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("resample", ["nearest", "area", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("canvas", [None, {"size": 64, "resample": "bilinear"}])
def test_every_framing_is_the_same_with_both(geometry: str, resample: str, canvas: Any) -> None:
    compiled = chosen_resampler("compiled")
    wanted = framing(geometry=geometry, resample=resample, canvas=canvas)
    for size in ((1, 1), (300, 2), (33, 400), (180, 120), (56, 40), (4000, 17)):
        for mode in ("RGB", "RGBA"):
            image = noise(*size, mode)
            for reduced in (False, True):
                one, other = (
                    framed(image, wanted, is_reduced=reduced, resampler=resampler)
                    for resampler in (PILLOW, compiled)
                )
                np.testing.assert_array_equal(one, other)


@needs_numba
@pytest.mark.parametrize("resample", [Resampling.BOX, Resampling.BICUBIC, Resampling.LANCZOS])
@pytest.mark.parametrize(("length", "out"), [(9, 8), (900, 100), (9000, 40), (9000, 4)])
def test_sums_of_short_floats_are_those_of_whole_numbers(
    rng: np.random.Generator, resample: Resampling, length: int, out: int
) -> None:
    weights = side_weights(Side(length, 0, length, 0, length), out, resample)
    full = np.zeros((out, length), np.int64)
    for row, (first, count) in enumerate(zip(weights.first, weights.count, strict=True)):
        full[row, first : first + count] = weights.weight[row, :count]
    assert (abs(full.sum(1) - ONE) < length).all()
    # Where they add up most: white under one sign and black under the other.
    values = np.concatenate([255 * (full[:4] > 0), 255 * (full[:4] < 0)]).astype(np.uint8).T
    noise = rng.integers(0, 256, (length, 5), dtype=np.uint8)
    values = np.concatenate([values, noise], axis=1)
    kind, blocks = thin_canvas._blocks(weights)
    assert (kind is np.float64) == (length / out > 2000)
    sums = np.concatenate([block.sums(values.astype(kind)) for block in blocks])
    np.testing.assert_array_equal(sums, full @ values.astype(np.int64))


def test_threads_do_not_disturb_each_other() -> None:
    compiled, images = chosen_resampler("compiled"), [noise(200 + i, 300 - i) for i in range(24)]

    def pixels(resampler: Resampler, image: Image.Image) -> NDArray[np.uint8]:
        return resampler.resized(alone(image), (50, 60), Resampling.LANCZOS)

    with ThreadPoolExecutor(8) as pool:
        for _ in range(4):
            found = list(pool.map(lambda image: pixels(compiled, image), images))
            for image, result in zip(images, found, strict=True):
                np.testing.assert_array_equal(result, pixels(PILLOW, image))


@needs_numba
def test_compiled_code_does_the_work_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("Pillow was asked")

    compiled = chosen_resampler("compiled")
    canvas, long = alone(noise(200, 300)), alone(noise(3000, 4))
    tall = alone(noise(100, 400))  # Pillow 13 would begin with its columns, which is not wanted
    monkeypatch.setattr(Canvas, "resized", refuse)
    for wanted in (canvas, tall):
        assert compiled.resized(wanted, (50, 60), Resampling.LANCZOS).shape == (60, 50, 3)
    for wanted, resample in (
        (long, Resampling.BICUBIC),  # reading off the weights would take longer than the resize
        (canvas, Resampling.NEAREST),  # no filter
    ):
        with pytest.raises(AssertionError, match="Pillow was asked"):
            compiled.resized(wanted, (20, 20), resample)


@needs_numba
def test_auto_compiles_once_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Noted(PillowResampler):
        asked = 0

        def resized(self, *arguments: Any) -> NDArray[np.uint8]:
            self.asked += 1
            return super().resized(*arguments)

    noted, loaded = Noted(), []

    def load() -> Resampler:
        loaded.append(1)
        return noted

    monkeypatch.setattr(resampling, "_WORTH_COMPILING", 500)
    monkeypatch.setattr(resampling, "_compiled", load)
    auto = chosen_resampler("auto")
    assert isinstance(auto, AutoResampler)
    for asked in (0, 0, 1, 2):  # of 10 x 20 pixels each: the third is beyond 500
        auto.resized(alone(noise(10, 20)), (5, 5), Resampling.BOX)
        assert noted.asked == asked
    assert loaded == [1]


def test_without_numba_auto_is_pillow_and_compiled_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tagstack.base_models.compilation.find_spec", lambda _: None)
    auto = chosen_resampler("auto")
    monkeypatch.setattr(resampling, "_WORTH_COMPILING", 1)
    for _ in range(2):
        pixels = auto.resized(alone(noise(10, 20)), (5, 5), Resampling.BOX)
        expected = PILLOW.resized(alone(noise(10, 20)), (5, 5), Resampling.BOX)
        np.testing.assert_array_equal(pixels, expected)
    match = r"score\.resampling is 'compiled', but numba is not installed\. Install tagstack\[fast"
    with pytest.raises(TagstackError, match=match):
        chosen_resampler("compiled")


def test_numba_is_not_loaded_before_it_pays() -> None:
    code = (
        "import sys, tagstack.base_models.scoring.intake; "
        "import tagstack.base_models.pictures.preprocess; "
        "from PIL import Image; from tagstack.base_models.pictures.squares import alone; "
        "from tagstack.base_models.pictures.resampling import chosen_resampler; "
        "small = alone(Image.new('RGB', (9, 9))); "
        "[chosen_resampler(name).resized(small, (3, 3), 3) for name in ('pillow', 'auto')]; "
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_numba
def test_the_setting_reaches_the_decoding_and_changes_no_score(
    make_tagger_folder: Callable[..., Path],
    settings: ScoreSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = str(make_tagger_folder(kind="logits"))
    (tmp_path / "images").mkdir()
    for i in range(4):
        noise(100 + 40 * i, 170).save(tmp_path / "images" / f"{i}.png")
    sources = find_images([tmp_path / "images"], extensions=settings.extensions)

    def scored(setting: str) -> tuple[str, NDArray[np.float32]]:
        chosen = settings.model_copy(update={"resampling": setting})
        tagger = load_taggers([folder], chosen, threads=1)[0]
        score_to_store(sources, [tagger], tmp_path / setting, chosen, threads=2)
        return tagger.fingerprint, ScoreStore(tmp_path / setting).load().logit

    (one, logit), (other, expected) = scored("compiled"), scored("pillow")
    assert one == other
    assert logit.size
    np.testing.assert_array_equal(logit, expected)
    monkeypatch.setattr("tagstack.base_models.compilation.find_spec", lambda _: None)
    scored("auto")
    shutil.rmtree(tmp_path / "compiled")
    with pytest.raises(TagstackError, match="numba is not installed"):
        scored("compiled")
