"""Resizing pictures that fill little of their canvas: a webtoon strip on its square.

Made whole, an 800 x 20,000 strip is a square of 400 million pixels, and one of 1 x 65,500 a square
of 4 billion. What lies beside a picture is one colour, so it enters each sum as one number; what
is left costs as much as the picture. The weights are Pillow's own and whole numbers, and sums of
whole numbers below 2^53 are exact in any order, so every pixel is Pillow's to the bit.
"""

from collections.abc import Iterator

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

Floats = NDArray[np.float64]

_SHIFT = 22
_STRIP_VALUES = 2_000_000  # of eight bytes, that a strip of rows becomes
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
    used = np.flatnonzero(reached)
    first_beside = np.flatnonzero(~reached)[:1]
    result = np.empty((image.height, len(used) + len(first_beside), 3), np.uint8)
    result[:, len(used) :] = _levels(start[first_beside])
    step = max(1, _STRIP_VALUES // side.own)
    for low in range(0, image.height, step):
        high = min(low + step, image.height)
        bands = image.crop((0, low, image.width, high)).split()
        for channel, band in enumerate(bands):
            strip = np.asarray(band).astype(np.float64)
            for block, taken, matrix in _blocks(weights):
                sums = strip[:, taken] @ matrix.T + start[block, channel]
                result[low:high, np.searchsorted(used, block), channel] = _levels(sums)
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
    step = max(1, _STRIP_VALUES // side.own)
    for low in range(0, lanes.shape[1], step):
        part = slice(low, low + step)
        strip = lanes[:, part].astype(np.float64)
        for block, taken, matrix in _blocks(weights):
            result[block, part] = _levels(matrix @ strip[taken] + start[block, part])
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


def _start(weights: Weights, beside: Levels) -> Floats:
    """Return what each output pixel's sum begins with, shape (out, n_values)."""
    parts = weights.beside[:, None] * beside.astype(np.int64)
    return (ONE // 2 + parts).astype(np.float64)


def _blocks(weights: Weights) -> Iterator[tuple[NDArray[np.int64], slice, Floats]]:
    """Yield output pixels that the picture reaches, some neighbours at a time.

    Each with the picture's pixels that take part, and their weights, a row for each output pixel.
    """
    used = np.flatnonzero(weights.count > 0)
    for begin in range(0, len(used), _BLOCK):
        block = used[begin : begin + _BLOCK]
        first, count = weights.first[block], weights.count[block]
        low, high = int(first.min()), int((first + count).max())
        matrix = np.zeros((len(block), high - low))
        for row, which in enumerate(block):
            n, at = int(count[row]), int(first[row]) - low
            matrix[row, at : at + n] = weights.weight[which, :n]
        yield block, slice(low, high), matrix


def _levels(sums: Floats) -> Levels:
    return (sums.astype(np.int64) >> _SHIFT).clip(0, 255).astype(np.uint8)
