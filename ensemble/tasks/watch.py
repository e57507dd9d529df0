"""A folder of pictures that is kept tagged: each batch is a run of `tag` with open taggers.

What was written, and for which picture, is in the output folder's record; a watch that was killed
goes on from there. This file only decides when a run is due and which pictures it leaves alone:
those still being written, and those that failed and have not changed since.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from tagstack.base_models.pictures.formats import readable
from tagstack.base_models.scoring.sources import ImageFailure, ImageSources, find_images
from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.in_use import BundleFolder, Versions
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.tasks.tag import tag_images
from tagstack.ensemble.tasks.tag_request import TagRequest, TagSummary
from tagstack.ensemble.watching.failed import FailedPictures
from tagstack.ensemble.watching.reports import matters, reported_changes
from tagstack.ensemble.watching.settling import FileFacts, Settling
from tagstack.ensemble.watching.taggers import OpenTaggers

logger = logging.getLogger("tagstack")

_TICK_S = 0.5  # files that are waited for are looked at so often; a look is one stat of each

Shown: TypeAlias = Callable[[], AbstractContextManager[Progress]]
Changes: TypeAlias = Callable[[Path, float], Iterator[Set[str]]]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one run of a watch did.

    Parameters
    ----------
    summary : TagSummary
        Of all pictures of the folder.
    n_written : int
        Pictures whose files were not up to date before.
    failed : tuple of ImageFailure
        Those that failed now, and not for the same reason in the batch before.
    stale : tuple of Path
        Files of pictures that have gone since.
    n_waiting : int
        Pictures that are still being written.
    in_use : Versions or None
        The fit and the thresholds that decided; None where taggers are watched without a bundle.
    is_other : bool
        Whether they are others than in the batch before.
    """

    summary: TagSummary
    n_written: int
    failed: tuple[ImageFailure, ...]
    stale: tuple[Path, ...]
    n_waiting: int
    in_use: Versions | None = None
    is_other: bool = False

    @property
    def is_news(self) -> bool:
        """Whether anything changed."""
        done = self.n_written or self.summary.pruned or self.summary.moved
        return bool(done or self.failed or self.stale or self.is_other)


def watch_folder(
    request: TagRequest,
    settings: Settings,
    shown: Shown,
    told: Callable[[Batch], None],
    changes: Changes = reported_changes,
) -> None:
    """Tag a folder, and then what changes in it, until interrupted.

    Parameters
    ----------
    request : TagRequest
        Of one folder, which may be empty.
    settings : Settings
    shown : callable
        Gives what shows the progress of one batch.
    told : callable
        Is given the first batch, and every later one in which something changed.
    changes : callable
        Yields what happened below the folder; at once, and again after so many seconds at most.

    Raises
    ------
    TagstackError
        If the folder, the bundle, its taggers or the output folder cannot be used.
    """
    tick = min(_TICK_S, settings.watch.settle_seconds / 2)
    with OpenTaggers() as taggers:
        watch = FolderWatch(request, settings, shown, taggers)
        for paths in changes(watch.folder, tick):
            first = not watch.has_looked
            batch = watch.step(paths)
            if batch is not None and (first or batch.is_news):
                told(batch)


def look_once(request: TagRequest, settings: Settings, shown: Shown) -> Batch:
    """Bring a folder up to date once, after waiting for files that were changed just now.

    Raises
    ------
    TagstackError
        As `watch_folder`.
    """
    with OpenTaggers() as taggers:
        watch = FolderWatch(request, settings, shown, taggers)
        if watch.has_unsettled():
            time.sleep(settings.watch.settle_seconds)
        return watch.step(frozenset()) or watch.run()


