"""Taggers at work, beside the decoding before them and the storing after them.

A tagger on a GPU has threads of its own, as many as its session takes at a time: one fills the
device's input while the device is at another's. Taggers on the processor share one thread and
take turns, because each of them keeps every core busy by itself. A slow tagger holds up none but
what waits for its scores.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.scoring.intake import FramedTask
from tagstack.base_models.taggers.tagger import Tagger

# What an interruption waits for: so many images of each thread that a session has.
_PIECE = 8


@dataclass(frozen=True)
class Scored:
    """What a tagger made of images of a batch.

    Parameters
    ----------
    number : int
        The tagger's position.
    contents : sequence of n_images str
        SHA-256 of each.
    logits : array of shape (n_images, n_tags), float32
    features : array of shape (n_images, n_features), float16
    seconds : float
        For which the tagger was busy with these and no others before them.
    """

    number: int
    contents: Sequence[str]
    logits: NDArray[np.float32]
    features: NDArray[np.float16]
    seconds: float


@dataclass(frozen=True)
class Batch:
    """Images that the taggers are at."""

    items: Sequence[FramedTask]
    works: Sequence[Future[list[Scored]]]

    def is_done(self) -> bool:
        """Return whether no tagger is at it any more."""
        return all(work.done() for work in self.works)

    def scored(self) -> Iterator[Scored]:
        """Yield what each tagger made of it, waiting for them; a tagger's error is raised."""
        for work in self.works:
            yield from work.result()


class Lanes:
    """Runs taggers on batches; close it when no more is wanted.

    Parameters
    ----------
    taggers : sequence of Tagger
    threaded : bool
        Otherwise the calling thread does the work.
    """

    def __init__(self, taggers: Sequence[Tagger], *, threaded: bool) -> None:
        self._taggers = taggers
        self._until = math.inf
        self._ended = [-math.inf] * len(taggers)  # when a thread of each was last through
        self._clock = Lock()
        self._lanes: list[tuple[Sequence[int], Executor]] = []
        shared = [i for i, tagger in enumerate(taggers) if tagger.session.info.device == "cpu"]
        for numbers in [shared, *([i] for i in range(len(taggers)) if i not in shared)]:
            if numbers:
                self._lanes.append((numbers, self._executor(numbers, threaded)))

    def submit(self, items: Sequence[FramedTask]) -> Batch:
        """Let every tagger run on those images of a batch that it has not scored yet."""
        works = [executor.submit(self._work, numbers, items) for numbers, executor in self._lanes]
        return Batch(items, works)

    def end_within(self, seconds: float) -> None:
        """Let what is under way end soon: after so long no tagger begins anything."""
        self._until = time.monotonic() + seconds

    def close(self) -> None:
        """End every thread; what has not begun is given up."""
        self.end_within(0)
        for _, executor in self._lanes:
            executor.shutdown(cancel_futures=True)

    def _executor(self, numbers: Sequence[int], threaded: bool) -> Executor:
        if not threaded:
            return _CallingThread()
        first = self._taggers[numbers[0]]
        name = f"tagger {first.name}" if len(numbers) == 1 else "taggers"
        return ThreadPoolExecutor(first.session.info.callers, thread_name_prefix=name)

    def _work(self, numbers: Sequence[int], items: Sequence[FramedTask]) -> list[Scored]:
        found: list[Scored] = []
        for number in numbers:
            own = [item for item in items if number in item.task.missing]
            found += self._outputs(number, own)
        return found

    def _outputs(self, number: int, own: Sequence[FramedTask]) -> Iterator[Scored]:
        tagger = self._taggers[number]
        info = tagger.session.info
        size = max(1, _PIECE * info.threads if info.device == "cpu" else len(own))
        for start in range(0, len(own), size):
            began = time.monotonic()
            if began > self._until:
                return
            piece = own[start : start + size]
            pixels = np.stack([item.pixels[tagger.framing] for item in piece])
            logits, features = tagger.outputs(pixels)
            contents = [item.task.content.sha256 for item in piece]
            yield Scored(number, contents, logits, features, self._seconds(number, began))

    def _seconds(self, number: int, began: float) -> float:
        """Return how long a call took, without what it shared with one that ended meanwhile."""
        with self._clock:
            now = time.monotonic()
            seconds = now - max(began, self._ended[number])
            self._ended[number] = now
        return seconds


class _CallingThread(Executor):
    """Does work when it is given, for so little that a thread would cost more."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do the work and return it done; what it raises is raised here."""
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done
