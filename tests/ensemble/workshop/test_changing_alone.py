"""One run at a time changes a folder, the folders above it and those in it."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import load_settings
from tagstack.ensemble.face.training_set import TrainingSet
from tagstack.ensemble.workshop import changing_alone as module
from tagstack.ensemble.workshop.changing_alone import LOCK, changing_alone
from tagstack.ensemble.workshop.quality.caption_merge import merge_into_captions


def content(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(("tagstack-undo-", LOCK))
    }


def training_set(root: Path) -> TrainingSet:
    root.mkdir(exist_ok=True)
    for name in ("a", "b"):
        Image.new("RGB", (64, 64)).save(root / f"{name}.png")
        (root / f"{name}.txt").write_text("red_hair, red_hair, hat")
    return TrainingSet(root)


def put_quality(folder: Path) -> object:
    return merge_into_captions(folder, "pony", {"a.png": ("score_9",)}, load_settings())


@pytest.mark.parametrize("held", [".", "..", "../..", "in/it"])
def test_two_runs_at_once_do_not_change_one_folder(
    tmp_path: Path, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.1)
    folder = tmp_path / "sets" / "10_hat"
    (folder / "in" / "it").mkdir(parents=True)
    own = training_set(folder)
    fixed = own.lint(fix=True).undo
    assert fixed is not None
    before = content(folder)
    changing: list[Callable[[], object]] = [
        lambda: own.lint(fix=True),
        lambda: own.prune(["hair_color"], apply=True),
        lambda: own.filter(tmp_path / "left-out.csv", least_side=100, apply=True),
        lambda: own.undo(fixed),
        lambda: put_quality(folder),
    ]
    with changing_alone(folder / held):
        for run in changing[:: 1 if held == "." else 4]:
            with pytest.raises(TagstackError, match=rf"Another run \(process {os.getpid()}\)"):
                run()
        own.lint()  # looking is free
        assert content(folder) == before
    assert own.lint(fix=True).n_changed == 0
    assert own.undo(fixed).n_done == 2


def test_folders_side_by_side_change_at_once(tmp_path: Path) -> None:
    one, other = training_set(tmp_path / "one"), tmp_path / "other"
    other.mkdir()
    with changing_alone(tmp_path):
        pass  # its lock file stays
    with changing_alone(other):
        assert one.lint(fix=True).n_changed == 2


def test_whoever_only_looks_at_a_lock_above_keeps_nobody_out(tmp_path: Path) -> None:
    sides = [tmp_path / f"{i}" for i in range(4)]
    for side in sides:
        side.mkdir()
    with changing_alone(tmp_path):
        pass
    faults: list[Exception] = []
    begin = threading.Barrier(len(sides))

    def change(side: Path) -> None:
        begin.wait()
        try:
            for _ in range(10):
                with changing_alone(side):
                    pass
        except TagstackError as error:
            faults.append(error)

    threads = [threading.Thread(target=change, args=(side,)) for side in sides]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_a_link_to_a_folder_is_that_folder(tmp_path: Path) -> None:
    sets, elsewhere = tmp_path / "sets", tmp_path / "elsewhere"
    (sets / "own").mkdir(parents=True)
    elsewhere.symlink_to(sets / "own")
    own = training_set(elsewhere)
    with changing_alone(sets), pytest.raises(TagstackError, match="Another run"):
        own.lint(fix=True)


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    own, elsewhere = training_set(tmp_path / "."), tmp_path.parent / f"{tmp_path.name}.txt"
    elsewhere.write_text("mine")
    (tmp_path / LOCK).symlink_to(elsewhere)
    with pytest.raises(TagstackError, match="is a link or no plain file"):
        own.lint(fix=True)
    assert elsewhere.read_text() == "mine"
