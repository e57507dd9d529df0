"""Resizing in compiled code: Pillow's pixels, bit for bit, in a third of its time.

What lies beside a picture is one colour, so it enters the sums as one number and is never made.
Needs the extra ``fast``.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from tagstack.base_models.pictures.resampling_kernel import sum_columns, sum_rows
from tagstack.base_models.pictures.resampling_weights import (
    SUPPORT,
    Pixels,
    Weights,
    reach,
    side_weights,
)
from tagstack.base_models.pictures.squares import Canvas

# Larger strips leave the processor's cache, lower ones the vector units half empty.
_STRIP_PIXELS = 131_072
_ROWS = 16
# Reading off the weights takes this many rows of a side's length; at a reduction to a sixtieth
# and beyond it would begin to show.
_MOST_TAPS = 256


class CompiledResampler:
    """Resizes in compiled code what is worth it, and leaves the rest to Pillow."""

    def resized(
        self, canvas: Canvas, size: tuple[int, int], resample: Resampling
    ) -> NDArray[np.uint8]:
        """Return the canvas resized; see `resampling.Resampler`. Shape (height, width, 3)."""
        if resample in SUPPORT and canvas.image.mode == "RGB" and _pays(canvas, size, resample):
            return compiled_pixels(canvas, size, resample)
        return canvas.resized(size, resample)


def compiled_pixels(
    canvas: Canvas, size: tuple[int, int], resample: Resampling
) -> NDArray[np.uint8]:
    """Return a canvas resized, rows before columns, with whatever effort.

    Parameters
    ----------
    canvas : Canvas
        Its picture in mode RGB.
    size : (int, int)
        Width and height in pixels.
    resample : Resampling
        One that `SUPPORT` has.

    Returns
    -------
    array of shape (height, width, 3), uint8
    """
    across, down = (
        side_weights(side, out, resample) for side, out in zip(canvas.sides, size, strict=True)
    )
    low, high = _taken(down)
    rows = np.empty((high - low, size[0]), np.uint32)
    begin = across.start(canvas.colour)
    for top, strip in _strips(canvas.image, low, high):
        part = rows[top - low : top - low + len(strip)]
        sum_columns(strip, across.first, across.count, across.weight, begin, part)
    result = np.empty((size[1], size[0], 3), np.uint8)
    # What is beside the picture keeps its colour when rows are resized: weights sum to one.
    begin, first = down.start(canvas.colour), down.first - low
    sum_rows(rows.view(np.uint8), first, down.count, down.weight, begin, result)
    return result


def _pays(canvas: Canvas, size: tuple[int, int], resample: Resampling) -> bool:
    """Return whether reading off the weights is little beside the resize itself."""
    across, down = (
        reach(side, out, resample) for side, out in zip(canvas.sides, size, strict=True)
    )
    return across <= min(_MOST_TAPS, canvas.image.height) and down <= min(_MOST_TAPS, size[0])


def _taken(down: Weights) -> tuple[int, int]:
    """Return the first row of the picture that counts, and the one behind the last."""
    used = down.count > 0
    if not used.any():
        return 0, 0
    return int(down.first[used].min()), int((down.first + down.count)[used].max())


def _strips(image: Image.Image, low: int, high: int) -> Iterator[tuple[int, Pixels]]:
    """Yield rows as four-byte pixels, each strip of shape (n_rows, width) with its first row."""
    step = max(_ROWS, _STRIP_PIXELS // image.width)
    try:
        whole = _shared(image)
    except ValueError:  # a large picture lies in several pieces, which a copy of a part does not
        whole = None
    for top in range(low, high, step):
        end = min(top + step, high)
        if whole is None:
            yield top, _shared(image.crop((0, top, image.width, end)))
        else:
            yield top, whole[top:end]


def _shared(image: Image.Image) -> Pixels:
    """Return a picture's own memory, shape (height, width)."""
    content = pa.array(image).buffers()[-1]
    return np.frombuffer(content, np.uint32).reshape(image.height, image.width)
