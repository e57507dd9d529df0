"""Scoring folders: hostile files, interruptions, and results that depend on the image alone."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.runtimes import ort_gpu
from tagstack.base_models.runtimes.base import Session
from tagstack.base_models.runtimes.gpu_opening import open_ort_gpu
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.memory import MemorySink
from tagstack.base_models.scores.sink import Taken
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scores.store_parts import part_paths
from tagstack.base_models.scoring import pipeline
from tagstack.base_models.scoring.pipeline import ScoreProgress, ScoreSummary, score_images
from tagstack.base_models.scoring.sources import ImageSources, find_images
from tagstack.base_models.taggers.tagger import Tagger, load_tagger
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings
from tests.base_models.scored import score_to_store

Folder = Callable[..., Path]


@pytest.fixture
def images(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Twenty-three small pictures of different shapes."""
    folder = tmp_path / "images"
    for i in range(23):
        height, width = rng.integers(3, 30, 2)
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        path = folder / f"d{i % 3}" / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(path)
    return folder


@pytest.fixture
def folders(make_tagger_folder: Folder) -> list[Path]:
    return [
        make_tagger_folder(name="nhwc"),
        make_tagger_folder(
            name="nchw", layout="NCHW", colour="RGB", range="-1-1", kind="logits", batch=1, seed=1
        ),
    ]


@pytest.fixture
def taggers(folders: list[Path]) -> Iterator[list[Tagger]]:
    loaded = [load_tagger(folder, floor=1e-4, threads=2) for folder in folders]
    yield loaded
    for tagger in loaded:
        tagger.close()


def _found(folder: Path, settings: ScoreSettings) -> ImageSources:
    return find_images([folder], extensions=settings.extensions)


def _score(
    folder: Path,
    taggers: Sequence[Tagger],
    store: Path,
    settings: ScoreSettings,
    *,
    threads: int = 2,
    **options: Any,
) -> ScoreSummary:
    sources = _found(folder, settings)
    return score_to_store(sources, taggers, store, settings, threads=threads, **options)


def _assert_equal(left: Level1Scores, right: Level1Scores) -> None:
    assert left.images == right.images
    assert left.members == right.members
    assert left.vocabulary == right.vocabulary
    np.testing.assert_array_equal(left.pairs.indptr, right.pairs.indptr)
    np.testing.assert_array_equal(left.pairs.tag, right.pairs.tag)
    np.testing.assert_array_equal(left.logit, right.logit)


def _assert_nothing_twice(store: Path) -> None:
    for folder in [store / "images", store / "hashes", *(store / "members").iterdir()]:
        column = "path" if folder.name == "images" else "sha256"
        tables = [parquet.read_table(path, columns=[column]) for path in part_paths(folder)]
        values = [value for table in tables for value in table.column(column).to_pylist()]
        assert len(values) == len(set(values)), folder


