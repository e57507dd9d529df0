"""Arrays from files: shapes, ranges, and sparse matrices whose indices stay inside."""

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tagstack.meta.checked_arrays import CheckedArrays


def _parts(**changes: Any) -> CheckedArrays:
    matrix = sparse.csr_array(np.array([[0, 1.5, 2], [0, 0, 0], [3, 0, 0]]))
    parts = {
        "m.data": matrix.data,
        "m.indices": matrix.indices,
        "m.indptr": matrix.indptr,
    }
    return CheckedArrays(parts | {f"m.{k}": np.array(v) for k, v in changes.items()}, "file")


def test_a_sound_matrix_comes_back() -> None:
    matrix = _parts().square("m", 3, kind="f")
    np.testing.assert_array_equal(matrix.toarray(), [[0, 1.5, 2], [0, 0, 0], [3, 0, 0]])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"indices": [1, 2**30, 0]}, "m.indices holds"),
        ({"indices": [1, -1, 0]}, "m.indices holds"),
        ({"indices": [1, 1, 0]}, "twice in one row"),
        ({"indices": [1, 2]}, "m.indices is"),
        ({"indptr": [0, 2, 1, 3]}, "step by step"),
        ({"indptr": [0, 2, 2, 9]}, "step by step"),
        ({"indptr": [1, 2, 2, 3]}, "step by step"),
        ({"indptr": [0, 3]}, "m.indptr is"),
        ({"indptr": [0, -(2**62), 2, 3]}, "step by step"),
        ({"data": [1.0, np.nan, 2.0]}, "m.data holds"),
        ({"data": [1.0, np.inf, 2.0]}, "m.data holds"),
        ({"data": [1, 2, 3]}, "m.data is"),
    ],
)
def test_a_matrix_that_leaves_its_arrays_is_refused(changes: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"file: {reason.replace('m.', 'm[.]')}|{reason}"):
        _parts(**changes).square("m", 3, kind="f")


def test_numbers_keep_their_shape_and_range() -> None:
    arrays = CheckedArrays({"x": np.array([[0.5, np.nan]])}, "file")
    assert arrays.real("x", (1, None), low=0, high=1, gaps=True).shape == (1, 2)
    with pytest.raises(ValueError, match=r"file: x holds .*nan.*; expected 0 to 1"):
        arrays.real("x", (1, None), low=0, high=1)
    with pytest.raises(ValueError, match=r"file: x is float64 \(1, 2\); expected \(2, 2\)"):
        arrays.real("x", (2, 2))
    with pytest.raises(ValueError, match="file: y is missing"):
        arrays.real("y", (1,))
