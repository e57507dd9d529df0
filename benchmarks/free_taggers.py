"""Taggers whose network costs nothing, and scoring as it was with one thread behind the decoders.

What is left is the host's work: reading, decoding, framing, making inputs, logits, the store.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.base import SessionInfo
from tagstack.base_models.scores.sink import ScoreSink
from tagstack.base_models.scoring.intake import FramedTask, Intake
from tagstack.base_models.scoring.tally import Tally
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.level1 import ScoreSettings

_LIKELY = 150  # tags of a picture above the store's floor, as taggers of 10,000 tags have


@dataclass
class FreeSession:
    """A network without work: its input is copied, as to pinned memory, and scores lie ready.

    ``thread_seconds`` has the CPU seconds of each thread that called it, as of its last call.
    """

    info: SessionInfo
    n_outputs: int
    thread_seconds: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self._scores = np.full((64, self.n_outputs), 1e-6, np.float32)
        for row in self._scores:
            row[rng.choice(self.n_outputs, min(_LIKELY, self.n_outputs), False)] = 0.3
        self._pinned = threading.local()

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return scores, shape (n_images, n_outputs)."""
        if getattr(self._pinned, "memory", np.empty(0)).shape != batch.shape:
            self._pinned.memory = np.empty_like(batch)
        self._pinned.memory[:] = batch
        self.thread_seconds[threading.get_ident()] = time.thread_time()
        return self._scores[: len(batch)].copy()

    def close(self) -> None:
        """Do nothing."""


def free_tagger(contract: Contract, name: str, n_tags: int, *, pixels: bool) -> Tagger:
    """Return a tagger of that contract that costs nothing but what the host does for it."""
    info = SessionInfo(
        backend="free",
        provider="none",
        precision="fp32",
        device="cuda:0 none",
        threads=1,
        versions=(),
        score_class="free",
        model_batch=None,
        takes_pixels=pixels,
        callers=2,
    )
    tags = tuple(f"t{i}" for i in range(n_tags))
    vocabulary = Vocabulary(tags=tags, categories=("general",) * n_tags)
    return Tagger(
        folder=Path("."),
        name=name,
        source=name,
        contract=contract,
        vocabulary=vocabulary,
        published_thresholds=np.full(n_tags, 0.5, np.float32),
        published_counts=np.full(n_tags, np.nan, np.float32),
        fingerprint=name,
        floor=1e-4,
        session=FreeSession(info, n_tags),
        scaled_decoding=False,
    )


def score_in_one_thread(
    intake: Intake,
    pool: Any,
    taggers: Sequence[Tagger],
    sink: ScoreSink,
    settings: ScoreSettings,
    tally: Tally,
) -> None:
    """Score as before there were lanes: behind the decoders one thread did everything."""

    def infer(batch: list[FramedTask]) -> None:
        for number, tagger in enumerate(taggers):
            pixels = np.stack([item.pixels[tagger.framing] for item in batch])
            logits, _ = tagger.outputs(pixels)
            sink.add_scores(number, [item.task.content.sha256 for item in batch], logits)
        for item in batch:
            if item.hash is not None:
                sink.add_hash(item.task.content.sha256, item.hash)
            tally.settle(item.task.content.sha256, scored=True)

    ready: list[FramedTask] = []
    for item in intake.framed(pool):
        ready.append(item)
        if len(ready) == settings.batch_images:
            infer(ready)
            ready = []
    if ready:
        infer(ready)
    sink.commit()
