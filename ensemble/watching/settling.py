"""Whether a file is written to its end: its size and times stand still for a while."""

import os
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple


class FileFacts(NamedTuple):
    """What tells a file from a changed one without reading it.

    Stricter than `tagstack.ensemble.outputs.written.Seen`: the time of any change to the file's
    entry counts as well, so that what failed for lack of permission is tried again.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: str) -> "FileFacts | None":
        """Return what a path looks like now; None if there is nothing."""
        try:
            facts = os.stat(path)
        except (OSError, ValueError):
            return None
        return cls(facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino)

    def age_s(self) -> float:
        """Return how long ago it changed last, by the clock on the wall; negative in its future."""
        return (time.time_ns() - max(self.mtime_ns, self.ctime_ns)) / 1e9


class Settling:
    """Paths that were reported, until they stand still.

    Parameters
    ----------
    settle_s : float
        For so long, in seconds.
    clock : callable
        Returns seconds since some moment; never goes back, unlike the clock on the wall.
    """

    def __init__(self, settle_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.settle_s = settle_s
        self._clock = clock
        self._waiting: dict[str, tuple[FileFacts | None, float]] = {}
        self._stood: dict[str, FileFacts] = {}  # what has stood still, until its age shows it too

    def __len__(self) -> int:
        return len(self._waiting)

    def report(self, paths: Iterable[str]) -> None:
        """Take note that something happened to paths just now."""
        now = self._clock()
        for path in paths:
            self._waiting[path] = (FileFacts.of(path), now)

    def settled(self) -> set[str]:
        """Return the paths that have stood still for long enough, and let go of them."""
        now, done = self._clock(), set()
        for path, (before, since) in list(self._waiting.items()):
            facts = FileFacts.of(path)
            if facts != before:
                self._waiting[path] = (facts, now)
            elif now - since >= self.settle_s:
                done.add(path)
                del self._waiting[path]
                if facts is not None:
                    self._stood[path] = facts
        return done

    def waits_for(self, path: str, facts: FileFacts) -> bool:
        """Return whether a file may still be written; one that nobody reported is noted.

        What changed long enough ago by the clock on the wall needs no wait. That clock and the
        one that dates files may differ, so whatever else has stood still here is believed, too.
        """
        if path in self._waiting:
            return True
        if facts.age_s() >= self.settle_s:
            self._stood.pop(path, None)
            return False
        if self._stood.get(path) == facts:
            return False
        self.report([path])
        return True
