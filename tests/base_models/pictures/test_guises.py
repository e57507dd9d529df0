"""Pictures in other guises: what each takes, what it leaves, and that nothing is drawn by lot."""

import numpy as np
import pytest
from PIL import Image

from tagstack.base_models.pictures.guises import GUISES, LONGEST, PLAIN, in_guise, prepared


def picture(seed: int = 0, size: tuple[int, int] = (41, 30)) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BILINEAR)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.int64)


@pytest.mark.parametrize("name", [PLAIN, *GUISES])
def test_a_guise_is_the_same_each_time_and_of_the_same_size(name: str) -> None:
    one, two = (in_guise(name, picture(), 7, picture(1)) for _ in range(2))
    assert one.size == picture().size
    assert one.mode == "RGB"
    np.testing.assert_array_equal(pixels(one), pixels(two))
    if name != PLAIN:
        assert (pixels(one) != pixels(picture())).any()


@pytest.mark.parametrize("name", GUISES)
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (2, 90)])
def test_the_smallest_pictures_have_every_guise(name: str, size: tuple[int, int]) -> None:
    assert in_guise(name, picture(size=size), 0, picture(1)).size == size


def test_grey_has_no_colour_and_the_palette_has_other_ones() -> None:
    grey = pixels(in_guise("grey", picture(), 0, picture()))
    assert (grey[..., 0] == grey[..., 1]).all()
    assert (grey[..., 1] == grey[..., 2]).all()
    moved = pixels(in_guise("palette", picture(), 0, picture()))
    np.testing.assert_array_equal(moved, pixels(picture())[..., [2, 0, 1]])


def test_mirrored_is_mirrored_and_patches_keep_their_pixels() -> None:
    own = pixels(picture(size=(40, 32)))
    mirrored = in_guise("mirrored", picture(size=(40, 32)), 0, picture())
    np.testing.assert_array_equal(pixels(mirrored), own[:, ::-1])
    one, two = (pixels(in_guise("patches", picture(size=(40, 32)), n, picture())) for n in (1, 2))
    assert (one != two).any()  # another content, another order
    for moved in (one, two):
        np.testing.assert_array_equal(
            np.sort(moved.reshape(-1, 3), axis=0), np.sort(own.reshape(-1, 3), axis=0)
        )


def test_a_style_lends_mean_and_spread() -> None:
    def tones(image: Image.Image) -> np.ndarray:
        return np.asarray(image.convert("YCbCr"), float).reshape(-1, 3)

    dark = Image.fromarray((pixels(picture(1)) // 4 + 20).astype(np.uint8))
    found = tones(in_guise("style", picture(), 0, dark))
    np.testing.assert_allclose(found.mean(0), tones(dark).mean(0), atol=3)
    assert found[:, 0].std() < tones(picture())[:, 0].std() / 2


def test_edges_are_dark_where_brightness_changes_and_white_elsewhere() -> None:
    half = np.zeros((20, 20, 3), np.uint8)
    half[:, 10:] = 255
    found = pixels(in_guise("edges", Image.fromarray(half), 0, picture()))
    assert (found[:, :8] == 255).all()
    assert (found[:, 9:11] < 128).all()


def test_pictures_are_prepared_on_white_and_no_larger_than_needed() -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert prepared(clear).getpixel((0, 0)) == (255, 255, 255)
    assert max(prepared(Image.new("RGB", (3000, 1500))).size) == LONGEST
