"""The first half of scoring: from names to framed pictures, for those that need a model.

Reading, hashing, decoding and framing run in a pool of threads ahead of the models. A file is
read twice, once to learn whether its content is known and once to decode it: the second time it
comes from the system's cache, and no bytes wait in memory meanwhile.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pictures.decoding_process import DecodingProcesses
from tagstack.base_models.pictures.framed_pixels import framed_picture
from tagstack.base_models.pictures.images import DecodingBudget, FileContent, ImageError
from tagstack.base_models.pictures.picture_hash import PictureHash
from tagstack.base_models.pictures.preprocess import Framing
from tagstack.base_models.pictures.resampling import chosen_resampler
from tagstack.base_models.scores.sink import ScoreSink
from tagstack.base_models.scoring.sources import PictureSource
from tagstack.base_models.scoring.tally import Tally
from tagstack.base_models.taggers.tagger import Tagger
from tagstack.configs.level1 import ScoreSettings

T = TypeVar("T")
R = TypeVar("R")


def ahead(
    pool: ThreadPoolExecutor | None, work: Callable[[T], R], items: Iterable[T], window: int
) -> Iterator[R]:
    """Yield ``work(item)`` in order while up to ``window`` items are being worked on.

    The next item is taken only when there is room: a slow reader holds the work back, so memory
    is bounded by the window however many items there are.

    Parameters
    ----------
    pool : ThreadPoolExecutor, optional
        Whose threads do the work; the calling thread does without one.
    work : callable
    items : iterable
        Read by the calling thread alone.
    window : int
        At least 1.
    """
    if pool is None:
        yield from map(work, items)
        return
    queue: deque[Future[R]] = deque()
    for item in items:
        queue.append(pool.submit(work, item))
        if len(queue) >= window:
            yield queue.popleft().result()
    while queue:
        yield queue.popleft().result()


@dataclass(frozen=True)
class Task:
    """An image on its way to the models, the members that need it, and whether its hash is wanted.

    Without members, only its picture hash is missing: it was scored before hashes were kept.
    """

    name: str
    content: FileContent
    missing: tuple[int, ...]
    hashed: bool


@dataclass(frozen=True)
class FramedTask:
    """An image ready for the models, or why it is not; with the seconds that took by stage."""

    task: Task
    pixels: Mapping[Framing, NDArray[np.uint8]]
    hash: PictureHash | None
    failure: str | None
    seconds: Mapping[str, float]


class Intake:
    """Yields framed pictures in the order of the sources; settles all other images at once.

    Parameters
    ----------
    sources : PictureSource
    taggers : sequence of Tagger
    sink : ScoreSink
        Knows what is there already, and is told of every image.
    settings : ScoreSettings
    tally : Tally
    noted : callable
        Called by the reading thread after every image that the sink was told of.

    Raises
    ------
    TagstackError
        If the settings ask for compiled code and numba is not installed.
    """

    def __init__(
        self,
        sources: PictureSource,
        taggers: Sequence[Tagger],
        sink: ScoreSink,
        settings: ScoreSettings,
        tally: Tally,
        noted: Callable[[], None],
    ) -> None:
        self._sources = sources
        self._taggers = taggers
        self._sink = sink
        self._settings = settings
        self._tally = tally
        self._noted = noted
        self._origin = sources.origin
        self._budget = DecodingBudget(settings.decode_mib << 20)
        self._resampler = chosen_resampler(settings.resampling)
        self._processes = DecodingProcesses(
            settings.decode_seconds, settings.max_pixels, settings.max_side
        )

    def framed(self, pool: ThreadPoolExecutor | None) -> Iterator[FramedTask]:
        """Yield pictures as they become ready, at most two batches ahead of the reader.

        Without a pool the reader's thread reads and decodes, picture by picture.
        """
        window = 2 * self._settings.batch_images
        tasks = self._tasks(ahead(pool, self._identified, self._sources.names, window))
        for item in ahead(pool, self._framed, tasks, window):
            for stage, seconds in item.seconds.items():
                self._tally.took(stage, seconds, 1)
            if item.failure is not None:
                self._sink.fail(item.task.content.sha256, item.failure)
                self._tally.fail_content(item.task.content.sha256, self._said(item.failure))
                continue
            yield item

    def close(self) -> None:
        """End what decodes, also what is at it now."""
        self._processes.close()

    def _identified(self, name: str) -> tuple[str, FileContent | ImageError, float]:
        began = time.monotonic()
        content: FileContent | ImageError
        try:
            content = self._sources.identify(name, self._settings)
        except ImageError as error:
            content = error
        return name, content, time.monotonic() - began

    def _tasks(
        self, identified: Iterable[tuple[str, FileContent | ImageError, float]]
    ) -> Iterator[Task]:
        for name, content, seconds in identified:
            self._tally.took("read", seconds, 1)
            if isinstance(content, ImageError):
                self._sink.add_failure(path=name, root=self._origin, reason=str(content))
                self._tally.fail(name, str(content))
            elif (task := self._task(name, content)) is not None:
                yield task
            self._noted()

    def _task(self, name: str, content: FileContent) -> Task | None:
        self._sink.add_image(
            path=name, root=self._origin, sha256=content.sha256, size_bytes=content.size_bytes
        )
        reason = self._sink.failure(content.sha256)
        if reason is None:
            # What took too long would again: only another limit lets it try, or being told.
            before = (
                r for r in self._processes.final if self._sink.failed_before(content.sha256, r)
            )
            if (reason := next(before, None)) is not None:
                self._sink.fail(content.sha256, reason)
        if reason is not None:
            self._tally.fail(name, self._said(reason))
            return None
        missing = self._sink.missing(content.sha256)
        hashed = not self._sink.has_hash(content.sha256)
        if not missing and not hashed:
            self._tally.skip()
            return None
        first = self._tally.first(content.sha256, name)
        return Task(name, content, missing, hashed) if first else None

    def _said(self, reason: str) -> str:
        """Return what the run says of a failure: how it could be tried again where it is not."""
        if self._origin and reason in self._processes.final:
            return f"{reason}; it is left alone from now on, unless --retry-failed is said"
        return reason

    def _framed(self, task: Task) -> FramedTask:
        began = time.monotonic()
        framings = {self._taggers[number].framing for number in task.missing}
        try:
            picture = framed_picture(
                self._sources.picture(task.name, task.content),
                framings,
                max_pixels=self._settings.max_pixels,
                max_side=self._settings.max_side,
                budget=self._budget,
                resampler=self._resampler,
                hashed=task.hashed,
                max_bytes=self._settings.decode_mib << 20,
                processes=self._processes,
            )
        except ImageError as error:
            return FramedTask(task, {}, None, str(error), {"decode": time.monotonic() - began})
        return FramedTask(task, picture.pixels, picture.hash, None, picture.seconds)
