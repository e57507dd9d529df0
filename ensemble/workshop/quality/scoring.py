"""Pictures through scorers: each content once, what is known not again, faults of files named.

Reading, decoding and scoring of a picture run in one thread, several pictures side by side. A
picture's scores depend on its own pixels alone, whatever the threads or the order.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tagstack.base_models.pictures.decoding_process import DecodingProcesses
from tagstack.base_models.pictures.framed_pixels import framed_picture
from tagstack.base_models.pictures.images import DecodingBudget, FileContent, ImageError
from tagstack.base_models.pictures.preprocess import WHOLE
from tagstack.base_models.scoring.intake import ahead
from tagstack.base_models.scoring.sources import ImageFailure, ImageSources, PictureSource
from tagstack.base_models.threads import thread_count
from tagstack.configs.level1 import ScoreSettings
from tagstack.configs.settings import Settings
from tagstack.ensemble.outputs.written import SeenFile
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.workshop.quality.known_scores import KnownScores, SeenPicture
from tagstack.ensemble.workshop.quality.scorers.scorer import Pixels, Scorer

_SAVE_S = 2.0  # what a killed run loses
_BYTES_A_PIXEL = 12  # that the hungriest built-in scorer takes beside the picture
_MOST_THREADS = 64
_UNSEEN = SeenFile(-1, -1, -1)


@dataclass(frozen=True, kw_only=True)
class ScoringCounts:
    """What became of pictures.

    Parameters
    ----------
    n_scored : int
        Pictures that a scorer ran on.
    n_current : int
        Pictures of which everything was known.
    failures : tuple of ImageFailure
        Pictures and folders that could not be read, and why, by name.
    """

    n_scored: int
    n_current: int
    failures: tuple[ImageFailure, ...]


@dataclass(frozen=True)
class _Looked:
    """A picture after it was looked at: its content, or why it has none."""

    name: str
    picture: SeenPicture
    content: FileContent
    failure: str = ""


@dataclass(frozen=True)
class _Scored:
    """A content after its scorers: their values by fingerprint, or why there are none."""

    sha256: str
    values: Mapping[str, float]
    failure: str = ""


def score_pictures(
    sources: PictureSource,
    scorers: Sequence[Scorer],
    known: KnownScores,
    settings: Settings,
    progress: Progress,
) -> ScoringCounts:
    """Score what is not known yet, and add it to what is.

    Raises
    ------
    TagstackError
        If a network fails, or the record cannot be written; what was scored before is kept.
    KeyboardInterrupt
        With everything kept that was complete.
    """
    n_threads = min(thread_count(settings.score.decode_threads or settings.threads), _MOST_THREADS)
    run = _Run(sources, scorers, known, settings.score, progress)
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="quality")
    try:
        run.score(pool, 2 * n_threads)
    finally:
        run.close()
        pool.shutdown(cancel_futures=True)
        known.save()
    return run.counts()


class _Run:
    """Looks at pictures and scores contents in threads; decides and keeps in the calling one."""

    def __init__(
        self,
        sources: PictureSource,
        scorers: Sequence[Scorer],
        known: KnownScores,
        settings: ScoreSettings,
        progress: Progress,
    ) -> None:
        self._sources, self._scorers, self._known = sources, scorers, known
        self._settings, self._progress = settings, progress
        self._decoding = DecodingBudget(settings.decode_mib << 20)
        self._scoring = DecodingBudget(settings.decode_mib << 20)
        limits = settings.decode_seconds, settings.max_pixels, settings.max_side
        self._processes = DecodingProcesses(*limits)
        # Contents that are being scored, and the pictures that wait for them, the first one first.
        self._in_hand: dict[str, list[_Looked]] = {}
        self._failures = list(sources.failures)
        self._n_scored = self._n_current = 0
        self._saved = time.monotonic()

    def score(self, pool: ThreadPoolExecutor, window: int) -> None:
        """Score everything that the sources name."""
        looked = ahead(pool, self._look, self._sources.names, window)
        for found in ahead(pool, self._score, self._due(looked), window):
            for number, one in enumerate(self._in_hand.pop(found.sha256)):
                if found.failure:
                    self._fail(one.name, found.failure)
                else:
                    self._keep(one, found.values if number == 0 else {})

    def counts(self) -> ScoringCounts:
        """Return what became of the pictures."""
        return ScoringCounts(
            n_scored=self._n_scored,
            n_current=self._n_current,
            failures=tuple(sorted(self._failures, key=lambda failure: failure.name)),
        )

    def close(self) -> None:
        """End what decodes."""
        self._processes.close()

    def _due(self, looked: Iterable[_Looked]) -> Iterator[_Looked]:
        """Yield the first picture of each content that lacks a score; settle the others."""
        for one in looked:
            sha256 = one.content.sha256
            if one.failure:
                self._fail(one.name, one.failure)
            elif sha256 in self._in_hand:
                self._in_hand[sha256].append(one)
            elif self._missing(sha256):
                self._in_hand[sha256] = [one]
                yield one
            else:
                self._keep(one, {})

    def _missing(self, sha256: str) -> list[Scorer]:
        return [s for s in self._scorers if not self._known.has(sha256, s.fingerprint)]

    def _keep(self, one: _Looked, values: Mapping[str, float]) -> None:
        self._known.add(one.name, one.picture, values)
        self._n_scored += bool(values)
        self._n_current += not values
        self._through()

    def _fail(self, name: str, reason: str) -> None:
        self._failures.append(ImageFailure(name, reason))
        self._through()

    def _through(self) -> None:
        if time.monotonic() - self._saved >= _SAVE_S:
            self._known.save()
            self._saved = time.monotonic()
        failed = len(self._failures) - len(self._sources.failures)
        done = self._n_scored + self._n_current + failed
        self._progress.stage("scoring quality", done, len(self._sources.names))

    def _look(self, name: str) -> _Looked:
        """Return a picture's content: as it was known, if the file is still the same."""
        origin, seen = self._sources.origin, self._seen(name)
        before = self._known.pictures.get(name)
        if seen is not None and before is not None and (origin, seen) == before[:2]:
            return _Looked(name, before, FileContent(before.sha256, seen.size))
        try:
            content = self._sources.identify(name, self._settings)
        except ImageError as error:
            nothing = FileContent("", 0)
            return _Looked(name, SeenPicture(origin, _UNSEEN, ""), nothing, str(error))
        # What changed while it was read has another look the next time.
        kept = seen.settled if seen is not None and seen == self._seen(name) else _UNSEEN
        return _Looked(name, SeenPicture(origin, kept, content.sha256), content)

    def _seen(self, name: str) -> SeenFile | None:
        sources = self._sources
        return SeenFile.of(sources.path(name)) if isinstance(sources, ImageSources) else None

    def _score(self, one: _Looked) -> _Scored:
        sha256 = one.content.sha256
        try:
            pixels = self._pixels(one)
        except ImageError as error:
            return _Scored(sha256, {}, str(error))
        with self._scoring.taking(_BYTES_A_PIXEL * pixels.shape[0] * pixels.shape[1]):
            found = {s.fingerprint: s.function(pixels) for s in self._missing(sha256)}
        finite = {key: v if math.isfinite(v) else math.nan for key, v in found.items()}
        return _Scored(sha256, finite)

    def _pixels(self, one: _Looked) -> Pixels:
        limits = self._settings
        framed = framed_picture(
            self._sources.picture(one.name, one.content),
            (WHOLE,),
            max_pixels=limits.max_pixels,
            max_side=limits.max_side,
            budget=self._decoding,
            hashed=False,
            max_bytes=limits.decode_mib << 20,
            processes=self._processes,
        )
        return framed.pixels[WHOLE]
