"""The order of many pairs by a number and, within it, by falling value."""

import numpy as np
from numpy.typing import NDArray

_DIGIT = 16  # bits: numpy sorts unsigned numbers of so many by counting, in time linear in them
_UNSIGNED = {4: np.uint32, 8: np.uint64}


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
    falling = _falling_bits(np.ascontiguousarray(values))
    digits = [*_digits(falling, 8 * falling.itemsize)]
    digits += _digits(number, int(number.max(initial=0)).bit_length())
    order = np.arange(len(values))
    for digit in digits:
        order = order[np.argsort(digit[order], kind="stable")]
    return order


def _falling_bits(values: NDArray[np.floating]) -> NDArray[np.unsignedinteger]:
    """Return unsigned numbers that rise as the values fall; the largest for NaN."""
    unsigned = _UNSIGNED[values.itemsize]
    bits = (values + 0).view(unsigned)  # with 0 added, the two zeros are one
    sign = unsigned(1 << (8 * values.itemsize - 1))
    falling = np.where(bits & sign, bits, ~bits & ~sign)
    return np.where(np.isnan(values), ~unsigned(0), falling)


def _digits(values: NDArray[np.integer], n_bits: int) -> list[NDArray[np.uint16]]:
    """Return the digits of whole numbers, the least first, each of shape (n,)."""
    return [(values >> shift).astype(np.uint16) for shift in range(0, n_bits, _DIGIT)]
