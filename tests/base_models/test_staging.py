"""Staged folders: whole or not at all, through kills, refusals and runs side by side."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tagstack.base_models import staging
from tagstack.base_models.atomic import TEMPORARY
from tagstack.base_models.staging import recover, staged_folder


def fill(target: Path, text: str) -> None:
    with staged_folder(target) as folder:
        (folder / "a").write_text(text)
        (folder / "sub").mkdir()
        (folder / "sub/b").write_text(text)


def content(target: Path) -> dict[str, str]:
    files = (path for path in target.rglob("*") if path.is_file())
    return {path.relative_to(target).as_posix(): path.read_text() for path in files}


def leftovers(target: Path) -> list[Path]:
    return list(target.parent.glob(f"{TEMPORARY}*"))


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_appears_and_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(staging, "_exchanged", lambda *_: False)
    target = tmp_path / "deep/bundle"
    fill(target, "one")
    (target / "extra").write_text("of one")
    fill(target, "two")
    assert content(target) == {"a": "two", "sub/b": "two"}
    assert leftovers(target) == []


def test_what_raises_leaves_everything_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    fill(target, "one")
    with pytest.raises(TypeError, match="must be str"):
        fill(target, 2)  # type: ignore[arg-type]
    assert content(target) == {"a": "one", "sub/b": "one"}
    assert leftovers(target) == []


def _killed_at(target: Path, step: int) -> None:
    """Replace the folder without exchanging, and die at the given rename or removal."""
    calls = 0

    def counted(own: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal calls
            if calls == step:
                os.kill(os.getpid(), signal.SIGKILL)
            calls += 1
            return own(*arguments, **options)

        return call

    for name in ("rename", "mkdir", "fsync", "unlink", "rmdir", "open"):
        setattr(os, name, counted(getattr(os, name)))
    staging._exchanged = lambda *_: False
    fill(target, "two")
    os._exit(0)


@pytest.mark.parametrize("step", range(0, 24, 2))
def test_a_kill_at_any_step_leaves_the_old_or_the_new(tmp_path: Path, step: int) -> None:
    target = tmp_path / "bundle"
    fill(target, "one")
    child = multiprocessing.get_context("fork").Process(target=_killed_at, args=(target, step))
    child.start()
    child.join(60)
    recover(target)
    assert content(target) in ({"a": t, "sub/b": t} for t in ("one", "two"))
    fill(target, "three")
    assert content(target) == {"a": "three", "sub/b": "three"}
    assert leftovers(target) == []


def test_a_living_run_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with staged_folder(target) as first:
        (first / "a").write_text("first")
        recover(target)
        fill(target, "second")
        assert first.exists()
    assert content(target) == {"a": "first"}
    assert leftovers(target) == []