class FolderWatch:
    """Decides when a run is due, and what it leaves alone.

    Parameters
    ----------
    request : TagRequest
        Of one folder.
    settings : Settings
    shown : callable
        Gives what shows the progress of one batch.
    taggers : OpenTaggers
    clock : callable
        As of `Settling`.

    Raises
    ------
    TagstackError
        If the request is not about one folder.
    """

    def __init__(
        self,
        request: TagRequest,
        settings: Settings,
        shown: Shown,
        taggers: OpenTaggers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        (given,) = request.images
        if not given.is_dir():
            msg = f"{given} is no folder; expected the folder of pictures to watch."
            raise TagstackError(msg)
        self.folder = Path(os.path.abspath(given))
        self._out = Path(os.path.abspath(self.folder if request.out is None else request.out))
        self._request, self._settings, self._shown = request, settings, shown
        self._taggers, self._clock = taggers, clock
        self._extensions = tuple(readable(settings.score.extensions))
        self._settling = Settling(settings.watch.settle_seconds, clock)
        self._failed = FailedPictures(self._out, self.folder, settings, forget=request.retry_failed)
        self._looked: float | None = None
        self._before: Batch | None = None
        self._bundle = None if request.bundle is None else BundleFolder(request.bundle)
        self._is_refused = False  # the bundle as it is now; pictures wait for another

    @property
    def has_looked(self) -> bool:
        """Whether the folder has been tagged once."""
        return self._looked is not None

    def step(self, paths: Set[str]) -> Batch | None:
        """Take note of what happened to paths and the bundle; return the batch if one was due."""
        self._settling.report(
            path for path in paths if matters(path, self.folder, self._out, self._extensions)
        )
        settled = bool(self._settling.settled()) and not self._is_refused
        has_changed = self._bundle is not None and self._bundle.has_changed()
        if not (settled or has_changed or self._is_look_due()):
            return None
        if self._bundle is None or self._looked is None:
            return self.run()
        return self._run_with(self._bundle, is_other=has_changed or self._is_refused)

    def has_unsettled(self) -> bool:
        """Return whether a picture was changed so recently that it may still be written."""
        self._parted()
        return len(self._settling) > 0

    def run(self) -> Batch:
        """Bring the folder up to date; what is reported and has not settled is left alone."""
        sources, facts = self._parted()
        request = self._request
        if not (sources.names or sources.apart):  # a drive that is not mounted looks like this
            request = replace(request, prune=False)
        with self._shown() as progress:
            summary = tag_images(
                request, self._settings, progress, sources=sources, taggers=self._taggers
            )
        self._looked = self._clock()
        self._remember(summary, facts)
        return self._batch(summary)

    def _run_with(self, bundle: BundleFolder, *, is_other: bool) -> Batch | None:
        """Return the batch; None where the bundle is another one that cannot be used.

        Whoever replaces a bundle does so file by file, and taggers may come after it.
        """
        try:
            batch = self._run_anew() if is_other else self.run()
        except TagstackError as error:
            if not (is_other or bundle.has_changed()):
                raise
            self._is_refused, self._looked = True, self._clock()
            logger.error("The bundle changed and was not taken over; pictures wait: %s", error)
            return None
        self._is_refused = False
        return batch

    def _run_anew(self) -> Batch:
        """Run with another bundle; where the open taggers are not its own, with those it names."""
        try:
            return self.run()
        except TagstackError:
            self._taggers.close()
            return self.run()

    def _is_look_due(self) -> bool:
        every = self._settings.watch.look_seconds
        return self._looked is None or 0 < every <= self._clock() - self._looked

    def _parted(self) -> tuple[ImageSources, dict[str, FileFacts]]:
        """Return what a run is to look at, and what every picture that may fail looks like."""
        found = find_images(
            (self.folder,), extensions=self._settings.score.extensions, none_allowed=True
        )
        names: list[str] = []
        apart: list[str] = []
        failures = list(found.failures)
        seen: dict[str, FileFacts] = {}
        for name in found.names:
            path = f"{found.root}/{name}"
            facts = FileFacts.of(path)
            if facts is None:  # gone, or a link to nowhere, which the run names
                names.append(name)
                continue
            seen[name] = facts
            if (reason := self._failed.reason(name, facts)) is not None:
                apart.append(name)
                failures.append(ImageFailure(name, reason))
            elif self._settling.waits_for(path, facts):
                apart.append(name)
            else:
                names.append(name)
        parted = replace(found, names=tuple(names), apart=tuple(apart), failures=tuple(failures))
        return parted, seen

    def _remember(self, summary: TagSummary, facts: dict[str, FileFacts]) -> None:
        """Keep which pictures cannot be read; that a file cannot be written is no fault of one."""
        written = set(summary.unwritten)
        self._failed.keep(
            {
                failure.name: (facts[failure.name], failure.reason)
                for failure in summary.failures
                if failure.name in facts and failure.name not in written
            }
        )

    def _batch(self, summary: TagSummary) -> Batch:
        before, folder = self._before, self._request.bundle
        failed = set(before.summary.failures) if before else set()
        stale = set(before.summary.stale) if before else set()
        in_use = None if folder is None else Versions.of(folder, summary.thresholds)
        self._before = Batch(
            summary=summary,
            n_written=summary.n_images - summary.n_current,
            failed=tuple(item for item in summary.failures if item not in failed),
            stale=tuple(path for path in summary.stale if path not in stale),
            n_waiting=len(self._settling),
            in_use=in_use,
            is_other=before is not None and before.in_use != in_use,
        )
        return self._before
