"""Orders of many rows, sorted digit by digit: what rankings and curves start from."""

import numpy as np
from numpy.typing import NDArray

_DIGIT = 16  # bits
_UNSIGNED = {4: "uint32", 8: "uint64"}


def sorted_by(order: NDArray[np.integer], number: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return ``order`` sorted by the rows' numbers, equal ones left as they stand.

    Sixteen bits of a number at a time, from the lowest: numpy sorts those by counting, in a third
    of the time of comparisons.

    Parameters
    ----------
    order : array of shape (n,), integer
        Rows.
    number : array of shape (n_rows,), integer, at least 0
        Of every row.

    Returns
    -------
    array of shape (n,), int64
    """
    found = order.astype(np.int64)
    for shift in range(0, int(number.max(initial=0)).bit_length(), _DIGIT):
        digit = (number[found] >> shift).astype(np.uint16)
        found = found[np.argsort(digit, kind="stable")]
    return found


def falling_within(number: NDArray[np.integer], values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the rows by rising number, then by falling value, then as they stand.

    The same as ``numpy.lexsort((-values, number))``; what is no number comes last.

    Parameters
    ----------
    number : array of shape (n_rows,), integer, at least 0
    values : array of shape (n_rows,), float32 or float64

    Returns
    -------
    array of shape (n_rows,), int64
    """
    falling = _falling_bits(np.ascontiguousarray(values))
    return sorted_by(sorted_by(np.arange(len(values)), falling), number)


def _falling_bits(values: NDArray[np.floating]) -> NDArray[np.uint64]:
    """Return whole numbers that rise as the values fall; the largest for NaN."""
    n_bits = 8 * values.itemsize
    # With 0 added, the two zeros are one.
    bits = (values + 0).view(_UNSIGNED[values.itemsize]).astype(np.uint64)
    sign, every = np.uint64(1 << (n_bits - 1)), np.uint64((1 << n_bits) - 1)
    falling = np.where(bits & sign, bits, ~bits & (every ^ sign))
    return np.where(np.isnan(values), every, falling)
