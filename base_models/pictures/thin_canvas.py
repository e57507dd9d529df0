"""Resizing pictures that fill little of their canvas: a webtoon strip on its square.

Made whole, an 800 x 20,000 strip is a square of 400 million pixels, and one of 1 x 65,500 a square
of 4 billion. What lies beside a picture is one colour, so it enters each sum as one number; what
is left costs as much as the picture. The weights are Pillow's own and whole numbers, and sums of
whole numbers below 2^53 are exact in any order, so every pixel is Pillow's to the bit. Mostly each
weight is parted into two so small that even sums below 2^24 do, those of half as long floats.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from tagstack.base_models.pictures.resampling_weights import (
    ONE,
    Levels,
    Side,
    Weights,
    side_weights,
)

Floats = NDArray[np.float64] | NDArray[np.float32]

_SHIFT = 22
_LOW_BITS, _EXACT = 7, 1 << 24  # below that, float32 holds every whole number
_HALF = 1 << (_LOW_BITS - 1)
_STRIP_VALUES = 500_000  # floats that are worked on together: they stay near the processor
_BLOCK = 8  # output pixels that share a matrix product: their reaches overlap


def resized_rows(
    image: Image.Image, side: Side, out: int, resample: Resampling, colour: Levels
) -> tuple[Levels, NDArray[np.int64]]:
    """Return a picture's rows, resized to ``out`` pixels, each different column once.

    Parameters
    ----------
    image : PIL image in mode RGB
    side : Side
        Where the picture lies in its rows.
    out : int
    resample : Resampling
        One that `resampling_weights.SUPPORT` has.
    colour : array of shape (3,), uint8
        What lies to its left and right.

    Returns
    -------
    columns : array of shape (height, n_columns, 3), uint8
    place : array of shape (out,), int64
        The column that each output pixel of a row is; those beside the picture share one.
    """
    weights = side_weights(side, out, resample)
    start, reached = _start(weights, colour), weights.count > 0
    kind, blocks = _blocks(weights)
    used = np.flatnonzero(reached)
    first_beside = np.flatnonzero(~reached)[:1]
    result = np.empty((image.height, len(used) + len(first_beside), 3), np.uint8)
    result[:, len(used) :] = _levels(start[first_beside])
    step = max(1, _STRIP_VALUES // side.own)
    for low in range(0, image.height, step):
        high = min(low + step, image.height)
        bands = image.crop((0, low, image.width, high)).split()
        for channel, band in enumerate(bands):
            strip = np.asarray(band).astype(kind).T
            for block in blocks:
                sums = block.sums(strip) + start[block.outputs, channel, None]
                result[low:high, np.searchsorted(used, block.outputs), channel] = _levels(sums).T
    return result, np.where(reached, np.cumsum(reached) - 1, len(used))


def resized_columns(
    levels: Levels, side: Side, out: int, resample: Resampling, beside: Levels
) -> Levels:
    """Return columns resized to ``out`` pixels.

    Parameters
    ----------
    levels : array of shape (own, width, 3), uint8
    side : Side
    out : int
    resample : Resampling
        One that `resampling_weights.SUPPORT` has.
    beside : array of shape (width, 3), uint8
        What lies above and below the picture, column by column.

    Returns
    -------
    array of shape (out, width, 3), uint8
    """
    weights = side_weights(side, out, resample)
    lanes, around = levels.reshape(side.own, -1), beside.reshape(-1)
    start = _start(weights, around)
    result = _levels(start)
    kind, blocks = _blocks(weights)
    step = max(1, _STRIP_VALUES // side.own)
    for low in range(0, lanes.shape[1], step):
        part = slice(low, low + step)
        strip = lanes[:, part].astype(kind)
        for block in blocks:
            result[block.outputs, part] = _levels(block.sums(strip) + start[block.outputs, part])
    return result.reshape(out, -1, 3)


def nearest(
    image: Image.Image, sides: tuple[Side, Side], size: tuple[int, int], colour: Levels
) -> Levels:
    """Return the pixels of a canvas that Pillow takes for the nearest, shape (height, width, 3)."""
    columns, rows = (_nearest(side, out) for side, out in zip(sides, size, strict=True))
    result = np.empty((size[1], size[0], 3), np.uint8)
    result[:] = colour
    inside = np.flatnonzero((columns >= 0) & (columns < image.width))
    for y in np.flatnonzero((rows >= 0) & (rows < image.height)):
        row = np.asarray(image.crop((0, int(rows[y]), image.width, int(rows[y]) + 1)))[0]
        result[y, inside] = row[columns[inside]]
    return result


def _nearest(side: Side, out: int) -> NDArray[np.int64]:
    """Return which of the picture's pixels each output pixel is, read off Pillow itself."""
    line = Image.fromarray(np.arange(side.length, dtype=np.int32)[None])
    taken = line.resize((out, 1), Resampling.NEAREST, box=(side.start, 0, side.stop, 1))
    place: NDArray[np.int64] = np.asarray(taken, np.int64)[0] - side.at
    return place


@dataclass(frozen=True, eq=False)
class _Block:
    """Output pixels that the picture reaches, some neighbours, and the weights of their sums.

    Parameters
    ----------
    outputs : array of shape (n_out,), int64
    taken : slice
        The picture's pixels that take part.
    matrix : array of shape (n_out, n_taken), float64, or (2 * n_out, n_taken), float32
        Weights, or their higher and then their lower part.
    """

    outputs: NDArray[np.int64]
    taken: slice
    matrix: Floats

    def sums(self, values: Floats) -> NDArray[np.int64]:
        """Return the weighted sums of values, shape (n_values, n), as (n_out, n)."""
        parts = (self.matrix @ values[self.taken]).astype(np.int64)
        n_out = len(self.outputs)
        return parts if len(parts) == n_out else (parts[:n_out] << _LOW_BITS) + parts[n_out:]


def _blocks(weights: Weights) -> tuple[type[np.floating[Any]], list[_Block]]:
    """Return what values must be, and the output pixels that the picture reaches in blocks."""
    high = (weights.weight + _HALF) >> _LOW_BITS
    parts: tuple[NDArray[np.int32], ...] = (high, weights.weight - (high << _LOW_BITS))
    largest = max(int(np.abs(part).sum(1).max(initial=0)) for part in parts)
    kind: type[np.floating[Any]] = np.float32
    if 255 * largest >= _EXACT:  # sums of very many pixels
        parts, kind = (weights.weight,), np.float64
    used = np.flatnonzero(weights.count > 0)
    begins = range(0, len(used), _BLOCK)
    return kind, [_block(weights, parts, used[at : at + _BLOCK], kind) for at in begins]


def _block(
    weights: Weights, parts: tuple[NDArray[np.int32], ...], outputs: NDArray[np.int64], kind: Any
) -> _Block:
    first, count = weights.first[outputs], weights.count[outputs]
    low, high = int(first.min()), int((first + count).max())
    matrix = np.zeros((len(parts), len(outputs), high - low), kind)
    for row, which in enumerate(outputs):
        n, at = int(count[row]), int(first[row]) - low
        for number, part in enumerate(parts):
            matrix[number, row, at : at + n] = part[which, :n]
    return _Block(outputs, slice(low, high), matrix.reshape(-1, high - low))


def _start(weights: Weights, beside: Levels) -> NDArray[np.int64]:
    """Return what each output pixel's sum begins with, shape (out, n_values)."""
    return ONE // 2 + weights.beside[:, None] * beside.astype(np.int64)


def _levels(sums: NDArray[np.int64]) -> Levels:
    return (sums >> _SHIFT).clip(0, 255).astype(np.uint8)
