"""Reduced decoding: how far it may go, how close it stays, and on what it does not depend."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tagstack.base_models.contract import Input
from tagstack.base_models.pictures.framed_pixels import framed_picture, reduction
from tagstack.base_models.pictures.images import DecodingBudget, ImageError, open_image, reduced
from tagstack.base_models.pictures.preprocess import Framing, framed, framing_from_input
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scoring.sources import find_images
from tagstack.base_models.taggers.registry import load_taggers
from tagstack.configs.level1 import ScoreSettings
from tests.base_models.scored import score_to_store

GEOMETRIES = ("pad_square", "pad_square_up", "squash", "fit_pad", "fit_edge")
MAX = 10**8


def _framing(scaled: bool = True, **changes: object) -> Framing:
    values: dict[str, Any] = {
        "layout": "NHWC",
        "colour": "RGB",
        "size": 64,
        "geometry": "pad_square",
        "resample": "bicubic",
        "range": "0-255",
        "batch": 1,
    }
    return framing_from_input(Input.model_validate(values | changes), scaled_decoding=scaled)


def _jpeg(width: int, height: int, kind: str = "JPEG", **options: Any) -> bytes:
    rng = np.random.default_rng(0)
    image = Image.new("RGB", (width, height))
    for cells in (3, 11, 40):
        rough = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        image = Image.blend(image, rough.resize((width, height), Image.Resampling.BICUBIC), 0.6)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _pixels(data: bytes, *framings: Framing) -> list[Any]:
    found = framed_picture(data, framings, max_pixels=MAX, budget=DecodingBudget(MAX)).pixels
    return [found[framing].astype(int) for framing in framings]


@pytest.mark.parametrize(
    ("size", "changes", "expected"),
    [
        ((2048, 3072), {"size": 448}, 2),
        ((4096, 3072), {"size": 448}, 4),
        ((8192, 100), {"size": 448}, 4),  # 100 is no multiple of 8
        ((2049, 3072), {"size": 448}, 1),
        ((890, 600), {"size": 448}, 1),
        ((2048, 512), {"geometry": "squash", "size": 128}, 2),
        ((512, 2048), {"geometry": "squash", "size": [512, 64]}, 1),  # a rotation could follow
        ((2048, 3072), {"size": 384, "canvas": {"size": 1024, "resample": "bilinear"}}, 1),
    ],
)
def test_reduction_keeps_twice_what_is_needed(
    size: tuple[int, int], changes: dict[str, Any], expected: int
) -> None:
    assert reduction(size, _framing(**changes)) == expected


@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    geometry=st.sampled_from(GEOMETRIES),
)
def test_reduction_never_takes_more_than_half_of_what_is_there(
    width: int, height: int, geometry: str
) -> None:
    factor = reduction((width, height), _framing(geometry=geometry, size=20))
    assert width % factor == height % factor == 0
    assert factor == 1 or max(width, height) >= 2 * factor * 20


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("size", [(512, 512), (800, 400), (400, 1120)])
def test_reduced_pixels_stay_close(geometry: str, size: tuple[int, int]) -> None:
    data = _jpeg(*size, quality=92)
    exact, fast = _pixels(data, _framing(False, geometry=geometry), _framing(geometry=geometry))
    assert reduction(size, _framing(geometry=geometry)) > 1
    difference = np.abs(exact - fast)
    assert 0 < difference.max() <= 6
    assert difference.mean() < 1


@settings(deadline=None)
@given(
    width=st.integers(64, 700),
    height=st.integers(64, 700),
    out=st.tuples(st.integers(3, 32), st.integers(3, 32)),
    resample=st.sampled_from(["bilinear", "bicubic", "lanczos", "area", "nearest"]),
)
def test_resizing_only_the_picture_is_resizing_the_square(
    width: int, height: int, out: tuple[int, int], resample: str
) -> None:
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    framing = replace(_framing(pad=(0, 130, 255), resample=resample), height=out[0], width=out[1])
    image = Image.fromarray(noise)
    exact = framed(image, framing).astype(int)
    assert np.abs(framed(image, framing, is_reduced=True) - exact).max() <= 1


def test_orientation_comes_after_reduction() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _jpeg(800, 400, exif=exif, quality=92)
    exact, fast = _pixels(data, _framing(False), _framing())
    assert np.abs(exact - fast).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_other_formats_are_decoded_whole(kind: str) -> None:
    exact, fast = _pixels(_jpeg(512, 512, kind), _framing(False), _framing())
    np.testing.assert_array_equal(exact, fast)


def test_a_framing_has_the_same_pixels_in_any_company() -> None:
    data = _jpeg(1024, 2048)
    small, large, whole = _framing(size=32), _framing(size=250), _framing(False, size=32)
    assert reduction((1024, 2048), small) != reduction((1024, 2048), large)
    together = _pixels(data, small, large, whole)
    for framing, pixels in zip((small, large, whole), together, strict=True):
        np.testing.assert_array_equal(_pixels(data, framing)[0], pixels)


def test_a_decoder_that_does_not_reduce_is_noticed() -> None:
    image = open_image(_jpeg(64, 64, "PNG"), max_pixels=MAX)
    with pytest.raises(ImageError, match=r"decodes to \(64, 64\), expected \(32, 32\) at 1/2"):
        reduced(image, 2)


def test_the_setting_reaches_the_scores_and_the_fingerprint(
    make_tagger_folder: Callable[..., Path], settings: ScoreSettings, tmp_path: Path
) -> None:
    folder = str(make_tagger_folder(kind="logits"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(_jpeg(256, 256))
    (tmp_path / "images" / "b.png").write_bytes(_jpeg(256, 256, "PNG"))
    sources = find_images([tmp_path / "images"], extensions=settings.extensions)
    prints, logits = set(), []
    for scaled in (False, True):
        chosen = settings.model_copy(update={"scaled_decoding": scaled})
        taggers = load_taggers([folder], chosen, threads=1)
        prints.add(taggers[0].fingerprint)
        score_to_store(sources, taggers, tmp_path / f"s{scaled}", chosen, threads=1)
        scores = ScoreStore(tmp_path / f"s{scaled}").load()
        logits.append([scores.take(np.array([i])).logit for i in (0, 1)])
    assert len(prints) == 2
    assert not np.array_equal(logits[0][0], logits[1][0])
    np.testing.assert_array_equal(logits[0][1], logits[1][1])
