"""Changes of training pictures that leave their tags true."""

import numpy as np
from numpy.typing import NDArray
from recipes import Recipe


def augmented(
    pixels: NDArray[np.uint8], recipe: Recipe, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the pictures mirrored, shifted, recoloured, greyed and erased as the recipe says."""
    changed = np.empty_like(pixels)
    for i, picture in enumerate(pixels):
        dy, dx = rng.integers(-recipe.shift, recipe.shift + 1, 2)
        shown = np.roll(picture, (dy, dx), (0, 1))
        shown = shown[:, ::-1] if rng.random() < 0.5 else shown
        if rng.random() < recipe.grey_share:
            shown = np.repeat(shown.mean(2, keepdims=True).astype(np.uint8), 3, axis=2)
        changed[i] = shown
        if rng.random() < recipe.erased_share:
            top, left = rng.integers(0, pixels.shape[1] * 3 // 4, 2)
            tall, wide = rng.integers(pixels.shape[1] // 10, pixels.shape[1] // 4, 2)
            changed[i, top : top + tall, left : left + wide] = rng.integers(0, 256, 3)
    gain = rng.normal(1, recipe.colour_jitter, (len(pixels), 1, 1, 3)).astype(np.float32)
    toned: NDArray[np.uint8] = np.clip(changed * gain, 0, 255).astype(np.uint8)
    return toned
