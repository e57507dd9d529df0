"""Files written together: whole or not at all, each as it would be alone."""

import os
from pathlib import Path

import pytest

from tagstack.base_models.atomic_batch import AtomicBatch, remove_leftovers_in
from tagstack.configs.errors import TagstackError


def test_nothing_is_in_place_before_publish(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with AtomicBatch() as batch:
        seen = batch.write(tmp_path / "a.txt", b"new")
        batch.write(tmp_path / "sub/b.txt", b"too")
        batch.flush()
        assert (tmp_path / "a.txt").read_text() == "old"
        batch.publish()
    facts = (tmp_path / "a.txt").stat()
    assert (facts.st_ino, facts.st_mtime_ns) == (seen.st_ino, seen.st_mtime_ns)
    assert (tmp_path / "sub/b.txt").read_bytes() == b"too"
    (tmp_path / "plain").touch()
    assert facts.st_mode == (tmp_path / "plain").stat().st_mode


def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with AtomicBatch() as batch:
        batch.write(tmp_path / "a.txt", b"new")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_batch_left_is_found(tmp_path: Path) -> None:
    batch = AtomicBatch()
    batch.write(tmp_path / "a.txt", b"new")  # and no end
    (tmp_path / "mine.txt").touch()
    remove_leftovers_in([tmp_path])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(TagstackError, match=r"Cannot write .*file/a\.txt: "),
        AtomicBatch() as batch,
    ):
        batch.write(tmp_path / "file/a.txt", b"new")


def test_one_flush_for_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(os, "fsync", calls.append)
    with AtomicBatch() as batch:
        for number in range(50):
            batch.write(tmp_path / f"{number}.txt", b"x")
        batch.flush()
        batch.publish()
    assert len(list(tmp_path.iterdir())) == 50
    assert calls == []
