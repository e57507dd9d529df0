"""Arrays come back as they were, from a file that others may read."""

import os
import stat
from pathlib import Path

import numpy as np
from safetensors import safe_open

from tagstack.base_models.array_files import write_arrays


def test_arrays_and_facts_come_back(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.int32).reshape(2, 3).T, "b": np.zeros((0, 2), np.float32)}
    write_arrays(tmp_path / "x.safetensors", arrays, {"made by": "a test"})
    with safe_open(tmp_path / "x.safetensors", "numpy") as file:
        assert file.metadata() == {"made by": "a test"}
        for name, array in arrays.items():
            np.testing.assert_array_equal(file.get_tensor(name), array)


def test_others_may_read_them_as_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_arrays(tmp_path / "x.safetensors", {"a": np.zeros(2)})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.safetensors").stat().st_mode) == 0o640
