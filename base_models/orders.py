"""Orders of many rows, sorted digit by digit: what rankings and curves start from."""

import itertools
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Whole = TypeVar("Whole", bound=np.integer)

_DIGIT = 16  # bits
AT_ONCE = 2_000_000
"""Rows that are ordered, or looked at in an order, at once: more would ask for memory alone."""
_PLACE_BITS = 21  # of a row among two million
_RANKS = 1 << (64 - 32 - _PLACE_BITS)  # that have room beside 32 bits of a value and a place
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


def distinct(values: NDArray[Whole]) -> NDArray[Whole]:
    """Return every value once, ascending, shape (n_distinct,).

    As ``numpy.unique``, which since numpy 2.3 collects whole numbers by hashing them: of millions
    that takes fifty times as long as to sort them.

    Parameters
    ----------
    values : array of shape (n,), integer
    """
    ordered: NDArray[Whole] = np.sort(values)
    first: NDArray[np.bool_] = np.append(True, ordered[1:] != ordered[:-1])
    found: NDArray[Whole] = ordered[first[: len(ordered)]]
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
    order = sorted_by(np.arange(len(values)), number)
    grouped = number[order]
    for part in whole_segments(grouped, AT_ONCE):
        own = order[part]
        rank = np.cumsum(np.diff(grouped[part], prepend=grouped[part.start]) != 0)
        order[part] = own[_falling_by_rank(rank, np.ascontiguousarray(values[own]))]
    return order


def _falling_by_rank(rank: NDArray[np.int64], values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the rows by rank, which rises one at a time from 0, then by falling value.

    Rank, value and place of single numbers are one whole number together, as long as they fit:
    those are sorted several at a time, in half of the time that digits take.
    """
    falling = _falling_bits(values)
    if values.itemsize > 4 or len(values) > 1 << _PLACE_BITS:
        return sorted_by(sorted_by(np.arange(len(values)), falling), rank)
    order = np.empty(len(values), np.int64)
    ends = np.searchsorted(rank, np.arange(0, rank[-1] + 1 + _RANKS, _RANKS))
    for start, end in itertools.pairwise(ends.tolist()):
        own = (rank[start:end] - rank[start]).astype(np.uint64) << np.uint64(32 + _PLACE_BITS)
        own |= falling[start:end] << np.uint64(_PLACE_BITS)
        own |= np.arange(end - start, dtype=np.uint64)
        own.sort()
        order[start:end] = start + (own & np.uint64((1 << _PLACE_BITS) - 1)).astype(np.int64)
    return order


def whole_segments(number: NDArray[np.integer], most: int) -> Iterator[slice]:
    """Yield parts of ascending numbers, at most so many rows each; no number is in two of them.

    A number of more rows has a part of its own.

    Parameters
    ----------
    number : array of shape (n,), integer, ascending
    most : int
    """
    start = 0
    while start < len(number):
        stop = min(start + most, len(number))
        if stop < len(number):
            first = int(np.searchsorted(number, number[stop]))
            stop = first if first > start else int(np.searchsorted(number, number[start], "right"))
        yield slice(start, stop)
        start = stop


def middle_after_first(
    starts: NDArray[np.integer],
    count: NDArray[np.integer],
    values: Callable[[NDArray[np.int64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Return, for each segment of rows, the cut that its first ``count`` values reach.

    It lies in the middle between the last that reaches it and the next, at the last where there is
    no next, and at NaN where a segment has fewer rows or none is wanted. Shape (n_segments,).

    Parameters
    ----------
    starts : array of shape (n_segments + 1,), integer
        First row of each segment and the end of the last.
    count : array of shape (n_segments,), integer
    values : callable
        Takes rows, returns their values, which fall within a segment.
    """
    possible = (count > 0) & (count <= np.diff(starts))
    last = (starts[:-1] + count - 1)[possible]
    after = np.minimum(last + 1, starts[1:][possible] - 1)
    cuts = np.full(len(count), np.nan)
    cuts[possible] = (values(last) + values(after)) / 2
    return cuts


def _falling_bits(values: NDArray[np.floating]) -> NDArray[np.uint64]:
    """Return whole numbers that rise as the values fall; the largest for NaN."""
    n_bits = 8 * values.itemsize
    # With 0 added, the two zeros are one.
    bits = (values + 0).view(_UNSIGNED[values.itemsize]).astype(np.uint64)
    sign, every = np.uint64(1 << (n_bits - 1)), np.uint64((1 << n_bits) - 1)
    falling = np.where(bits & sign, bits, ~bits & (every ^ sign))
    return np.where(np.isnan(values), every, falling)
