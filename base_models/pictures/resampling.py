"""What resizes pictures: Pillow, or compiled code that gives the same pixels sooner.

The choice is a matter of speed alone and enters no fingerprint.
"""

from threading import Lock
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Resampling

from tagstack.base_models.compilation import can_compile, require_numba
from tagstack.base_models.pictures.squares import Canvas

# Source pixels: some 4 s in Pillow. Compiling takes 3 s of CPU once per machine, loading what was
# compiled a good half second.
_WORTH_COMPILING = 500_000_000


class Resampler(Protocol):
    """Resizes pictures; any number of threads may call it."""

    def resized(
        self, canvas: Canvas, size: tuple[int, int], resample: Resampling
    ) -> NDArray[np.uint8]:
        """Return the canvas resized as Pillow would, to the bit.

        Parameters
        ----------
        canvas : Canvas
        size : (int, int)
            Width and height in pixels.
        resample : Resampling

        Returns
        -------
        array of shape (height, width, 3), uint8
        """


class PillowResampler:
    """Resizes with Pillow."""

    def resized(
        self, canvas: Canvas, size: tuple[int, int], resample: Resampling
    ) -> NDArray[np.uint8]:
        """Return the canvas resized. Shape (height, width, 3)."""
        return canvas.resized(size, resample)


class AutoResampler:
    """Resizes with Pillow until so much was resized that loading compiled code pays."""

    def __init__(self) -> None:
        self._current: Resampler = PillowResampler()
        self._pixels = 0
        self._loading = Lock()

    def resized(
        self, canvas: Canvas, size: tuple[int, int], resample: Resampling
    ) -> NDArray[np.uint8]:
        """Return the canvas resized. Shape (height, width, 3)."""
        self._pixels += canvas.image.width * canvas.image.height
        # One thread loads, once; the others stay with Pillow meanwhile. Pictures that two threads
        # count at the same time may count once: this need not be exact.
        if self._pixels >= _WORTH_COMPILING and self._loading.acquire(blocking=False):
            faster = _compiled() if can_compile() else PILLOW
            pixels = faster.resized(canvas, size, resample)
            self._current = faster
            return pixels
        return self._current.resized(canvas, size, resample)


PILLOW = PillowResampler()


def chosen_resampler(setting: Literal["auto", "pillow", "compiled"]) -> Resampler:
    """Return what ``score.resampling`` asks for.

    Raises
    ------
    TagstackError
        If it asks for compiled code and numba is not installed or does not import.
    """
    if setting == "compiled":
        require_numba("score.resampling", setting, instead="'auto' or 'pillow'", same="pixels")
        return _compiled()
    return AutoResampler() if setting == "auto" else PILLOW


def _compiled() -> Resampler:
    from tagstack.base_models.pictures.compiled_resampling import CompiledResampler

    return CompiledResampler()
