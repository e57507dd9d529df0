"""Changes of training pictures that leave their tags true."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class PictureChanges(Protocol):
    """How far pictures are changed: the settings of a training, or a recipe."""

    @property
    def mirrored(self) -> bool:
        """Whether half of the pictures are mirrored."""

    @property
    def shift(self) -> int:
        """Largest shift of a picture in pixels, each way; what leaves comes in on the far side."""

    @property
    def colour_jitter(self) -> float:
        """Standard deviation of a channel's gain."""

    @property
    def grey_share(self) -> float:
        """Share of pictures shown in grey, in [0, 1]."""

    @property
    def erased_share(self) -> float:
        """Share of pictures with a rectangle painted over, in [0, 1]."""


def augmented(
    pixels: NDArray[np.uint8], changes: PictureChanges, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the pictures mirrored, shifted, recoloured, greyed and erased as asked.

    Parameters
    ----------
    pixels : array of shape (n_images, height, width, 3), uint8
    changes : PictureChanges
    rng : numpy Generator

    Returns
    -------
    array of shape (n_images, height, width, 3), uint8
    """
    changed = np.empty_like(pixels)
    for i, picture in enumerate(pixels):
        dy, dx = rng.integers(-changes.shift, changes.shift + 1, 2)
        shown = np.roll(picture, (dy, dx), (0, 1))
        shown = shown[:, ::-1] if rng.random() < 0.5 and changes.mirrored else shown
        if rng.random() < changes.grey_share:
            shown = np.repeat(shown.mean(2, keepdims=True).astype(np.uint8), 3, axis=2)
        changed[i] = shown
        if rng.random() < changes.erased_share:
            top, left = rng.integers(0, pixels.shape[1] * 3 // 4, 2)
            tall, wide = rng.integers(pixels.shape[1] // 10, pixels.shape[1] // 4, 2)
            changed[i, top : top + tall, left : left + wide] = rng.integers(0, 256, 3)
    gain = rng.normal(1, changes.colour_jitter, (len(pixels), 1, 1, 3)).astype(np.float32)
    toned: NDArray[np.uint8] = np.clip(changed * gain, 0, 255).astype(np.uint8)
    return toned
