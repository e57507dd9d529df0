"""Both passes of a resize over four-byte pixels, compiled by numba.

The innermost loops run over many independent sums with the same weight, which the compiler turns
into vector instructions: along a row where rows are summed, over a block of rows set upright where
columns are. Sums are 32-bit integers that stand for a level times 2^22, as in Pillow.
"""

import numpy as np

from tagstack.base_models.compilation import compiled

# What the kernels take and give has no types that mypy could check more closely than this.
from tagstack.base_models.pictures.resampling_weights import Ints, Levels, Pixels

_SHIFT = 22
_ROWS = 16  # that are set upright together: their sums fill four of the widest registers
_LANES = 4 * _ROWS


@compiled
def sum_columns(
    rows: Pixels, first: Ints, count: Ints, weight: Ints, start: Ints, result: Pixels
) -> None:
    """Write every output column as a weighted sum of some columns.

    Parameters
    ----------
    rows : array of shape (n_rows, width), uint32
        Pixels of four bytes.
    first, count : array of shape (n_out,), int64
        The columns of each sum.
    weight : array of shape (n_out, most), int32
        Their weights times 2^22.
    start : array of shape (n_out, 4), int32
        What each sum begins with, by channel: a half, and what lies beside the picture.
    result : array of shape (n_rows, n_out), uint32
    """
    n_rows, width = rows.shape
    sums = np.empty(_LANES, np.int32)
    levels = np.empty(_LANES, np.uint8)
    pixels = levels.view(np.uint32)
    upright = np.zeros((width, _ROWS), np.uint32)
    columns = upright.view(np.uint8)
    for top in range(0, n_rows, _ROWS):
        n = min(_ROWS, n_rows - top)
        for r in range(0, n - n % 4, 4):
            row_0, row_1 = rows[top + r], rows[top + r + 1]
            row_2, row_3 = rows[top + r + 2], rows[top + r + 3]
            for x in range(width):
                upright[x, r] = row_0[x]
                upright[x, r + 1] = row_1[x]
                upright[x, r + 2] = row_2[x]
                upright[x, r + 3] = row_3[x]
        for r in range(n - n % 4, n):
            for x in range(width):
                upright[x, r] = rows[top + r, x]
        for out in range(len(first)):
            for i in range(_LANES):
                sums[i] = start[out, i & 3]
            at, left, t = first[out], count[out], 0
            # Four at a time, so that the sums are loaded and stored a quarter as often.
            while t + 4 <= left:
                weight_0, weight_1 = weight[out, t], weight[out, t + 1]
                weight_2, weight_3 = weight[out, t + 2], weight[out, t + 3]
                column_0, column_1 = columns[at + t], columns[at + t + 1]
                column_2, column_3 = columns[at + t + 2], columns[at + t + 3]
                for i in range(_LANES):
                    sums[i] += (
                        column_0[i] * weight_0
                        + column_1[i] * weight_1
                        + column_2[i] * weight_2
                        + column_3[i] * weight_3
                    )
                t += 4
            while t < left:
                weight_0, column_0 = weight[out, t], columns[at + t]
                for i in range(_LANES):
                    sums[i] += column_0[i] * weight_0
                t += 1
            for i in range(_LANES):
                levels[i] = min(max(sums[i] >> _SHIFT, 0), 255)
            for r in range(n):
                result[top + r, out] = pixels[r]


@compiled
def sum_rows(
    rows: Levels, first: Ints, count: Ints, weight: Ints, start: Ints, result: Levels
) -> None:
    """Write every output row as a weighted sum of some rows, with three of the four channels.

    Parameters
    ----------
    rows : array of shape (n_rows, 4 * width), uint8
    first, count, weight, start
        As for `sum_columns`, of rows.
    result : array of shape (n_out, width, 3), uint8
    """
    n_lanes = rows.shape[1]
    sums = np.empty(n_lanes, np.int32)
    levels = np.empty(n_lanes, np.uint8)
    for out in range(len(first)):
        for i in range(n_lanes):
            sums[i] = start[out, i & 3]
        at, left, t = first[out], count[out], 0
        while t + 4 <= left:
            weight_0, weight_1 = weight[out, t], weight[out, t + 1]
            weight_2, weight_3 = weight[out, t + 2], weight[out, t + 3]
            row_0, row_1 = rows[at + t], rows[at + t + 1]
            row_2, row_3 = rows[at + t + 2], rows[at + t + 3]
            for i in range(n_lanes):
                sums[i] += (
                    row_0[i] * weight_0
                    + row_1[i] * weight_1
                    + row_2[i] * weight_2
                    + row_3[i] * weight_3
                )
            t += 4
        while t < left:
            weight_0, row_0 = weight[out, t], rows[at + t]
            for i in range(n_lanes):
                sums[i] += row_0[i] * weight_0
            t += 1
        for i in range(n_lanes):
            levels[i] = min(max(sums[i] >> _SHIFT, 0), 255)
        for x in range(n_lanes // 4):
            result[out, x, 0] = levels[4 * x]
            result[out, x, 1] = levels[4 * x + 1]
            result[out, x, 2] = levels[4 * x + 2]
