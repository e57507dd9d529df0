"""Files written whole: their mode is the system's, and no other thread notices the writing."""

import os
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tagstack.base_models import atomic
from tagstack.base_models.atomic import (
    TEMPORARY,
    UNLOCKED,
    remove_leftovers,
    write_text,
    written_whole,
)
from tagstack.configs.errors import TagstackError


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
    names = iter(["taken", "taken", "free"])
    monkeypatch.setattr("tagstack.base_models.atomic.secrets.token_hex", lambda _: next(names))
    with written_whole(tmp_path / "b.txt") as other:
        other.write_text("another writer's")
        write_text(tmp_path / "a.txt", "a")
        assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "a.txt"]
    assert (tmp_path / "b.txt").read_text() == "another writer's"


@pytest.fixture
def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_SWEPT", set())


@pytest.mark.usefixtures("new_process")
def test_what_a_dead_writer_left_goes_with_the_next_write_there(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY}0123456789abcdef.json").write_text("half")
    (tmp_path / f"{UNLOCKED}0123456789abcdef.txt").write_text("of a batch, perhaps a living one")
    (tmp_path / ".mine").touch()
    write_text(tmp_path / "a.txt", "a")
    names = [".mine", f"{UNLOCKED}0123456789abcdef.txt", "a.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.usefixtures("new_process")
def test_a_living_writer_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with written_whole(tmp_path / "slow.txt", label="one-") as temporary:
        temporary.write_text("slow")
        monkeypatch.setattr(atomic, "_SWEPT", set())
        write_text(tmp_path / "quick.txt", "quick")
        remove_leftovers(tmp_path)
        remove_leftovers(tmp_path, label="one-")
    assert (tmp_path / "slow.txt").read_text() == "slow"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.usefixtures("new_process")
def test_without_locks_only_the_sole_writer_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic, "fcntl", None)
    left = tmp_path / f"{TEMPORARY}0123456789abcdef"
    left.touch()
    write_text(tmp_path / "a.txt", "a")
    assert left.exists()
    remove_leftovers(tmp_path)
    assert not left.exists()


def test_a_file_taken_for_a_dead_writers_before_it_was_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = atomic._locked
    calls: list[int] = []

    def swept_meanwhile(handle: int) -> bool | None:
        if not calls:
            calls.append(handle)
            next(tmp_path.glob(f"{TEMPORARY}*")).unlink()
        return own(handle)

    monkeypatch.setattr(atomic, "_locked", swept_meanwhile)
    write_text(tmp_path / "a.txt", "a")
    assert calls
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    device = tmp_path / "null.json"
    device.symlink_to("/dev/null")
    write_text(device, "a\n")
    assert device.is_char_device()
    assert os.path.realpath(device) == "/dev/null"
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_what_a_process_has_open_is_written_to_under_any_name(tmp_path: Path) -> None:
    """As `/dev/stdout` where the shell sends it into a file."""
    kept = tmp_path / "kept"
    with kept.open("wb", buffering=0) as stream:
        stream.write(b"before\n")
        write_text(Path(f"/proc/self/fd/{stream.fileno()}"), "a\n")
        stream.seek(0, os.SEEK_END)
        stream.write(b"after\n")
    assert kept.read_bytes() == b"before\na\nafter\n"


def test_a_pipe_gets_the_bytes_where_somebody_reads(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(TagstackError, match=r"Cannot write .*pipe: No such device or address"):
        write_text(pipe, "nobody reads")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with suppress(KeyError), written_whole(pipe) as temporary:
            temporary.write_text("half")
            raise KeyError
        write_text(pipe, "whole")
        assert os.read(reader, 100) == b"whole"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_no_file_takes_the_place_of_a_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(tmp_path / "socket"))
        with pytest.raises(TagstackError, match="socket: it is no file"):
            write_text(tmp_path / "socket", "a")
    assert (tmp_path / "socket").is_socket()
