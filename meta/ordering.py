"""Stable orders of many rows, by counting instead of comparing."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def falling_order(value: NDArray[np.float32]) -> Ints:
    """Return the order of non-negative values from the highest; equal ones in their own order."""
    # The bits of a non-negative float order like the float; adding 0.0 turns -0.0 to 0.0.
    return sorted_by(np.arange(len(value)), ~(value + np.float32(0.0)).view(np.uint32))


def sorted_by(order: Ints, number: NDArray[np.uint32]) -> Ints:
    """Return ``order`` sorted by the rows' numbers, equal ones left as they stand.

    Half a number at a time, from the lower half: numpy sorts 16 bits by counting, in a third of
    the time of comparisons.
    """
    highest = int(number.max(initial=0))
    for shift in (0, 16):
        if highest >> shift:
            half = (number[order] >> np.uint32(shift)).astype(np.uint16)
            order = order[np.argsort(half, kind="stable")]
    return order
