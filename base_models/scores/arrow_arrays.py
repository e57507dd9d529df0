"""Arrow arrays of what stores hold, made and read without a look at pandas.

`pyarrow.array` and ``to_numpy`` import pandas where it is installed, to see whether they have to do
with a series. That is a sixth of what tagging one picture costs, and nothing here ever is one.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def number_array(values: NDArray[np.generic]) -> pa.Array:
    """Return numbers of shape (n,) as an Arrow array of their own type."""
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, data])


def bytes_array(values: Sequence[bytes], kind: pa.DataType) -> pa.Array:
    """Return strings of bytes as an Arrow array: of one width, of any width, or UTF-8 text."""
    data = pa.py_buffer(b"".join(values))
    if pa.types.is_fixed_size_binary(kind):
        return pa.Array.from_buffers(kind, len(values), [None, data])
    offsets = np.cumsum([0, *map(len, values)], dtype=np.int32)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(offsets), data])


def text_array(values: Sequence[str]) -> pa.Array:
    """Return texts as an Arrow array."""
    return bytes_array([value.encode() for value in values], pa.string())


def list_array(offsets: NDArray[np.int64], values: NDArray[np.generic]) -> pa.Array:
    """Return lists of numbers: those of row ``i`` are ``values[offsets[i]:offsets[i + 1]]``."""
    return pa.ListArray.from_arrays(number_array(offsets.astype(np.int32)), number_array(values))


def numbers_of(array: pa.Array) -> NDArray[np.generic]:
    """Return the numbers of an Arrow array without nulls, not copied. Shape (n,)."""
    dtype = np.dtype(array.type.to_pandas_dtype())
    if not len(array):
        return np.empty(0, dtype)
    start = array.offset * dtype.itemsize
    return np.frombuffer(array.buffers()[1], dtype, count=len(array), offset=start)
