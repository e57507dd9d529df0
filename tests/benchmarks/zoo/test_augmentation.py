from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from recipes import RECIPES

from tagstack.base_models.training.augmentation import augmented

STILL = replace(RECIPES[0], shift=0, colour_jitter=0.0, grey_share=0.0, erased_share=0.0)


@pytest.fixture
def pixels(rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)


def test_a_still_recipe_only_mirrors(
    pixels: NDArray[np.uint8],
) -> None:
    changed = augmented(pixels, STILL, np.random.default_rng(1))
    same = (changed == pixels).all((1, 2, 3))
    mirrored = (changed == pixels[:, :, ::-1]).all((1, 2, 3))
    assert (same | mirrored).all()
    assert 8 < mirrored.sum() < 32


def test_grey_pictures_are_grey(pixels: NDArray[np.uint8]) -> None:
    changed = augmented(pixels, replace(STILL, grey_share=1.0), np.random.default_rng(1))
    assert (changed == changed[..., :1]).all()


def test_the_input_is_left_alone(pixels: NDArray[np.uint8]) -> None:
    before = pixels.copy()
    wild = replace(STILL, shift=4, colour_jitter=0.3, grey_share=0.5, erased_share=1.0)
    assert (augmented(pixels, wild, np.random.default_rng(1)) != before).any((1, 2, 3)).all()
    assert np.array_equal(pixels, before)
