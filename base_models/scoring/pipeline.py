"""Scoring: pictures in, level-1 scores in a sink.

`Intake` reads, decodes and frames ahead of the models; `Lanes` run them; another thread writes what
is complete into a store, a shard of one, or nowhere. The calling thread leads batches from one to
the next in their order, and it alone touches the sink. Every queue is bounded, so memory beside the
sink does not depend on the number of images. An image's scores depend on its content alone: not on
the batch, the order, the threads, the sink or an interruption.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tagstack.base_models.scores.sink import ScoreSink
from tagstack.base_models.scoring.intake import FramedTask, Intake
from tagstack.base_models.scoring.lanes import Batch, Lanes, Scored
from tagstack.base_models.scoring.sources import PictureSource
from tagstack.base_models.scoring.tally import ScoreProgress, ScoreSummary, Tally
from tagstack.base_models.scoring.writer import Writer
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.base_models.threads import thread_count
from tagstack.configs.level1 import ScoreSettings

_REPORT_S = 0.2  # as often as an eye can follow
_DRAIN_S = 1.0  # after an interruption: what is still done
# Batches that taggers have or wait for: one for each half of a device's input, and the next.
_UNDER_WAY = 3

__all__ = ["ScoreProgress", "ScoreSummary", "score_images"]


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
        After the images that the taggers were given, as far as a second goes, and when everything
        complete is written; a second interruption gives those up.
    """
    threads = thread_count(settings.decode_threads or threads)
    tally = Tally(len(sources.names), sources.failures, threads)
    # Threads have nothing to do for one picture, and cost a tenth of what five small taggers do.
    threaded = len(sources.names) > 1
    run = _Run(taggers, sink, settings, tally, progress, threaded=threaded)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode") if threaded else None
    intake = Intake(sources, taggers, sink, settings, tally, run.tick)
    try:
        run.score(intake, pool)
    except KeyboardInterrupt:
        intake.close()
        run.drain()
        raise
    finally:
        intake.close()
        run.close()
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    return tally.summary()


class _Run:
    """One call of `score_images`: its batches from the intake through the taggers to the sink."""

    def __init__(
        self,
        taggers: Sequence[Tagger],
        sink: ScoreSink,
        settings: ScoreSettings,
        tally: Tally,
        progress: Callable[[ScoreProgress], None] | None,
        *,
        threaded: bool,
    ) -> None:
        self._taggers, self._sink, self._settings = taggers, sink, settings
        self._tally, self._progress = tally, progress
        self._lanes = Lanes(taggers, threaded=threaded)
        self._under_way: deque[Batch] = deque()
        self._writer = Writer(tally, threaded=threaded)
        self._committed = self._reported = time.monotonic()
        self._n_committed = 0

    def score(self, intake: Intake, pool: ThreadPoolExecutor | None) -> None:
        """Score everything that the intake gives, and write it."""
        ready: list[FramedTask] = []
        for item in intake.framed(pool):
            if item.task.missing:
                ready.append(item)
            else:  # its hash was all that was missing
                self._add_hash(item)
                self._tally.settle(item.task.content.sha256, scored=False)
            if len(ready) >= self._settings.batch_images:
                self._submit(ready)
                ready = []
        if ready:
            self._submit(ready)
        while self._under_way:
            self._finish()
        self._commit()
        self._writer.wait()
        self._report()

    def drain(self) -> None:
        """Finish what the taggers were given as far as a second goes; write what is complete."""
        self._lanes.end_within(_DRAIN_S)
        try:
            while self._under_way:
                self._take_in(self._under_way[0])
                self._under_way.popleft()
        finally:
            self._writer.wait()
            self._sink.commit()

    def close(self) -> None:
        """End every thread of the run."""
        self._lanes.close()
        self._writer.close()

    def tick(self) -> None:
        """Take what is done, write and report when it is time to; called after every image read."""
        while self._under_way and self._under_way[0].is_done():
            self._finish()
        self._write_in_time()

    def _submit(self, batch: list[FramedTask]) -> None:
        self._under_way.append(self._lanes.submit(batch))
        while len(self._under_way) > _UNDER_WAY:
            self._finish()
        self.tick()

    def _finish(self) -> None:
        """Take in the oldest batch when every tagger is through with it."""
        batch = self._under_way[0]
        self._take_in(batch)
        self._under_way.popleft()
        for item in batch.items:
            if self._sink.failure(item.task.content.sha256) is None:
                self._tally.settle(item.task.content.sha256, scored=True)
        self._write_in_time()
        self._report()

    def _take_in(self, batch: Batch) -> None:
        """Give the sink what is known of a batch, in its order however far others are."""
        for item in batch.items:
            self._add_hash(item)
        for scored in batch.scored():
            self._add(scored)
            name = self._taggers[scored.number].name
            self._tally.took(f"infer {name}", scored.seconds, len(scored.contents))

    def _add_hash(self, item: FramedTask) -> None:
        if item.hash is not None:
            self._sink.add_hash(item.task.content.sha256, item.hash)

    def _add(self, scored: Scored) -> None:
        """Add scores to the sink, those that it has from before an interruption left out."""
        number = scored.number
        kept = np.atleast_1d(np.isfinite(scored.logits).all(axis=1))
        for i, sha256 in enumerate(scored.contents):
            if not kept[i] and self._sink.failure(sha256) is None:
                reason = f"tagger {self._taggers[number].name!r} gave a number that is not finite"
                self._sink.fail(sha256, reason)
                self._tally.fail_content(sha256, reason)
            kept[i] &= number in self._sink.missing(sha256)
        contents = [one for one, good in zip(scored.contents, kept, strict=True) if good]
        wanted = scored.features[kept] if self._taggers[number].n_features else None
        self._sink.add_scores(number, contents, scored.logits[kept], wanted)

    def _write_in_time(self) -> None:
        full = self._tally.n_done - self._n_committed >= self._settings.part_images
        if full or time.monotonic() - self._committed >= self._settings.part_seconds:
            self._commit()
        if time.monotonic() - self._reported >= _REPORT_S:
            self._report()

    def _commit(self) -> None:
        self._writer.wait()
        self._writer.write(self._sink.take())
        self._committed, self._n_committed = time.monotonic(), self._tally.n_done

    def _report(self) -> None:
        self._reported = time.monotonic()
        if self._progress is not None:
            self._progress(self._tally.progress())
