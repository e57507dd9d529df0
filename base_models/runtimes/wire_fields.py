"""Protocol buffers as a sequence of fields, read without a library and without a schema.

References
----------
https://protobuf.dev/programming-guides/encoding/
"""

import mmap
from collections.abc import Iterator

VARINT, EIGHT_BYTES, SIZED, FOUR_BYTES = 0, 1, 2, 5


def fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, kind, begin (or value) and end of each field of a message.

    Nothing inside a field is looked at: gigabytes of weights are stepped over.

    Raises
    ------
    ValueError
        Where the bytes are no protocol buffer. The groups of its first version count as such:
        a library would step over one, with whatever follows behind it.
    """
    while start < end:
        key, start = _varint(content, start, end)
        value, length = start, {EIGHT_BYTES: 8, FOUR_BYTES: 4}.get(key & 7, 0)
        if key & 7 == VARINT:
            value, start = _varint(content, start, end)
        elif key & 7 == SIZED:
            length, start = _varint(content, start, end)
            value = start
        elif not length:
            msg = f"it is no protocol buffer: a field of kind {key & 7}"
            raise ValueError(msg)
        if start + length > end:
            msg = "it ends too early"
            raise ValueError(msg)
        yield key >> 3, key & 7, value, start + length
        start += length


def _varint(content: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    """Return a number of seven bits a byte and where it ends; past ``end`` if it is cut off."""
    value = 0
    for place in range(start, min(end, start + 10)):
        value |= (content[place] & 0x7F) << 7 * (place - start)
        if content[place] < 0x80:
            return value, place + 1
    return value, end + 1
