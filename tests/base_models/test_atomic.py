"""Files written whole: their mode is the system's, and no other thread notices the writing."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tagstack.base_models.atomic import TEMPORARY, write_text, written_whole


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_new_file_has_the_mode_that_any_new_file_has(tmp_path: Path, umask: int) -> None:
    write_text(tmp_path / "a.txt", "a")
    with written_whole(tmp_path / "b.txt") as temporary:
        private = tmp_path / "private"
        private.write_text("b")
        private.chmod(0o600)
        temporary.unlink()
        shutil.copy2(private, temporary)
    for name in ("a.txt", "b.txt"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask


def test_no_write_changes_the_umask_of_all_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(_: int) -> int:
        raise AssertionError("os.umask was called")

    monkeypatch.setattr(os, "umask", changed)
    write_text(tmp_path / "a.txt", "a")
    assert (tmp_path / "a.txt").read_text() == "a"


def test_a_temporary_name_that_is_taken_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(["taken", "free"])
    monkeypatch.setattr("tagstack.base_models.atomic.secrets.token_hex", lambda _: next(names))
    (tmp_path / f"{TEMPORARY}taken.txt").write_text("another writer's")
    write_text(tmp_path / "a.txt", "a")
    assert (tmp_path / f"{TEMPORARY}taken.txt").read_text() == "another writer's"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{TEMPORARY}taken.txt", "a.txt"]
