"""Several devices at one folder: the same bytes as one, and what happens when one of them ends."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tagstack.base_models.runtimes.driver import Device, Driver
from tagstack.base_models.scores.shards import merge_shards
from tagstack.base_models.scores.store import ScoreStore
from tagstack.base_models.scoring.pipeline import ScoreProgress
from tagstack.base_models.scoring.sources import ImageFailure, ImageSources, find_images
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings
from tagstack.configs.settings import Settings, load_settings
from tagstack.ensemble.progress import Silent
from tagstack.ensemble.scoring.device_worker import Share, score_share
from tagstack.ensemble.scoring.devices import check_devices, score_on_devices, visible_device

MODEL = "doll_resnet"
NO_GPU = Driver(cuda_version=None, devices=(), fault="there is no NVIDIA driver")
TWO = Driver(
    cuda_version="13.0",
    devices=tuple(
        Device(index=i, name="X", compute_capability="9.0", n_multiprocessors=1, memory_bytes=1)
        for i in range(2)
    ),
    fault=None,
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> ImageSources:
    """Eight pictures, of which two are one, and one that is none."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(7):
        noise = rng.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    (folder / os.fsdecode(b"no\xe9.png")).write_bytes(b"no picture")
    return find_images([folder], extensions=(".png",))


def settings_for(*devices: str, **changes: Any) -> Settings:
    settings = load_settings()
    score = settings.score.model_copy(update={"devices": devices, "part_images": 5, **changes})
    return settings.model_copy(update={"score": score, "threads": 2})


def parts(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("part-*")}


def test_two_devices_give_the_bytes_of_one(sources: ImageSources, tmp_path: Path) -> None:
    seen: list[ScoreProgress] = []

    class Seen(Silent):
        def scored(self, state: ScoreProgress) -> None:
            seen.append(state)

    summary = score_on_devices(
        sources, [MODEL], tmp_path / "two", settings_for("cpu", "cpu"), Seen()
    )
    assert (summary.n_scored, summary.n_skipped, summary.n_failed) in [(7, 1, 1), (8, 0, 1)]
    assert [failure.name for failure in summary.failures] == [os.fsdecode(b"no\xe9.png")]
    assert (seen[-1].n_images, seen[-1].n_done) == (9, 9)
    assert f"infer {MODEL}" in summary.stage_rates
    share = Share(
        number=0,
        sources=sources,
        models=(MODEL,),
        store=tmp_path / "one",
        settings=settings_for(batch_images=3),
        retry_failed=False,
    )
    score_share(share, lambda _: None)
    merge_shards(tmp_path / "one", part_images=5)
    assert parts(tmp_path / "two") == parts(tmp_path / "one")
    assert not (tmp_path / "two" / "shards").exists()


def test_a_share_comes_through_as_it_is(sources: ImageSources, tmp_path: Path) -> None:
    share = Share(
        number=3,
        sources=ImageSources(sources.root, sources.names, (ImageFailure("a", "b"),)),
        models=(MODEL, "./mine"),
        store=tmp_path,
        settings=settings_for(),
        retry_failed=True,
    )
    assert Share.from_json(share.to_json()) == share
    assert share.to_json().isascii()


# A device that tells of one picture and then goes on until it is interrupted, or ends at once.
DEVICE = """
import json, os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs behind a shell ignores it
try:
    json.load(sys.stdin)
    print("a library says hello")
    print(json.dumps({"scored": {"n_scored": 1, "n_skipped": 0, "n_failed": 0, "stage_rates": {}}}))
    sys.stdout.flush()
    if sys.argv[1] == "error" and os.environ.get("CUDA_VISIBLE_DEVICES") == "4":
        print(json.dumps({"error": "the GPU is lost."}))
    elif sys.argv[1] == "error":
        time.sleep(0.2)
        print(json.dumps({"summary": {}}))
        open(sys.argv[-1], "a").write("done")
    elif sys.argv[1] == "dies":
        os.abort() if sys.argv[2:] else os._exit(7)
    else:
        time.sleep(60)
except KeyboardInterrupt:
    open(sys.argv[-1], "a").write("interrupted ")
"""


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagstack.ensemble.scoring.devices.check_devices", lambda *_: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 5")


@pytest.mark.usefixtures("gpus")
def test_an_interrupt_reaches_every_device_once(sources: ImageSources, tmp_path: Path) -> None:
    class Interrupting(Silent):
        n_seen = 0

        def scored(self, state: ScoreProgress) -> None:
            self.n_seen += 1
            if state.n_scored == 2:
                raise KeyboardInterrupt

    command = (sys.executable, "-c", DEVICE, "waits", str(tmp_path / "told"))
    settings = settings_for("0", "1")
    with pytest.raises(KeyboardInterrupt):
        score_on_devices(
            sources, [MODEL], tmp_path / "s", settings, Interrupting(), command=command
        )
    assert (tmp_path / "told").read_text() == "interrupted interrupted "


