"""Orders and average precisions of many rankings in compiled code; needs the extra ``fast``.

Orders and areas are the same bits as in `ranking`: whole numbers are counted, and what is added is
added in the same order. Influences agree with those of `influence` to twelve digits.
"""

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.compilation import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BITS = 11  # of a number that are sorted by at a time: three times do for 32
_DIGITS = 1 << _BITS


def falling(value: NDArray[np.float32]) -> Ints:
    """Return the order of non-negative values from the highest; equal ones in their own order.

    Shape (n_rows,).
    """
    order = np.empty(len(value), np.int64)
    _falling(~(value + np.float32(0.0)).view(np.uint32), order)
    return order


def areas(
    order: Ints, key: Ints, value: NDArray[np.float32], count: Ints, true: Ints, n_true: Ints
) -> Floats:
    """Return the average precision of each ranking, shape (n_keys,); NaN without true pairs.

    Parameters
    ----------
    order : array of shape (n_rows,), int64
        By falling value; rankings need not be apart.
    key, value, count, true, n_true
        As in `ranking.Rankings`.
    """
    area = np.zeros(len(n_true))
    _areas(order, _together(key, value, count, true), area)
    return np.where(n_true > 0, area / np.maximum(n_true, 1), np.nan)


def influences(
    order: Ints, key: Ints, value: NDArray[np.float32], count: Ints, true: Ints, n_true: Ints
) -> tuple[Floats, Floats]:
    """Return average precision, shape (n_true,), and each row's influence on it, shape (n_rows,).

    As `influence.average_precision_influence`; parameters as for `areas`.
    """
    area, influence = np.full(len(n_true), np.nan), np.zeros(len(key))
    _influences(order, _together(key, value, count, true), n_true, area, influence)
    return area, influence


def _together(key: Ints, value: NDArray[np.float32], count: Ints, true: Ints) -> NDArray[np.int32]:
    """Return key, count, true pairs and the value's bits of each row, shape (n_rows, 4).

    Rows are asked for in the order of their values, from anywhere: what lies together is there at
    once.
    """
    rows = np.empty((len(key), 4), np.int32)
    rows[:, 0], rows[:, 1], rows[:, 2] = key, count, true
    rows[:, 3] = (value + np.float32(0.0)).view(np.int32)
    return rows


@compiled
def _falling(number, order):  # type: ignore[no-untyped-def]  # numba infers the types
    n = len(number)
    at, other = np.empty(n, np.uint32), np.empty(n, np.uint32)
    for row in range(n):
        at[row] = row
    begin = np.zeros(_DIGITS, np.int64)
    for shift in (0, _BITS, 2 * _BITS):
        begin[:] = 0
        for row in range(n):
            begin[(number[row] >> shift) & (_DIGITS - 1)] += 1
        if begin.max() == n:  # all alike in these bits
            continue
        total = 0
        for digit in range(_DIGITS):
            here = begin[digit]
            begin[digit] = total
            total += here
        for i in range(n):
            digit = (number[at[i]] >> shift) & (_DIGITS - 1)
            other[begin[digit]] = at[i]
            begin[digit] += 1
        at, other = other, at
    for row in range(n):
        order[row] = at[row]


@compiled
def _areas(order, rows, area):  # type: ignore[no-untyped-def]  # as above
    n_keys = len(area)
    # Of each ranking: the value of the step that it stands at, in its bits, of which -1 is none;
    # pairs and true pairs met down to its end; true pairs at just this value.
    state = np.zeros((n_keys, 4), np.int64)
    state[:, 0] = -1
    for row in order:
        k, count, true, value = rows[row, 0], rows[row, 1], rows[row, 2], rows[row, 3]
        at = state[k]
        if value != at[0]:
            if at[3]:
                area[k] += at[3] * (at[2] / max(at[1], 1))
            at[0] = value
            at[3] = 0
        at[1] += count
        at[2] += true
        at[3] += true
    for k in range(n_keys):
        at = state[k]
        if at[3]:
            area[k] += at[3] * (at[2] / max(at[1], 1))


@compiled
def _influences(order, rows, n_true, area, influence):  # type: ignore[no-untyped-def]  # as above
    begin, left = np.zeros(len(n_true) + 1, np.int64), np.zeros(len(n_true), np.int64)
    for row in range(len(rows)):
        begin[rows[row, 0] + 1] += 1
        left[rows[row, 0]] += rows[row, 2]
    for k in range(len(n_true)):
        begin[k + 1] += begin[k]
    # Each ranking's rows by falling value, and all that is asked of them, side by side.
    place, apart = begin[:-1].copy(), np.empty((len(order), 4), np.int32)
    last = np.full(
        len(n_true), -1, np.int32
    )  # the value of its last true pair: no value has these bits
    for row in order:
        k = rows[row, 0]
        if left[k] == 0 and rows[row, 3] != last[k]:  # what is below moves no ranking
            continue
        if rows[row, 2]:
            left[k] -= rows[row, 2]
            last[k] = rows[row, 3]
        at = apart[place[k]]
        at[0], at[1], at[2], at[3] = row, rows[row, 1], rows[row, 2], rows[row, 3]
        place[k] += 1
    # Of each step of one ranking: where it ends, its true pairs, pairs met and the precision.
    most = 1
    for k in range(len(n_true)):
        most = max(most, place[k] - begin[k])
    ends, here, met = np.empty((3, most), np.int64)
    precision = np.empty(most)
    for k in range(len(n_true)):
        if n_true[k] == 0:
            continue
        n_steps, n_met, n_found, total = 0, 0, 0, 0.0
        i = begin[k]
        while i < place[k]:
            level, n_here = apart[i, 3], 0
            while i < place[k] and apart[i, 3] == level:
                n_here += apart[i, 2]
                n_met += apart[i, 1]
                i += 1
            n_found += n_here
            ends[n_steps], here[n_steps], met[n_steps] = i, n_here, n_met
            precision[n_steps] = n_found / max(n_met, 1)
            total += n_here * precision[n_steps]
            n_steps += 1
        area[k] = total / n_true[k]
        rest_true, rest_both = 0.0, 0.0
        for step in range(n_steps - 1, -1, -1):
            share = here[step] / max(met[step], 1)
            rest_true += share
            rest_both += share * precision[step]
            of_any = rest_both / n_true[k]
            of_true = (precision[step] + rest_true - area[k]) / n_true[k]
            for i in range(ends[step - 1] if step else begin[k], ends[step]):
                influence[apart[i, 0]] = (of_true if apart[i, 2] > 0 else 0.0) - of_any
