"""Scoring: pictures in, level-1 scores in a sink.

`Intake` reads, decodes and frames ahead of the models; here batches go through them and into the
sink: a store, a shard of one, or memory. Every queue is bounded, so memory beside the sink does
not depend on the number of images. An image's scores depend on its content alone: not on the batch,
the order, the threads, the sink or an interruption.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tagstack.base_models.scores.members import Members
from tagstack.base_models.scores.sink import ScoreSink
from tagstack.base_models.scores.store_writer import ScoreWriter
from tagstack.base_models.scoring.intake import FramedTask, Intake
from tagstack.base_models.scoring.sources import PictureSource
from tagstack.base_models.scoring.tally import ScoreProgress, ScoreSummary, Tally
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.base_models.threads import thread_count
from tagstack.configs.level1 import ScoreSettings

_REPORT_S = 0.2  # as often as an eye can follow
_DRAIN_S, _DRAIN_IMAGES = 1.0, 4  # after an interruption: what is still done, so many at a time

__all__ = ["ScoreProgress", "ScoreSummary", "score_images", "score_to_store"]


def score_images(
    sources: PictureSource,
    taggers: Sequence[Tagger],
    sink: ScoreSink,
    settings: ScoreSettings,
    *,
    threads: int,
    progress: Callable[[ScoreProgress], None] | None = None,
) -> ScoreSummary:
    """Score images with every tagger and add the results to a sink.

    What the sink has already is not computed again, so a run that was interrupted or killed goes
    on where it was. Faulty images are recorded with the reason and never stop the run.

    Parameters
    ----------
    sources : PictureSource
    taggers : sequence of Tagger
    sink : ScoreSink
        Open, and made for these taggers in this order.
    settings : ScoreSettings
    threads : int
        Threads for reading and decoding where the settings give none, 0 for all cores; the
        taggers have their own.
    progress : callable, optional
        Called after every batch, while images are passed over, and at the end.

    Raises
    ------
    TagstackError
        If the sink cannot be written, or a tagger's output contradicts its contract.
    KeyboardInterrupt
        After the images that the models were at, as far as a second goes, and when everything
        complete is written; a second interruption gives those up.
    """
    threads = thread_count(settings.decode_threads or threads)
    tally = Tally(len(sources.names), sources.failures, threads)
    run = _Run(taggers, sink, settings, tally, progress)
    pool = _decoding(threads, len(sources.names))
    intake = Intake(sources, taggers, sink, settings, tally, run.tick)
    try:
        run.score(intake, pool)
    except KeyboardInterrupt:
        intake.close()
        run.drain()
        raise
    finally:
        intake.close()
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    return tally.summary()


def score_to_store(
    sources: PictureSource,
    taggers: Sequence[Tagger],
    store: Path,
    settings: ScoreSettings,
    *,
    threads: int,
    progress: Callable[[ScoreProgress], None] | None = None,
    retry_failed: bool = False,
) -> ScoreSummary:
    """Score images into the store in a folder, which is created if needed; see `score_images`.

    With ``retry_failed``, contents are tried again that an earlier run gave up on.

    Raises
    ------
    TagstackError
        As `score_images`; and if two taggers share a name, or the store is in use.
    """
    with ScoreWriter(store, Members.of(taggers), retry_failed=retry_failed) as sink:
        return score_images(sources, taggers, sink, settings, threads=threads, progress=progress)


def _decoding(threads: int, n_images: int) -> ThreadPoolExecutor | None:
    """Return what reads and decodes; None for one picture, which leaves threads nothing to do.

    They would cost it a tenth of what five small taggers do.
    """
    return ThreadPoolExecutor(threads, thread_name_prefix="decode") if n_images > 1 else None


@dataclass
class _Run:
    """The models' half of one call of `score_images`."""

    taggers: Sequence[Tagger]
    sink: ScoreSink
    settings: ScoreSettings
    tally: Tally
    progress: Callable[[ScoreProgress], None] | None
    # What the models are at; the images before it are through, those after it only decoded.
    batch: list[FramedTask] = field(default_factory=list)
    committed: float = field(default_factory=time.monotonic)
    n_committed: int = 0
    reported: float = field(default_factory=time.monotonic)

    def score(self, intake: Intake, pool: ThreadPoolExecutor | None) -> None:
        ready: list[FramedTask] = []
        for item in intake.framed(pool):
            if item.task.missing:
                ready.append(item)
            else:  # its hash was all that was missing
                self.tally.settle(item.task.content.sha256, scored=False)
            if len(ready) >= self.settings.batch_images:
                self._infer(ready)
                ready = []
        self._infer(ready)
        self._commit()
        self._report()

    def drain(self) -> None:
        """Finish what the models were at as far as a second goes; write what is complete."""
        enough = time.monotonic() + _DRAIN_S
        try:
            for start in range(0, len(self.batch), _DRAIN_IMAGES):
                if time.monotonic() < enough:
                    self._run_models(self.batch[start : start + _DRAIN_IMAGES])
        finally:
            self.sink.commit()

    def tick(self) -> None:
        """Write and report when it is time to; called after every image that was read."""
        full = self.tally.n_done - self.n_committed >= self.settings.part_images
        if full or time.monotonic() - self.committed >= self.settings.part_seconds:
            self._commit()
        if time.monotonic() - self.reported >= _REPORT_S:
            self._report()

    def _infer(self, batch: list[FramedTask]) -> None:
        self.batch = batch
        self._run_models(batch)
        for item in batch:
            if self.sink.failure(item.task.content.sha256) is None:
                self.tally.settle(item.task.content.sha256, scored=True)
        self.batch = []
        self.tick()
        self._report()

    def _run_models(self, batch: Sequence[FramedTask]) -> None:
        """Run each tagger on those images of a batch that it has not scored yet."""
        for number, tagger in enumerate(self.taggers):
            began = time.monotonic()
            own = [
                item
                for item in batch
                if number in item.task.missing
                and number in self.sink.missing(item.task.content.sha256)
            ]
            if own:
                self._run_model(number, tagger, own)
                self.tally.took(f"infer {tagger.name}", time.monotonic() - began, len(own))

    def _run_model(self, number: int, tagger: Tagger, own: Sequence[FramedTask]) -> None:
        logits, features = tagger.outputs(np.stack([item.pixels[tagger.framing] for item in own]))
        finite = np.atleast_1d(np.isfinite(logits).all(axis=1))
        contents = [item.task.content.sha256 for item in own]
        for sha256, good in zip(contents, finite, strict=True):
            if not good and self.sink.failure(sha256) is None:
                reason = f"tagger {tagger.name!r} gave a number that is not finite"
                self.sink.fail(sha256, reason)
                self.tally.fail_content(sha256, reason)
        kept = [sha256 for sha256, good in zip(contents, finite, strict=True) if good]
        wanted = features[finite] if tagger.n_features else None
        self.sink.add_scores(number, kept, logits[finite], wanted)

    def _commit(self) -> None:
        began = time.monotonic()
        n_images = self.sink.commit()
        self.committed, self.n_committed = time.monotonic(), self.tally.n_done
        self.tally.took("store", self.committed - began, n_images)

    def _report(self) -> None:
        self.reported = time.monotonic()
        if self.progress is not None:
            self.progress(self.tally.progress())
