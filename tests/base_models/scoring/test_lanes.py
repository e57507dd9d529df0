"""Taggers that run beside each other or in turns, and threads that wait for nobody."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tagstack.base_models.runtimes import ort_gpu
from tagstack.base_models.runtimes.gpu_opening import open_ort_gpu
from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.memory import MemorySink
from tagstack.base_models.scores.sink import Taken
from tagstack.base_models.scoring.pipeline import ScoreProgress, score_images
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.configs.level1 import ScoreSettings
from tests.base_models.scoring.runs import interrupt_at, pictures_in, score, stored_parts, watched


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

    own, sessions = watched(taggers, slow, lambda call: third.set() if call == 3 else None)
    score(images, own, tmp_path / "s", settings)
    assert seen == [True]
    assert 3 <= most[0] <= 4  # batches of four that are under way at once
    score(images, taggers, tmp_path / "plain", settings)
    assert stored_parts(tmp_path / "s") == stored_parts(tmp_path / "plain")


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
    score(images, on_device, tmp_path / "device", settings)
    score(images, taggers, tmp_path / "processor", settings)
    assert stored_parts(tmp_path / "device") == stored_parts(tmp_path / "processor")


def test_taggers_on_the_processor_take_turns(
    images: Path, taggers: list[Tagger], settings: ScoreSettings, tmp_path: Path
) -> None:
    names = set[str]()
    own, _ = watched(
        taggers, *[lambda _: names.add(threading.current_thread().name)] * 2, device="cpu"
    )
    score(images, own, tmp_path / "s", settings)
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
    found, n_parts = pictures_in(images, each), 23 // 4

    def interrupt(state: ScoreProgress) -> None:
        if state.n_scored >= 4 * n_parts:
            over.set()
            added.set()  # for a part that is being written
        interrupt_at(state, 4 * n_parts)

    with pytest.raises(KeyboardInterrupt):
        score_images(found, taggers, Slow(Members.of(taggers)), each, threads=2, progress=interrupt)
    assert waited[: n_parts - 1] == [True] * (n_parts - 1)
