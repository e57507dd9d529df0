import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.configs.errors import TagstackError


def test_a_large_array_lies_in_a_file_that_has_no_name(tmp_path: Path) -> None:
    array = Spill(tmp_path, least_bytes=1).empty((3, 5), np.float32)
    array[:] = np.arange(15).reshape(3, 5)
    assert array.sum() == 105
    assert not list(tmp_path.iterdir())
    assert not array.flags.owndata


def test_what_it_holds_stays_when_its_pages_are_let_go(tmp_path: Path) -> None:
    spill = Spill(tmp_path, least_bytes=1)
    kept = spill.held(np.arange(100_000))
    spill.let_go()
    np.testing.assert_array_equal(kept, np.arange(100_000))


def test_pages_of_an_adopted_array_are_let_go_too(tmp_path: Path) -> None:
    array = Spill(tmp_path).held(np.ones(5_000_000))
    other = Spill(tmp_path)

    def resident() -> int:
        status = dict(
            line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines()
        )
        return int(status["RssFile"].split()[0]) + int(status["RssShmem"].split()[0])

    before = resident()
    other.let_go()
    assert resident() > before - 1000  # not its own
    other.adopt(array.reshape(5, -1)[2:])
    other.adopt(np.ones(3))
    other.let_go()
    assert resident() < before - 30_000  # of 39,000 kB
    assert array.sum() == 5_000_000


def test_a_small_array_and_one_without_a_folder_are_ordinary(tmp_path: Path) -> None:
    assert Spill(tmp_path).empty(10, np.int64).flags.owndata
    assert IN_MEMORY.empty((2, 2), np.float32).flags.owndata


def test_an_array_without_rows_needs_no_file(tmp_path: Path) -> None:
    assert Spill(tmp_path, least_bytes=1).empty((0, 5), np.float32).shape == (0, 5)


def test_space_is_given_back_when_an_array_is_forgotten(tmp_path: Path) -> None:
    spill, n_open = Spill(tmp_path, least_bytes=1), len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        spill.empty(1000, np.float64)
    assert len(os.listdir("/proc/self/fd")) == n_open


def test_a_full_disk_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, start: int, n_bytes: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(TagstackError, match=r"8\.0 GB of working data .* No space left .* Make"):
        Spill(tmp_path).empty(10**9, np.float64)


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(TagstackError, match=r"missing: No such file"):
        Spill(tmp_path / "missing").empty(10**7, np.float32)


def test_a_killed_process_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys, numpy as np; from pathlib import Path\n"
        "from tagstack.base_models.spill import Spill\n"
        "held = Spill(Path(sys.argv[1]), 1).empty(10**6, np.float32); held[:] = 1\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert not list(tmp_path.iterdir())
