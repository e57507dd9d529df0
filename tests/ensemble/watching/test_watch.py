"""A watched folder: what is new, changed, renamed, deleted or still being written."""

import csv
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagstack.base_models.zoo.gallery import draw_gallery
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings, load_settings
from tagstack.configs.watching import WatchSettings
from tagstack.ensemble.bundle.files import MANIFEST, load_bundle
from tagstack.ensemble.bundle.in_use import Versions
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.scoring.runs import score_to_store
from tagstack.ensemble.scoring.taggers import loaded_taggers
from tagstack.ensemble.tasks.start import StartRequest, start
from tagstack.ensemble.tasks.tag_request import TagRequest
from tagstack.ensemble.tasks.watch import Batch, FolderWatch, look_once, watch_folder
from tagstack.ensemble.thresholds.versions import ThresholdVersions
from tagstack.ensemble.watching.reports import matters, reported_changes
from tagstack.ensemble.watching.taggers import OpenTaggers

SETTLE_S = 100.0


def put(source: Path, target: Path) -> None:
    """Copy a picture with a date of long ago; the date of its entry still tells that it is new."""
    shutil.copyfile(source, target)
    os.utime(target, (1e9, 1e9))


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Night:
    """A watched folder, its clock, and what was scored; the clock alone decides what settles."""

    def __init__(self, root: Path, clock: Clock, request: TagRequest, settings: Settings) -> None:
        self.pictures, self.out = root / "pictures", root / "out"
        self._clock, self.request, self._settings = clock, request, settings
        self.begin()

    def begin(self) -> None:
        """Start a watch, as another process would."""
        self.watch = FolderWatch(
            self.request, self._settings, lambda: nullcontext(Silent()), OpenTaggers(), self._clock
        )

    def after(self, seconds: float, *names: str) -> Batch | None:
        """Let time go by, then report names."""
        self._clock.now += seconds
        return self.watch.step({str(self.pictures / name) for name in names})

    def settled(self, *names: str) -> Batch:
        """Report names and wait until they are tagged."""
        self.after(0, *names)
        batch = self.after(SETTLE_S)
        assert batch is not None
        return batch

    def captions(self) -> set[str]:
        return {path.name for path in self.out.glob("*.txt")}

    def table(self) -> list[str]:
        with (self.out / "tags.csv").open(newline="") as stream:
            return sorted({row["filename"] for row in csv.DictReader(stream)})


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("drawn")
    draw_gallery(root, n_images=4, seed=5)
    return sorted(root.glob("*.png"))


@pytest.fixture
def settings() -> Settings:
    watch = {"settle_seconds": SETTLE_S, "look_seconds": 0}
    return load_settings(changes={"threads": 1, "watch": watch})


