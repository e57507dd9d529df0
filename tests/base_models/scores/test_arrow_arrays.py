"""Arrow arrays are pyarrow's own, and nothing of them needs pandas."""

import numpy as np
import pyarrow as pa
import pytest

from tagstack.base_models.scores.arrow_arrays import (
    bytes_array,
    list_array,
    number_array,
    numbers_of,
    text_array,
)


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint64, np.float16])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_numbers_are_those_of_pyarrow_and_come_back(kind: type[np.generic], n: int) -> None:
    values = np.arange(2 * n).astype(kind)[::2]
    made = number_array(values)
    assert made.equals(pa.array(values))
    assert numbers_of(made).dtype == kind
    assert numbers_of(made.slice(n // 2)).tolist() == values[n // 2 :].tolist()


@pytest.mark.parametrize("values", [[], [b"ab"], [b"ab", b"\xff\x00"]])
@pytest.mark.parametrize("kind", [pa.binary(), pa.binary(2)])
def test_bytes_are_those_of_pyarrow(values: list[bytes], kind: pa.DataType) -> None:
    assert bytes_array(values, kind).equals(pa.array(values, kind))


def test_texts_and_lists_are_those_of_pyarrow() -> None:
    assert text_array(["", "grün", "x"]).equals(pa.array(["", "grün", "x"]))
    made = list_array(np.array([0, 2, 2, 3]), np.array([7, 8, 9], np.int32))
    assert made.equals(pa.array([[7, 8], [], [9]], pa.list_(pa.int32())))
