"""Runs that are interrupted, killed or out of space, and what the next one makes of them."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scores.store_parts import part_paths
from tagstack.base_models.scoring import pipeline
from tagstack.base_models.scoring.pipeline import ScoreProgress
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings
from tests.base_models.scoring.runs import (
    add_hostile_files,
    assert_equal,
    assert_nothing_twice,
    interrupt_at,
    score,
    threads_of_scoring,
    watched,
)


@pytest.mark.parametrize("device", ["cpu", "cuda:0 none"])
def test_whatever_ends_a_run_ends_its_threads(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path, device: str
) -> None:
    def broken(call: int) -> None:
        if call == 2:
            raise TagstackError("the device is lost")

    own, _ = watched(taggers, lambda _: None, broken, device=device)
    with pytest.raises(TagstackError, match="the device is lost"):
        score(images, own, tmp_path / "error", settings)
    with pytest.raises(KeyboardInterrupt):
        score(images, taggers, tmp_path / "s", settings, progress=lambda s: interrupt_at(s, 1))
    assert threads_of_scoring() == []


@pytest.mark.parametrize("device", ["cpu", "cuda:0 none"])
@pytest.mark.parametrize("drained", [True, False])
def test_an_interrupt_lets_what_the_taggers_were_given_finish_as_far_as_time_goes(
    images: Path,
    taggers: list[Tagger],
    settings: ScoreSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    drained: bool,
) -> None:
    monkeypatch.setattr(pipeline, "_DRAIN_S", 60 if drained else 0)
    own, (first, second) = watched(taggers, *[lambda _: None] * 2, device=device)
    with pytest.raises(KeyboardInterrupt):
        score(images, own, tmp_path / "s", settings, progress=lambda s: interrupt_at(s, 4))
    kept = ScoreStore(tmp_path / "s").load().n_images
    assert kept == min(sum(first.calls), sum(second.calls))
    assert not drained or first.calls == second.calls
    assert_nothing_twice(tmp_path / "s")
    summary = score(images, taggers, tmp_path / "s", settings)
    assert (summary.n_scored, summary.n_skipped) == (23 - kept, kept)
    assert_nothing_twice(tmp_path / "s")


def test_interrupt_keeps_what_is_complete_and_the_run_goes_on(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    score(images, taggers, tmp_path / "reference", settings)
    lazy = settings.model_copy(update={"part_images": 1000})
    calls: list[ScoreProgress] = []

    def interrupt(state: ScoreProgress) -> None:
        calls.append(state)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(images, taggers, tmp_path / "s", lazy, progress=interrupt)
    kept = ScoreStore(tmp_path / "s").load().n_images
    assert kept >= calls[-1].n_scored == 12
    summary = score(images, taggers, tmp_path / "s", lazy)
    assert (summary.n_scored, summary.n_skipped) == (23 - kept, kept)
    assert_equal(ScoreStore(tmp_path / "s").load(), ScoreStore(tmp_path / "reference").load())
    assert_nothing_twice(tmp_path / "s")


@pytest.mark.parametrize("failing", [5, 6, 7, 8])
def test_full_disk_is_one_line_and_leaves_whole_parts(
    images: Path,
    taggers: list[Tagger],
    settings: ScoreSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: int,
) -> None:
    score(images, taggers, tmp_path / "reference", settings)
    write, calls = Path.write_bytes, []

    def full(where: Path, data: bytes) -> int:
        if where.suffix == ".parquet":
            calls.append(where)
        if len(calls) == failing:  # four parts a commit: two members, hashes, images
            calls.append(where)
            write(where, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(where, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TagstackError, match=r"Cannot write .*: No space left on device"):
        score(images, taggers, tmp_path / "s", settings)
    assert list((tmp_path / "s").rglob(".*")) == []
    assert ScoreStore(tmp_path / "s").load().n_images > 0
    assert score(images, taggers, tmp_path / "s", settings).n_scored > 0
    assert_equal(ScoreStore(tmp_path / "s").load(), ScoreStore(tmp_path / "reference").load())
    assert_nothing_twice(tmp_path / "s")


_VICTIM = """
import json, os, signal, sys
from pathlib import Path
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scoring.pipeline import score_images
from tagstack.base_models.scoring.sources import find_images
from tagstack.base_models.taggers.tagger import load_tagger
from tagstack.configs.level1 import ScoreSettings

task = json.loads(sys.argv[1])
settings = ScoreSettings.model_validate(task["settings"])
taggers = [load_tagger(Path(f), floor=settings.floor, threads=2) for f in task["folders"]]
moves, replace = [], Path.replace

def killed(self, target):
    # Every file of the store gets its name by this call: dying around it is the worst moment.
    if "part-" in Path(target).name:
        moves.append(target)
        if len(moves) == task["move"] and task["before"]:
            os.kill(os.getpid(), signal.SIGKILL)
    result = replace(self, target)
    if "part-" in Path(target).name and len(moves) == task["move"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

Path.replace = killed
sources = find_images([Path(task["images"])], extensions=settings.extensions)
with ScoreWriter(Path(task["store"]), Members.of(taggers)) as sink:
    score_images(sources, taggers, sink, settings, threads=2)
"""


@pytest.mark.parametrize(
    ("move", "before"), [(1, True), (1, False), (2, True), (5, True), (6, False)]
)
def test_kill_9_then_the_same_again_equals_an_uninterrupted_run(
    images: Path,
    folders: list[Path],
    taggers: list[Tagger],
    settings: ScoreSettings,
    tmp_path: Path,
    move: int,
    before: bool,
) -> None:
    add_hostile_files(images)
    score(images, taggers, tmp_path / "reference", settings)
    task = {
        "settings": settings.model_dump(mode="json"),
        "folders": [str(folder) for folder in folders],
        "images": str(images),
        "store": str(tmp_path / "s"),
        "move": move,
        "before": before,
    }
    done = subprocess.run([sys.executable, "-c", _VICTIM, json.dumps(task)], timeout=120)
    assert done.returncode == -signal.SIGKILL
    survived = sum(len(part_paths(f)) for f in (tmp_path / "s" / "members").iterdir())
    survived += sum(len(part_paths(tmp_path / "s" / name)) for name in ("images", "hashes"))
    assert survived == move - before
    summary = score(images, taggers, tmp_path / "s", settings)
    assert summary.n_scored + summary.n_skipped == 24  # with the bomb, small enough here
    store, reference = ScoreStore(tmp_path / "s"), ScoreStore(tmp_path / "reference")
    assert_equal(store.load(), reference.load())
    assert store.records() == reference.records()
    assert_nothing_twice(tmp_path / "s")
