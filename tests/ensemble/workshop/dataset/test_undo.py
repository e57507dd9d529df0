"""Changes that can be taken back: whole, after a kill anywhere, and never outside the folder."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.workshop.changing_alone import LOCK
from tagstack.ensemble.workshop.dataset import undo as module
from tagstack.ensemble.workshop.dataset.undo import (
    FolderChanges,
    Move,
    Rewrite,
    move_to_free_place,
    undo,
)


def content(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(("tagstack-undo-", LOCK))
    }


names = st.text("abé._ -", min_size=1, max_size=4).filter(
    lambda name: name.strip(". ") and ".." not in name
)


@tries(max_examples=30, deadline=None)
@given(st.dictionaries(names, st.binary(max_size=20), min_size=1, max_size=6), st.data())
def test_a_change_and_its_undoing_are_nothing(files: dict[str, bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, before in files.items():
            (root / name).write_bytes(before)
        moved = data.draw(st.sets(st.sampled_from(sorted(files))))
        changes = FolderChanges(root)
        assert not changes.move([Move(name, f".out/x/{name}") for name in sorted(moved)])
        for name in sorted(set(files) - moved):
            changes.rewrite(Rewrite(name, files[name], files[name] + b"!"))
        changes.finish()
        assert changes.path is not None
        assert changes.n_changed == len(files)
        assert content(root) != files
        first, second = undo(changes.path), undo(changes.path)
        assert content(root) == files
        assert (first.n_done, second.n_already, second.refused) == (len(files), len(files), [])
        assert not (root / ".out").exists()


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("step", range(12))
def test_a_kill_at_any_step_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Every call to the system that changes something may be the last one."""
    files = {"a.png": b"1", "b.png": b"2", "a.txt": b"old"}
    for name, before in files.items():
        (tmp_path / name).write_bytes(before)
    left = [step]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def calling(*args: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise _Killed
            return call(*args, **options)

        return calling

    with monkeypatch.context() as patch:
        patch.setattr(module, "_append", counted(module._append))
        patch.setattr(os, "link", counted(os.link))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        patch.setattr(Path, "replace", counted(Path.replace))
        changes = FolderChanges(tmp_path)
        try:
            changes.move([Move("a.png", ".out/a.png"), Move("b.png", ".out/b.png")])
            changes.rewrite(Rewrite("a.txt", b"old", b"new"))
            changes.finish()
        except _Killed:
            pass
    now = {value for name, value in content(tmp_path).items() if ".tagstack-tmp" not in name}
    assert {b"1", b"2"} <= now
    assert now & {b"old", b"new"}
    for file in tmp_path.glob("tagstack-undo-*"):
        if file.stat().st_size:
            assert not undo(file).refused
    found = {name: b for name, b in content(tmp_path).items() if ".tagstack-tmp" not in name}
    assert found == files


def test_what_was_changed_since_stays(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"old")
    (tmp_path / "b.png").write_bytes(b"1")
    changes = FolderChanges(tmp_path)
    changes.rewrite(Rewrite("a.txt", b"old", b"new"))
    changes.finish()
    changes.move([Move("b.png", ".out/b.png")])
    (tmp_path / "a.txt").write_bytes(b"mine")
    (tmp_path / "b.png").write_bytes(b"another")
    assert changes.path is not None
    found = undo(changes.path)
    assert found.refused == [("a.txt", "it was changed since"), ("b.png", "File exists")]
    assert content(tmp_path) == {".out/b.png": b"1", "a.txt": b"mine", "b.png": b"another"}


def test_nothing_is_overwritten_by_a_move(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    assert FolderChanges(tmp_path).move([Move("a", "b")]) == [("a", "File exists")]
    assert content(tmp_path) == {"a": b"1", "b": b"2"}


def test_a_file_system_without_hard_links_moves_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    (tmp_path / "a").write_bytes(b"1")
    move_to_free_place(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a").write_bytes(b"2")
    with pytest.raises(FileExistsError):
        move_to_free_place(tmp_path / "a", tmp_path / "b")
    assert content(tmp_path) == {"a": b"2", "b": b"1"}


@pytest.mark.parametrize("name", ["../out", "/etc/x", "a/../../x", "C:\\x", "", "a\0b", "link/x"])
def test_an_undo_file_from_a_stranger_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    inner = tmp_path / "set"
    inner.mkdir()
    (inner / "link").symlink_to(tmp_path)
    (inner / "a").write_bytes(b"1")
    line = {"do": "move", "from": name, "to": "a"}
    file = inner / "tagstack-undo-001.jsonl"
    file.write_text('{"tagstack": "undo", "version": 1}\n' + json.dumps(line) + "\n")
    with pytest.raises(TagstackError, match="is no plain file below"):
        undo(file)
    assert (inner / "a").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no undo file"),
        ("{}\n", "is no undo file"),
        ("\0\n", "not valid JSON"),
        ('{"tagstack": "undo", "version": 1}\n[]\n', "is no change"),
        ('{"tagstack": "undo", "version": 1}\n{"do": "move", "from": 1, "to": "a"}\n', "no change"),
    ],
)
def test_what_is_no_undo_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "u.jsonl").write_text(text)
    with pytest.raises(TagstackError, match=message):
        undo(tmp_path / "u.jsonl")


def test_a_line_that_a_kill_cut_off_had_not_happened(tmp_path: Path) -> None:
    (tmp_path / "u.jsonl").write_text('{"tagstack": "undo", "version": 1}\n{"do": "mo')
    assert undo(tmp_path / "u.jsonl").n_done == 0
