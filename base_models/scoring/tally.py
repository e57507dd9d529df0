"""What a scoring run has done so far: which images are through, and where its time went."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tagstack.base_models.scoring.sources import ImageFailure
from tagstack.configs.errors import TagstackError


@dataclass(frozen=True, kw_only=True)
class ScoreProgress:
    """How far a run is.

    Parameters
    ----------
    n_images, n_scored, n_skipped, n_failed : int
    seconds : float
        Since the start.
    stage_rates : mapping of str to float
        Images a second that each stage can do by itself with the threads it has: ``read``,
        ``decode``, ``frame``, ``infer NAME`` for each member, ``store``. The lowest one is what
        the run waits for; stages that have done nothing yet are left out.
    """

    n_images: int
    n_scored: int
    n_skipped: int
    n_failed: int
    seconds: float
    stage_rates: Mapping[str, float]

    @property
    def n_done(self) -> int:
        """Images that are through, one way or another."""
        return self.n_scored + self.n_skipped + self.n_failed

    @property
    def images_per_s(self) -> float:
        """Images through a second."""
        return self.n_done / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, kw_only=True)
class ScoreSummary:
    """What a run did.

    Parameters
    ----------
    n_scored : int
        Images that a model ran on.
    n_skipped : int
        Images whose content had been scored already, in this run or before.
    n_failed : int
        Images without scores.
    failures : tuple of ImageFailure
        Each failed image or folder, and why.
    seconds : float
        Wall clock of the run.
    stage_seconds : mapping of str to float
        ``read``, ``decode`` and ``frame`` summed over threads; ``infer NAME`` for each member and
        ``store`` in wall clock.
    stage_rates : mapping of str to float
        As in `ScoreProgress`.
    """

    n_scored: int
    n_skipped: int
    n_failed: int
    failures: tuple[ImageFailure, ...]
    seconds: float
    stage_seconds: Mapping[str, float]
    stage_rates: Mapping[str, float]


# Stages that several threads share; the others have the calling thread to themselves.
_NAMED = 5  # how many images a message names
SHARED = ("read", "decode", "frame")


class Tally:
    """Counts images and seconds; only the thread that runs the pipeline changes it.

    Parameters
    ----------
    n_images : int
        Images of the run.
    failures : iterable of ImageFailure
        Known before the start.
    threads : int
        Threads that share reading, decoding and framing.
    """

    def __init__(self, n_images: int, failures: Iterable[ImageFailure], threads: int) -> None:
        self._n_images = n_images
        self._threads = threads
        self._failures = list(failures)
        self._n_known = len(self._failures)
        self._n_scored = 0
        self._n_skipped = 0
        # Contents on their way to the models -> the images that wait for them, the first one first.
        self._in_hand: dict[str, list[str]] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._images: defaultdict[str, int] = defaultdict(int)
        self._started = time.monotonic()

    @property
    def n_done(self) -> int:
        """Images that are through, one way or another."""
        return self._n_scored + self._n_skipped + len(self._failures)

    def took(self, stage: str, seconds: float, n_images: int) -> None:
        """Note that a stage was busy with so many images for so long."""
        self._seconds[stage] += seconds
        self._images[stage] += n_images

    def first(self, sha256: str, name: str) -> bool:
        """Let an image wait for its content; return whether it is the first to do so."""
        waiting = self._in_hand.setdefault(sha256, [])
        waiting.append(name)
        return len(waiting) == 1

    def skip(self, n_images: int = 1) -> None:
        """Count images that needed no model."""
        self._n_skipped += n_images

    def settle(self, sha256: str, *, scored: bool) -> None:
        """Count the images that wait for a content, which is through now."""
        names = self._in_hand.pop(sha256)
        self._n_scored += scored
        self._n_skipped += len(names) - scored

    def fail(self, name: str, reason: str) -> None:
        """Note an image without scores."""
        self._failures.append(ImageFailure(name, reason))

    def fail_content(self, sha256: str, reason: str) -> None:
        """Note that no image of a content gets scores."""
        for name in self._in_hand.pop(sha256):
            self.fail(name, reason)

    def progress(self) -> ScoreProgress:
        """Return how far the run is."""
        return ScoreProgress(
            n_images=self._n_images,
            n_scored=self._n_scored,
            n_skipped=self._n_skipped,
            n_failed=len(self._failures),
            seconds=time.monotonic() - self._started,
            stage_rates=self._rates(),
        )

    def summary(self) -> ScoreSummary:
        """Return what the run did.

        Raises
        ------
        TagstackError
            If scored, passed over and failed images are not all that were found.
        """
        self._account()
        return ScoreSummary(
            n_scored=self._n_scored,
            n_skipped=self._n_skipped,
            n_failed=len(self._failures),
            failures=tuple(sorted(self._failures, key=lambda failure: failure.name)),
            seconds=time.monotonic() - self._started,
            stage_seconds=dict(self._seconds),
            stage_rates=self._rates(),
        )

    def _account(self) -> None:
        through = self.n_done - self._n_known
        if through != self._n_images or self._in_hand:
            waiting = sorted(name for names in self._in_hand.values() for name in names)
            named = f", left waiting {', '.join(waiting[:_NAMED])}" if waiting else ""
            msg = (
                f"{self._n_images} images were found, but {through} were scored, known or failed"
                f"{named}. This is a fault of tagstack; what was scored is kept. Please report it."
            )
            raise TagstackError(msg)

    def _rates(self) -> Mapping[str, float]:
        return {
            stage: self._images[stage] * (self._threads if stage in SHARED else 1) / seconds
            for stage, seconds in self._seconds.items()
            if seconds > 0
        }


def summed(maps: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the sums of several runs' seconds or rates, key by key."""
    total: defaultdict[str, float] = defaultdict(float)
    for own in maps:
        for key, value in own.items():
            total[key] += value
    return dict(total)