def test_scores_are_the_models_on_the_framed_pictures(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    summary = _score(images, taggers, tmp_path / "s", settings)
    assert (summary.n_scored, summary.n_skipped, summary.n_failed) == (23, 0, 0)
    assert {"read", "decode", "frame", "infer nhwc", "infer nchw", "store"} == set(
        summary.stage_seconds
    )
    scores = ScoreStore(tmp_path / "s").load(members=["nhwc", "nchw"])
    assert scores.images == tuple(sorted(f"d{i % 3}/{i:02d}.png" for i in range(23)))
    for i, name in enumerate(scores.images):
        picture = Image.open(images / name)
        side = max(picture.size)
        square = Image.new("RGB", (side, side), "white")
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        pixels = np.asarray(square.resize((8, 8), Image.Resampling.BICUBIC))[None]
        rows = slice(scores.pairs.indptr[i], scores.pairs.indptr[i + 1])
        tags = [scores.vocabulary.tags[t] for t in scores.pairs.tag[rows]]
        for m, tagger in enumerate(taggers):
            own = [tagger.vocabulary.index[tag] for tag in tags]
            expected = tagger.logits(pixels)[0, own].astype(np.float16)
            floor = scores.floor[m]
            np.testing.assert_array_equal(scores.logit[m, rows], np.maximum(expected, floor))


@pytest.mark.parametrize(
    ("batch_images", "part_images", "threads"), [(1, 1, 1), (3, 5, 2), (32, 2048, 4), (9, 2, 3)]
)
def test_results_do_not_depend_on_batches_parts_or_threads(
    images: Path,
    folders: list[Path],
    taggers: list[Tagger],
    settings: ScoreSettings,
    tmp_path: Path,
    batch_images: int,
    part_images: int,
    threads: int,
) -> None:
    _score(images, taggers, tmp_path / "reference", settings)
    changed = settings.model_copy(update={"batch_images": batch_images, "part_images": part_images})
    others = [load_tagger(folder, floor=1e-4, threads=threads) for folder in folders]
    _score(images, others[::-1], tmp_path / "other", changed, threads=threads)
    _assert_equal(ScoreStore(tmp_path / "reference").load(), ScoreStore(tmp_path / "other").load())


def test_results_do_not_depend_on_order_or_neighbours(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    _score(images, taggers, tmp_path / "reference", settings)
    sources = _found(images, settings)
    names = list(sources.names)
    random.Random(0).shuffle(names)
    for some in (names[:10], names[10:]):
        part = ImageSources(sources.root, tuple(some))
        score_to_store(part, taggers, tmp_path / "other", settings, threads=2)
    _assert_equal(ScoreStore(tmp_path / "reference").load(), ScoreStore(tmp_path / "other").load())


def test_a_second_run_scores_nothing_and_writes_nothing(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    _score(images, taggers, tmp_path / "s", settings)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").rglob("part-*")}
    summary = _score(images, taggers, tmp_path / "s", settings)
    assert (summary.n_scored, summary.n_skipped, summary.n_failed) == (0, 23, 0)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "s").rglob("part-*")} == before


def test_a_further_member_runs_alone(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    _score(images, taggers[:1], tmp_path / "s", settings)
    summary = _score(images, taggers, tmp_path / "s", settings)
    assert summary.n_scored == 23
    _score(images, taggers, tmp_path / "reference", settings)
    _assert_equal(ScoreStore(tmp_path / "s").load(), ScoreStore(tmp_path / "reference").load())
    _assert_nothing_twice(tmp_path / "s")


def test_copies_are_scored_once(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    content = (images / "d0" / "00.png").read_bytes()
    for name in ("copy.png", "d0/00b.png", "z/last.png"):
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).write_bytes(content)
    for name in ("bad1.png", "z/bad2.png"):
        (images / name).write_bytes(b"no image")
    summary = _score(images, taggers, tmp_path / "s", settings)
    assert (summary.n_scored, summary.n_skipped, summary.n_failed) == (23, 3, 2)
    assert [failure.name for failure in summary.failures] == ["bad1.png", "z/bad2.png"]
    scores = ScoreStore(tmp_path / "s").load(images=["d0/00.png", "copy.png", "z/last.png"])
    assert scores.n_images == 3
    np.testing.assert_array_equal(
        scores.take(np.array([0])).logit, scores.take(np.array([2])).logit
    )
    _assert_nothing_twice(tmp_path / "s")


def test_a_changed_file_is_scored_anew_under_its_name(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    _score(images, taggers, tmp_path / "s", settings)
    Image.new("RGB", (5, 5), "red").save(images / "d0" / "00.png")
    summary = _score(images, taggers, tmp_path / "s", settings)
    assert (summary.n_scored, summary.n_skipped) == (1, 22)
    _score(images, taggers, tmp_path / "fresh", settings)
    _assert_equal(ScoreStore(tmp_path / "s").load(), ScoreStore(tmp_path / "fresh").load())


def test_a_mended_file_is_no_failure_any_more(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    whole = (images / "d0" / "00.png").read_bytes()
    (images / "d0" / "00.png").write_bytes(whole[: len(whole) // 2])
    assert _score(images, taggers, tmp_path / "s", settings).n_failed == 1
    assert ScoreStore(tmp_path / "s").load().n_images == 22
    (images / "d0" / "00.png").write_bytes(whole)
    assert _score(images, taggers, tmp_path / "s", settings).n_scored == 1
    assert ScoreStore(tmp_path / "s").failures() == []
    assert ScoreStore(tmp_path / "s").load().n_images == 23


def _hostile(folder: Path) -> dict[str, str]:
    """Add faulty files; return the reason that each must get."""
    whole = (folder / "d0" / "00.png").read_bytes()
    contents = {
        "empty.png": (b"", "empty"),
        "truncated.png": (whole[:-30], "truncated or damaged"),
        "text.jpg": (b"I am no picture", "unknown format"),
        "x" * 200 + ".png": (b"\x89PNG\r\n\x1a\n", "not an image"),
    }
    reasons = {}
    for name, (content, reason) in contents.items():
        (folder / name).write_bytes(content)
        reasons[name] = reason
    Image.new("L", (400, 300)).save(folder / "bomb.png")
    (folder / "gone.png").symlink_to(folder / "nothing")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    os.mkfifo(folder / "pipe.png")
    raw = os.fsencode(folder) + b"/caf\xe9.png"
    Path(os.fsdecode(raw)).write_bytes(b"no image either")
    (folder / "self").symlink_to(folder)
    return reasons | {
        "bomb.png": "120000 pixels are more than",
        "gone.png": "is gone",
        "loop.png": "cannot be read",
        "pipe.png": "not a regular file",
        os.fsdecode(b"caf\xe9.png"): "unknown format",
    }


def test_faulty_files_are_recorded_and_never_stop_the_run(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    _score(images, taggers, tmp_path / "clean", settings)
    reasons = _hostile(images)
    limited = settings.model_copy(update={"max_pixels": 100_000})
    summary = _score(images, taggers, tmp_path / "s", limited)
    assert summary.n_scored == 23
    assert {failure.name for failure in summary.failures} == set(reasons)
    for failure in summary.failures:
        assert reasons[failure.name] in failure.reason
    store = ScoreStore(tmp_path / "s")
    assert [(r.path, r.reason) for r in store.failures()] == [
        (failure.name, failure.reason) for failure in summary.failures
    ]
    _assert_equal(store.load(), ScoreStore(tmp_path / "clean").load())


def test_only_faulty_files(taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"x")
    summary = _score(tmp_path / "images", taggers, tmp_path / "s", settings)
    assert (summary.n_scored, summary.n_failed) == (0, 1)
    with pytest.raises(TagstackError, match="no image has scores"):
        ScoreStore(tmp_path / "s").load()


def test_an_image_that_a_model_cannot_score_fails_alone(
    images: Path,
    taggers: list[Tagger],
    settings: ScoreSettings,
    make_tagger_folder: Folder,
    tmp_path: Path,
) -> None:
    Image.new("RGB", (9, 9), "white").save(images / "white.png")
    fragile = load_tagger(
        make_tagger_folder(name="fragile", nan_above=254.0), floor=1e-4, threads=1
    )
    summary = _score(images, [*taggers, fragile], tmp_path / "s", settings)
    assert [failure.name for failure in summary.failures] == ["white.png"]
    assert "tagger 'fragile' gave a number that is not finite" in summary.failures[0].reason
    assert ScoreStore(tmp_path / "s").load().n_images == 23


def test_a_file_that_vanishes_during_the_run(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    sources = _found(images, settings)
    (images / "d1" / "01.png").unlink()
    summary = score_to_store(sources, taggers, tmp_path / "s", settings, threads=2)
    assert [failure.name for failure in summary.failures] == ["d1/01.png"]
    assert summary.n_scored == 22


def test_progress_counts_up_to_everything(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    seen: list[ScoreProgress] = []
    (images / "bad.png").write_bytes(b"x")
    _score(images, taggers, tmp_path / "s", settings, progress=seen.append)
    assert [state.n_images for state in seen] == [24] * len(seen)
    done = [state.n_done for state in seen]
    assert done == sorted(done)
    assert done[-1] == 24
    assert seen[-1].images_per_s > 0


def test_progress_says_what_each_stage_can_do(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    seen: list[ScoreProgress] = []
    summary = _score(images, taggers, tmp_path / "s", settings, progress=seen.append, threads=3)
    stages = {"read", "decode", "frame", "infer nhwc", "infer nchw", "store"}
    assert set(seen[-1].stage_rates) == set(summary.stage_rates) == stages
    for stage in stages:
        threads = 3 if stage in ("read", "decode", "frame") else 1
        expected = 23 * threads / summary.stage_seconds[stage]
        assert summary.stage_rates[stage] == pytest.approx(expected), stage


def test_a_store_from_before_hashes_gets_them_without_running_a_model(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    (images / "copy.png").write_bytes((images / "d0" / "00.png").read_bytes())
    _score(images, taggers, tmp_path / "s", settings)
    before = ScoreStore(tmp_path / "s")
    names = before.load().images
    expected = before.picture_hashes(names)
    assert expected.known.all()
    for path in part_paths(tmp_path / "s" / "hashes"):
        path.unlink()
    assert not ScoreStore(tmp_path / "s").picture_hashes(names).known.any()
    _assert_equal(ScoreStore(tmp_path / "s").load(), before.load())
    parts = sorted((tmp_path / "s" / "members").rglob("*.parquet"))
    summary = _score(images, taggers, tmp_path / "s", settings)
    assert (summary.n_scored, summary.n_skipped, summary.n_failed) == (0, 24, 0)
    assert sorted((tmp_path / "s" / "members").rglob("*.parquet")) == parts
    after = ScoreStore(tmp_path / "s").picture_hashes(names)
    np.testing.assert_array_equal(after.bits, expected.bits)
    np.testing.assert_array_equal(after.thumbnails, expected.thumbnails)
    _assert_nothing_twice(tmp_path / "s")


@dataclass
class _Watched:
    """A session that tells of each call, as one of the device that it is said to run on."""

    session: Session
    device: str
    told: Callable[[int], None]
    calls: list[int] = field(default_factory=list)

    @property
    def info(self) -> Any:
        return replace(self.session.info, device=self.device)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.calls.append(len(batch))
        self.told(len(self.calls))
        return self.session.run(batch)


def _watched(
    taggers: Sequence[Tagger], *told: Callable[[int], None], device: str = "cuda:0 none"
) -> tuple[list[Tagger], list[_Watched]]:
    sessions = [
        _Watched(tagger.session, device, tell) for tagger, tell in zip(taggers, told, strict=True)
    ]
    return [replace(t, session=s) for t, s in zip(taggers, sessions, strict=True)], sessions


def _threads_of_scoring() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("tagger", "decode", "store"))]


def test_a_slow_tagger_holds_up_no_other_and_no_queue_grows(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    third, seen = threading.Event(), list[bool]()
    most = list[int]()

    def slow(call: int) -> None:
        if call == 1:
            seen.append(third.wait(20))
            time.sleep(0.05)  # for the other to go on, were it let
            most.append(len(sessions[1].calls))

    own, sessions = _watched(taggers, slow, lambda call: third.set() if call == 3 else None)
    _score(images, own, tmp_path / "s", settings)
    assert seen == [True]
    assert 3 <= most[0] <= 4  # batches of four that are under way at once
    _score(images, taggers, tmp_path / "plain", settings)
    assert _parts(tmp_path / "s") == _parts(tmp_path / "plain")


def test_pixels_scaled_in_the_network_give_the_bytes_of_the_processor(
    images: Path,
    folders: list[Path],
    taggers: list[Tagger],
    settings: ScoreSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The GPU's session with its memory and threads; the provider alone is the processor's."""
    monkeypatch.setitem(ort_gpu.PROVIDERS, "ort-cuda", ("CPUExecutionProvider",))
    load = ort_gpu._session
    monkeypatch.setattr(ort_gpu, "_session", lambda *a, fallback: load(*a, fallback=True))
    # One size: a product of several rows may differ from that of one in the last bit.
    changes = {"folder": str(tmp_path / "cache"), "batches": (1,), "typical_batch": 1}
    engines = settings.engines.model_copy(update=changes)
    on_device = [
        replace(
            tagger,
            session=open_ort_gpu(
                folder / "model.onnx", tagger.contract, engines, "fp32", "ort-cuda"
            ),
        )
        for folder, tagger in zip(folders, taggers, strict=True)
    ]
    assert all(tagger.session.info.takes_pixels for tagger in on_device)
    _score(images, on_device, tmp_path / "device", settings)
    _score(images, taggers, tmp_path / "processor", settings)
    assert _parts(tmp_path / "device") == _parts(tmp_path / "processor")


def _parts(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("part-*")}


def test_taggers_on_the_processor_take_turns(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    names = set[str]()
    own, _ = _watched(
        taggers, *[lambda _: names.add(threading.current_thread().name)] * 2, device="cpu"
    )
    _score(images, own, tmp_path / "s", settings)
    assert len(names) == 1
    assert threading.current_thread().name not in names


def test_writing_holds_up_no_tagger(
    images: Path, taggers: list[Tagger], settings: ScoreSettings
) -> None:
    added, over, waited = threading.Event(), threading.Event(), list[bool]()

    class Slow(MemorySink):
        def take(self) -> Taken:
            taken = super().take()
            added.clear()
            return Taken(taken.n_images, self.write)

        def write(self) -> None:
            # After the interruption nothing comes, and what is written then is not looked at.
            waited.append(added.wait(0 if over.is_set() else 20))

        def add_scores(self, *arguments: Any) -> None:
            super().add_scores(*arguments)
            added.set()

    each = settings.model_copy(update={"part_images": 4})
    found, n_parts = _found(images, each), 23 // 4

    def interrupt(state: ScoreProgress) -> None:
        if state.n_scored >= 4 * n_parts:
            over.set()
            added.set()  # for a part that is being written
        _interrupt_at(state, 4 * n_parts)

    with pytest.raises(KeyboardInterrupt):
        score_images(found, taggers, Slow(Members.of(taggers)), each, threads=2, progress=interrupt)
    assert waited[: n_parts - 1] == [True] * (n_parts - 1)


def _interrupt_at(state: ScoreProgress, n_scored: int) -> None:
    if state.n_scored >= n_scored:
        raise KeyboardInterrupt


@pytest.mark.parametrize("device", ["cpu", "cuda:0 none"])
def test_whatever_ends_a_run_ends_its_threads(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path, device: str
) -> None:
    def broken(call: int) -> None:
        if call == 2:
            raise TagstackError("the device is lost")

    own, _ = _watched(taggers, lambda _: None, broken, device=device)
    with pytest.raises(TagstackError, match="the device is lost"):
        _score(images, own, tmp_path / "error", settings)
    with pytest.raises(KeyboardInterrupt):
        _score(images, taggers, tmp_path / "s", settings, progress=lambda s: _interrupt_at(s, 1))
    assert _threads_of_scoring() == []


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
    own, (first, second) = _watched(taggers, *[lambda _: None] * 2, device=device)
    with pytest.raises(KeyboardInterrupt):
        _score(images, own, tmp_path / "s", settings, progress=lambda s: _interrupt_at(s, 4))
    kept = ScoreStore(tmp_path / "s").load().n_images
    assert kept == min(sum(first.calls), sum(second.calls))
    assert not drained or first.calls == second.calls
    _assert_nothing_twice(tmp_path / "s")
    summary = _score(images, taggers, tmp_path / "s", settings)
    assert (summary.n_scored, summary.n_skipped) == (23 - kept, kept)
    _assert_nothing_twice(tmp_path / "s")


def test_interrupt_keeps_what_is_complete_and_the_run_goes_on(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    _score(images, taggers, tmp_path / "reference", settings)
    lazy = settings.model_copy(update={"part_images": 1000})
    calls: list[ScoreProgress] = []

    def interrupt(state: ScoreProgress) -> None:
        calls.append(state)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _score(images, taggers, tmp_path / "s", lazy, progress=interrupt)
    kept = ScoreStore(tmp_path / "s").load().n_images
    assert kept >= calls[-1].n_scored == 12
    summary = _score(images, taggers, tmp_path / "s", lazy)
    assert (summary.n_scored, summary.n_skipped) == (23 - kept, kept)
    _assert_equal(ScoreStore(tmp_path / "s").load(), ScoreStore(tmp_path / "reference").load())
    _assert_nothing_twice(tmp_path / "s")


@pytest.mark.parametrize("failing", [5, 6, 7, 8])
def test_full_disk_is_one_line_and_leaves_whole_parts(
    images: Path,
    taggers: list[Tagger],
    settings: ScoreSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: int,
) -> None:
    _score(images, taggers, tmp_path / "reference", settings)
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
        _score(images, taggers, tmp_path / "s", settings)
    assert list((tmp_path / "s").rglob(".*")) == []
    assert ScoreStore(tmp_path / "s").load().n_images > 0
    assert _score(images, taggers, tmp_path / "s", settings).n_scored > 0
    _assert_equal(ScoreStore(tmp_path / "s").load(), ScoreStore(tmp_path / "reference").load())
    _assert_nothing_twice(tmp_path / "s")


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
    _hostile(images)
    _score(images, taggers, tmp_path / "reference", settings)
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
    summary = _score(images, taggers, tmp_path / "s", settings)
    assert summary.n_scored + summary.n_skipped == 24  # with the bomb, small enough here
    store, reference = ScoreStore(tmp_path / "s"), ScoreStore(tmp_path / "reference")
    _assert_equal(store.load(), reference.load())
    assert store.records() == reference.records()
    _assert_nothing_twice(tmp_path / "s")


def test_a_store_in_use_is_refused(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    def score_again(_: ScoreProgress) -> None:
        with pytest.raises(TagstackError, match="is being written by process"):
            _score(images, taggers, tmp_path / "s", settings)

    assert _score(images, taggers, tmp_path / "s", settings, progress=score_again).n_scored == 23


def test_members_need_distinct_names(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    with pytest.raises(TagstackError, match=r"distinct names, got \['nhwc', 'nhwc'\]"):
        _score(images, [taggers[0], taggers[0]], tmp_path / "s", settings)
    with pytest.raises(TagstackError, match=r"distinct names, got \[\]"):
        _score(images, [], tmp_path / "s", settings)


def test_a_mirrored_tagger_scores_alike_however_it_is_run(
    images: Path, folders: list[Path], settings: ScoreSettings, tmp_path: Path
) -> None:
    taggers = [
        load_tagger(folders[0], floor=1e-4, threads=2),
        load_tagger(folders[0], floor=1e-4, threads=2, sided=("tag_1",)),
    ]
    few = settings.model_copy(update={"batch_images": 2})
    found = _found(images, settings)
    sink = MemorySink(Members.of(taggers))
    score_images(found, taggers, sink, settings, threads=2)
    store = tmp_path / "store"
    first = replace(found, names=found.names[:5])  # what a killed run had written
    for sources in (first, replace(found, names=found.names[::-1])):
        score_to_store(sources, taggers, store, few, threads=1)
    whole, again = sink.load(), ScoreStore(store).load(list(found.names), ["nhwc", "nhwc+flip"])
    assert whole.members == again.members == ("nhwc", "nhwc+flip")
    np.testing.assert_array_equal(whole.logit, again.logit)
    kept = whole.pairs.tag == whole.vocabulary.index["tag_1"]
    np.testing.assert_array_equal(whole.logit[0, kept], whole.logit[1, kept])
    assert (whole.logit[0, ~kept] != whole.logit[1, ~kept]).any()