@pytest.fixture
def night(tmp_path: Path, settings: Settings) -> Night:
    (tmp_path / "pictures").mkdir()
    request = TagRequest(
        images=(tmp_path / "pictures",), bundle=None, out=tmp_path / "out",
        formats=("txt", "csv"), models=("doll_resnet",), prune=True,
    )  # fmt: skip
    return Night(tmp_path, Clock(), request, settings)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Return the list of what is scored from now on."""
    names: list[tuple[str, ...]] = []

    def noted(sources: Any, *rest: Any, **options: Any) -> Any:
        names.append(sources.names)
        return score_to_store(sources, *rest, **options)

    monkeypatch.setattr("tagstack.ensemble.tasks.tag_scoring.score_to_store", noted)
    return names


def test_new_changed_renamed_and_deleted_pictures(
    night: Night, drawn: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []

    def loading(models: Any, own: Any) -> Any:
        loads.append(models)
        return loaded_taggers(models, own)

    monkeypatch.setattr("tagstack.ensemble.watching.taggers.loaded_taggers", loading)
    first = night.after(0)
    assert first is not None
    assert (first.summary.n_images, first.is_news) == (0, False)
    for name, source in (("1.png", drawn[0]), ("2.png", drawn[1])):
        put(source, night.pictures / name)
    assert night.settled("1.png", "2.png").n_written == 2
    before = (night.out / "1.txt").read_text()
    put(drawn[2], night.pictures / "1.png")
    assert night.settled("1.png").n_written == 1
    assert (night.out / "1.txt").read_text() != before
    (night.pictures / "2.png").rename(night.pictures / "3.png")
    renamed = night.settled("2.png", "3.png")
    assert (renamed.n_written, renamed.summary.pruned) == (1, 1)
    assert (night.captions(), night.table()) == ({"1.txt", "3.txt"}, ["1.png", "3.png"])
    (night.pictures / "1.png").unlink()
    assert night.settled("1.png").summary.pruned == 1
    assert (night.captions(), night.table()) == ({"3.txt"}, ["3.png"])
    assert len(loads) == 1


@pytest.fixture
def with_bundle(night: Night, tmp_path: Path, settings: Settings) -> Night:
    """Return a watch of a folder with one picture, by a start bundle of one tagger."""
    put_bundle(tmp_path / "bundle", settings, "doll_resnet")
    night.request = replace(night.request, bundle=tmp_path / "bundle", models=None)
    night.begin()
    return night


def put_bundle(folder: Path, settings: Settings, model: str) -> None:
    """Put a start bundle into the place of another."""
    shutil.rmtree(folder, ignore_errors=True)
    start(StartRequest(models=(model,), bundle=folder), settings, Silent())


def test_other_thresholds_and_another_fit_are_taken_over_and_said(
    with_bundle: Night, drawn: list[Path], tmp_path: Path, settings: Settings
) -> None:
    assert with_bundle.after(0) is not None
    put(drawn[0], with_bundle.pictures / "1.png")
    first = with_bundle.settled("1.png")
    assert (first.n_written, first.is_other) == (1, False)
    assert with_bundle.after(1) is None
    thresholds = load_bundle(tmp_path / "bundle").thresholds
    never = np.full_like(thresholds.value, np.inf)
    versions = ThresholdVersions(tmp_path / "bundle")
    version = versions.add(replace(thresholds, value=never), {"by": "a test"})
    taken = with_bundle.after(1)
    assert taken is not None
    assert taken.in_use == Versions.of(tmp_path / "bundle", version)
    assert (taken.is_other, taken.n_written) == (True, 1)
    assert (with_bundle.out / "1.txt").read_text().strip() == ""
    assert with_bundle.after(1) is None
    put_bundle(tmp_path / "bundle", settings, "doll_vit")
    other = with_bundle.after(1)
    assert other is not None
    assert other.is_other
    assert (with_bundle.out / "1.txt").read_text().strip()


def test_a_bundle_that_cannot_be_used_is_named_once_and_pictures_wait(
    with_bundle: Night, drawn: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert with_bundle.after(0) is not None
    manifest = tmp_path / "bundle" / MANIFEST
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:-20])
    put(drawn[0], with_bundle.pictures / "1.png")
    assert with_bundle.after(1, "1.png") is None
    assert with_bundle.after(SETTLE_S, "1.png") is None
    assert with_bundle.after(SETTLE_S) is None
    said = [r.message for r in caplog.records if "not taken over; pictures wait" in r.message]
    assert len(said) == 1
    manifest.write_bytes(whole)
    batch = with_bundle.after(1)
    assert batch is not None
    assert (batch.n_written, batch.is_other) == (1, False)


def test_a_half_written_picture_is_waited_for(
    night: Night, drawn: list[Path], scored: list[tuple[str, ...]]
) -> None:
    whole = drawn[0].read_bytes()
    target = night.pictures / "1.png"
    target.write_bytes(whole[: len(whole) // 2])
    put(drawn[1], night.pictures / "2.png")
    first = night.after(0)  # nothing was reported yet, and both are too young to be read
    assert first is not None
    assert (first.n_waiting, first.n_written, scored) == (2, 0, [])
    assert night.after(60, "1.png") is None
    other = night.after(40)
    assert other is not None
    assert (other.n_written, other.n_waiting, scored) == (1, 1, [("2.png",)])
    with target.open("ab") as stream:
        stream.write(whole[len(whole) // 2 :])
    assert night.after(60) is None  # it has grown: the wait begins anew, reported or not
    assert night.after(SETTLE_S - 1) is None
    last = night.after(1)
    assert last is not None
    assert (last.n_written, last.summary.n_failed, scored[1:]) == (1, 0, [("1.png",)])


def test_a_picture_that_fails_is_tried_again_only_when_it_changes(
    night: Night, drawn: list[Path], scored: list[tuple[str, ...]]
) -> None:
    (night.pictures / "broken.png").write_bytes(b"no picture")
    night.after(0)
    batch = night.after(SETTLE_S)
    assert batch is not None
    assert [item.name for item in batch.failed] == ["broken.png"]
    put(drawn[1], night.pictures / "2.png")
    batch = night.settled("2.png")
    assert (batch.n_written, batch.failed, batch.summary.n_failed) == (1, (), 1)
    assert "broken.png" in (night.out / "failures.csv").read_text()
    night.begin()
    again = night.after(0)
    assert again is not None
    assert again.n_waiting == 1  # the other looks young to a process that did not see it arrive
    assert [item.name for item in again.failed] == ["broken.png"]
    again = night.after(SETTLE_S)
    assert again is not None
    assert (again.n_written, again.failed, again.summary.n_failed) == (0, (), 1)
    assert scored == [("broken.png",), ("2.png",)]
    told = replace(night.request, retry_failed=True)
    night.request, before = told, night.request
    night.begin()
    for seconds in (0, SETTLE_S):
        night.after(seconds)
    night.watch.run()
    assert scored == [("broken.png",), ("2.png",), ("broken.png",)]
    night.request = before
    night.begin()
    put(drawn[0], night.pictures / "broken.png")
    assert night.settled("broken.png").summary.n_failed == 0
    assert scored[3:] == [("broken.png",)]
    assert not (night.out / "failures.csv").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"made_by": 1, "images": {"a": [1]}}', "[" * 9999])
def test_what_failed_is_forgotten_where_its_file_is_damaged(night: Night, content: str) -> None:
    path = night.out / ".tagstack/failed.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    night.begin()
    batch = night.after(0)
    assert batch is not None
    assert batch.summary.n_failed == 0


def test_a_folder_without_any_picture_deletes_no_caption(night: Night, drawn: list[Path]) -> None:
    put(drawn[0], night.pictures / "1.png")
    night.after(0)
    night.after(SETTLE_S)
    (night.pictures / "1.png").unlink()
    batch = night.settled("1.png")
    assert (batch.summary.pruned, batch.stale) == (0, (night.out / "1.txt",))
    assert night.captions() == {"1.txt"}


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("a.png", True), ("deep/A.JPG", True), ("gone-folder", True), ("a.txt", False),
        (".hidden/a.png", False), ("@eaDir/a.png", False), ("tags/a.png", False), ("tags", False),
        ("tags2/a.png", True), ("../a.png", False), ("", True),
    ],
)  # fmt: skip
def test_what_is_about_a_picture(tmp_path: Path, path: str, counts: bool) -> None:
    (tmp_path / "a.txt").touch()
    found = matters(os.path.join(tmp_path, path), tmp_path, tmp_path / "tags", [".png", ".jpg"])
    assert found is counts


def test_the_system_reports_pictures_and_the_own_output_starts_nothing(
    tmp_path: Path, drawn: list[Path]
) -> None:
    """With watchfiles, on the output inside the watched folder and sidecars beside pictures."""
    batches: list[Batch] = []

    def acting(folder: Path, every_s: float) -> Iterator[set[str]]:
        ends, quiet, placed = time.monotonic() + 60, 0, False
        for paths in reported_changes(folder, every_s):
            assert time.monotonic() < ends
            yield paths
            if not placed:
                put(drawn[0], folder / "1.png")
                placed = True
            quiet = 0 if paths or len(batches) < 2 else quiet + 1
            if quiet == 5:
                return

    changes = {
        "threads": 1,
        "watch": {"settle_seconds": 0.05},
        "output": {"beside": True},
    }
    request = TagRequest(
        images=(tmp_path,), bundle=None, out=tmp_path / "tags", formats=("txt", "csv"),
        models=("doll_resnet",),
    )  # fmt: skip
    settings = load_settings(changes=changes)
    watch_folder(request, settings, lambda: nullcontext(Silent()), batches.append, acting)
    assert [batch.n_written for batch in batches] == [0, 1]
    assert (tmp_path / "1.txt").exists()


def test_an_interruption_ends_a_watch_and_the_next_one_goes_on(
    night: Night, drawn: list[Path], settings: Settings, scored: list[tuple[str, ...]]
) -> None:
    put(drawn[0], night.pictures / "1.png")
    quick = settings.model_copy(
        update={"watch": WatchSettings(settle_seconds=0.02, look_seconds=0)}
    )

    def told(batch: Batch) -> None:
        # As the handler of SIGINT does; a signal to the process would end whatever runs the tests.
        if batch.n_written:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        watch_folder(night.request, quick, lambda: nullcontext(Silent()), told)
    assert look_once(night.request, quick, lambda: nullcontext(Silent())).n_written == 0
    assert scored == [("1.png",)]


def test_a_file_of_the_future_is_waited_for_once(night: Night, drawn: list[Path]) -> None:
    put(drawn[0], night.pictures / "1.png")
    os.utime(night.pictures / "1.png", (2**32, 2**32))
    night.after(0)
    night.after(SETTLE_S)
    batch = night.settled("2.png")
    assert (batch.n_waiting, batch.summary.n_images) == (0, 1)


def test_a_file_is_no_folder_to_watch(night: Night, tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "1.png").touch()
    request = TagRequest(images=(tmp_path / "1.png",), bundle=None, out=tmp_path / "out")
    with pytest.raises(TagstackError, match=r"1\.png is no folder; expected the folder of"):
        FolderWatch(request, settings, lambda: nullcontext(Silent()), OpenTaggers())