@pytest.mark.usefixtures("gpus")
def test_a_device_that_fails_costs_its_share_alone(sources: ImageSources, tmp_path: Path) -> None:
    noticed: list[str] = []

    class Noting(Silent):
        def notice(self, text: str) -> None:
            noticed.append(text)

    command = (sys.executable, "-c", DEVICE, "error", str(tmp_path / "told"))
    with pytest.raises(TagstackError, match=r"^Device 0: the GPU is lost\.$"):
        score_on_devices(
            sources, [MODEL], tmp_path / "s", settings_for("0", "1"), Noting(), command=command
        )
    assert noticed == ["Device 0: the GPU is lost."]
    assert (tmp_path / "told").read_text() == "done"


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(("more", "how"), [([], "with code 7"), (["x"], "by signal 6")])
def test_a_process_that_dies_is_named(
    sources: ImageSources, tmp_path: Path, more: Sequence[str], how: str
) -> None:
    command = (sys.executable, "-c", DEVICE, "dies", *more)
    with pytest.raises(TagstackError, match=rf"device 0 ended {how}.*run the same again to go on"):
        score_on_devices(
            sources, [MODEL], tmp_path / "s", settings_for("0"), Silent(), command=command
        )


def test_shards_of_an_interrupted_run_are_joined_first(
    sources: ImageSources, tmp_path: Path
) -> None:
    """With other devices than before, their numbers would be others'."""
    for number in (0, 4):
        share = Share(
            number=number,
            sources=sources.share(1 + number // 4, 3),
            models=(MODEL,),
            store=tmp_path / "s",
            settings=settings_for(),
            retry_failed=False,
        )
        score_share(share, lambda _: None)
    command = (sys.executable, "-c", "import sys; sys.stdin.read(); sys.exit(9)")
    with pytest.raises(TagstackError, match="ended with code 9"):
        score_on_devices(
            sources, [MODEL], tmp_path / "s", settings_for("cpu"), Silent(), command=command
        )
    assert ScoreStore(tmp_path / "s").load().n_images == 6
    assert not (tmp_path / "s" / "shards").exists()


def runs_in(backend: str) -> Callable[..., ScoreSettings]:
    return lambda *devices: settings_for(*devices, backend=backend).score


def test_devices_that_are_not_there() -> None:
    with pytest.raises(
        TagstackError, match=r"is 0,1, but the backend ort runs on the processor.*cpu,cpu"
    ):
        check_devices(runs_in("ort")("0", "1"), TWO)
    check_devices(runs_in("ort")("cpu"), NO_GPU)


def test_gpus_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from tagstack.base_models.runtimes.selection import Chosen

    monkeypatch.setattr(
        "tagstack.ensemble.scoring.devices.choose", lambda _: Chosen("tensorrt", "asked for")
    )
    check_devices(runs_in("tensorrt")("1", "0"), TWO)
    with pytest.raises(TagstackError, match=r"there is no GPU 2: 0: X \(9\.0.*; 1: X .*from 0"):
        check_devices(runs_in("tensorrt")("0", "2"), TWO)
    with pytest.raises(TagstackError, match="there is no GPU 0: there is no NVIDIA driver"):
        check_devices(runs_in("tensorrt")("0"), NO_GPU)
    with pytest.raises(
        TagstackError, match=r"but the backend tensorrt runs on a GPU\. Say --devices 0"
    ):
        check_devices(runs_in("tensorrt")("cpu"), TWO)


@pytest.mark.parametrize(
    "devices", [["0", "0"], ["0", "00"], ["cpu", "0"], ["gpu"], ["-1"], ["1000"]]
)
def test_devices_that_are_none(devices: list[str]) -> None:
    with pytest.raises(TagstackError, match=r"devices.*must be numbers of GPUs, each once, or all"):
        load_settings(changes={"score": {"devices": devices}})


def test_numbers_are_devices_too() -> None:
    assert load_settings(changes={"score": {"devices": [0, 1]}}).score.devices == ("0", "1")


def test_a_process_sees_its_device_alone() -> None:
    assert visible_device("1", {"A": "b"}) == {"A": "b", "CUDA_VISIBLE_DEVICES": "1"}
    given = {"CUDA_VISIBLE_DEVICES": "GPU-aa, MIG-bb"}
    assert visible_device("1", given) == {"CUDA_VISIBLE_DEVICES": "MIG-bb"}
    assert visible_device("cpu", given) == given
