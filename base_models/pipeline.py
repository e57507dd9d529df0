"""Scoring: files in, level-1 scores in the store.

Reading, hashing, decoding and framing run in a pool of threads ahead of the models; every queue is
bounded, so memory does not depend on the number of images. An image's scores depend on its bytes
alone: not on the batch, the order, the threads or an interruption.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.framed_pixels import framed_pixels
from tagstack.base_models.images import FileContent, ImageError, file_content, read_content
from tagstack.base_models.pixel_budget import PixelBudget
from tagstack.base_models.preprocess import Framing
from tagstack.base_models.score_summary import ScoreProgress, ScoreSummary
from tagstack.base_models.sources import ImageFailure, ImageSources
from tagstack.base_models.store_writer import ScoreWriter
from tagstack.base_models.tagger import Tagger
from tagstack.base_models.threads import thread_count
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings

__all__ = ["ScoreProgress", "ScoreSummary", "score_images"]

T = TypeVar("T")
R = TypeVar("R")


def score_images(
    sources: ImageSources,
    taggers: Sequence[Tagger],
    store: Path,
    settings: ScoreSettings,
    *,
    threads: int,
    progress: Callable[[ScoreProgress], None] | None = None,
) -> ScoreSummary:
    """Score images with every tagger and add the results to a store.

    What the store has already is not computed again, so a run that was interrupted or killed goes
    on where it was. Faulty images are recorded with the reason and never stop the run.

    Parameters
    ----------
    sources : ImageSources
    taggers : sequence of Tagger
        With distinct names.
    store : Path
        Folder of the store; created if needed.
    settings : ScoreSettings
    threads : int
        Threads for reading and decoding, 0 for all cores; the taggers have their own.
    progress : callable, optional
        Called after every batch.

    Raises
    ------
    TagstackError
        If two taggers share a name, the store is in use or cannot be written, or a tagger's
        output contradicts its contract.
    KeyboardInterrupt
        After everything that is complete has been written.
    """
    names = [tagger.name for tagger in taggers]
    if len(set(names)) < len(names) or not names:
        msg = f"Members need distinct names, got {names}. Change `name` in one tagger.toml."
        raise TagstackError(msg)
    with ScoreWriter(store, taggers) as writer:
        run = _Run(sources, taggers, writer, settings, progress)
        pool = ThreadPoolExecutor(thread_count(threads), thread_name_prefix="decode")
        try:
            run.score(pool)
        except KeyboardInterrupt:
            writer.commit()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        return run.summary()


@dataclass(frozen=True)
class _Task:
    """An image on its way to the models, and the members that need it."""

    name: str
    content: FileContent
    missing: tuple[int, ...]


@dataclass(frozen=True)
class _Framed:
    """An image ready for the models, or why it is not; with the seconds that took."""

    task: _Task
    pixels: dict[Framing, NDArray[np.uint8]]
    failure: str | None
    seconds: dict[str, float]


@dataclass
class _Run:
    """The state of one call of `score_images`; only the calling thread changes it."""

    sources: ImageSources
    taggers: Sequence[Tagger]
    writer: ScoreWriter
    settings: ScoreSettings
    progress: Callable[[ScoreProgress], None] | None
    failures: list[ImageFailure] = field(default_factory=list)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    started: float = field(default_factory=time.monotonic)
    committed: float = field(default_factory=time.monotonic)
    # Contents on their way to the models -> the images that wait for them, the first one first.
    in_hand: dict[str, list[str]] = field(default_factory=dict)
    n_scored: int = 0
    n_skipped: int = 0

    def __post_init__(self) -> None:
        self.budget = PixelBudget(self.settings.max_pixels)
        self.root = str(self.sources.root)
        self.failures.extend(self.sources.failures)

    def score(self, pool: ThreadPoolExecutor) -> None:
        window = 2 * self.settings.batch_images
        batch: list[_Framed] = []
        tasks = self._tasks(_ahead(pool, self._identified, self.sources.names, window))
        for item in _ahead(pool, self._framed, tasks, window):
            for stage, seconds in item.seconds.items():
                self.seconds[stage] += seconds
            if item.failure is None:
                batch.append(item)
            else:
                self._fail(item.task.content.sha256, item.failure)
            if len(batch) >= self.settings.batch_images:
                self._infer(batch)
                batch = []
        if batch:
            self._infer(batch)
        self._commit()
        self._report()

    def summary(self) -> ScoreSummary:
        return ScoreSummary(
            n_scored=self.n_scored,
            n_skipped=self.n_skipped,
            n_failed=len(self.failures),
            failures=tuple(sorted(self.failures, key=lambda failure: failure.name)),
            seconds=time.monotonic() - self.started,
            stage_seconds=dict(self.seconds),
        )

    def _identified(self, name: str) -> tuple[str, FileContent | ImageError, float]:
        began = time.monotonic()
        content: FileContent | ImageError
        try:
            path = self.sources.path(name)
            content = file_content(path, max_bytes=self.settings.max_file_bytes)
        except ImageError as error:
            content = error
        return name, content, time.monotonic() - began

    def _tasks(
        self, identified: Iterable[tuple[str, FileContent | ImageError, float]]
    ) -> Iterator[_Task]:
        """Yield the images that need a model; settle all others at once."""
        for name, content, seconds in identified:
            self.seconds["read"] += seconds
            if isinstance(content, ImageError):
                self.writer.add_failure(path=name, root=self.root, reason=str(content))
                self.failures.append(ImageFailure(name, str(content)))
            elif (task := self._noted(name, content)) is not None:
                yield task
            self._commit_when_due()

    def _noted(self, name: str, content: FileContent) -> _Task | None:
        self.writer.add_image(
            path=name, root=self.root, sha256=content.sha256, size_bytes=content.size_bytes
        )
        reason = self.writer.failure(content.sha256)
        if reason is not None:
            self.failures.append(ImageFailure(name, reason))
            return None
        if content.sha256 in self.in_hand:
            self.in_hand[content.sha256].append(name)
            return None
        missing = self.writer.missing(content.sha256)
        if not missing:
            self.n_skipped += 1
            return None
        self.in_hand[content.sha256] = [name]
        return _Task(name, content, missing)

    def _framed(self, task: _Task) -> _Framed:
        began = time.monotonic()
        framings = {self.taggers[number].framing for number in task.missing}
        try:
            data = read_content(self.sources.path(task.name), task.content)
            pixels, seconds = framed_pixels(
                data, framings, max_pixels=self.settings.max_pixels, budget=self.budget
            )
        except ImageError as error:
            return _Framed(task, {}, str(error), {"decode": time.monotonic() - began})
        return _Framed(task, pixels, None, seconds)

    def _infer(self, batch: Sequence[_Framed]) -> None:
        for number, tagger in enumerate(self.taggers):
            began = time.monotonic()
            own = [item for item in batch if number in item.task.missing]
            if own:
                self._infer_one(number, tagger, own)
            self.seconds[f"infer {tagger.name}"] += time.monotonic() - began
        for item in batch:
            if self.writer.failure(item.task.content.sha256) is None:
                names = self.in_hand.pop(item.task.content.sha256)
                self.n_scored += 1
                self.n_skipped += len(names) - 1
        self._commit_when_due()
        self._report()

    def _infer_one(self, number: int, tagger: Tagger, own: Sequence[_Framed]) -> None:
        logits = tagger.logits(np.stack([item.pixels[tagger.framing] for item in own]))
        finite = np.atleast_1d(np.isfinite(logits).all(axis=1))
        contents = [item.task.content.sha256 for item in own]
        for sha256, good in zip(contents, finite, strict=True):
            if not good and self.writer.failure(sha256) is None:
                self._fail(sha256, f"tagger {tagger.name!r} gave a number that is not finite")
        kept = [sha256 for sha256, good in zip(contents, finite, strict=True) if good]
        self.writer.add_scores(number, kept, logits[finite])

    def _fail(self, sha256: str, reason: str) -> None:
        self.writer.fail(sha256, reason)
        self.failures.extend(ImageFailure(name, reason) for name in self.in_hand.pop(sha256))

    def _commit_when_due(self) -> None:
        full = self.writer.n_waiting >= self.settings.part_images
        if full or time.monotonic() - self.committed >= self.settings.part_seconds:
            self._commit()

    def _commit(self) -> None:
        began = time.monotonic()
        self.writer.commit()
        self.committed = time.monotonic()
        self.seconds["store"] += self.committed - began

    def _report(self) -> None:
        if self.progress is not None:
            state = ScoreProgress(
                n_images=len(self.sources.names),
                n_scored=self.n_scored,
                n_skipped=self.n_skipped,
                n_failed=len(self.failures),
                seconds=time.monotonic() - self.started,
            )
            self.progress(state)


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], window: int
) -> Iterator[R]:
    """Yield ``work(item)`` in order while up to ``window`` items are being worked on."""
    queue: deque[Future[R]] = deque()
    for item in items:
        queue.append(pool.submit(work, item))
        if len(queue) >= window:
            yield queue.popleft().result()
    while queue:
        yield queue.popleft().result()
