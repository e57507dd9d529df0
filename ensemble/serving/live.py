"""The stack in use: tags pictures, and gives way to a new bundle or version without a pause.

A batch works with the stack that was in use when it began, and its answers name that stack's
versions. A new one is read beside the running one; whatever is wrong with it leaves the old one in
use.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.bundle.decisions import TaggedImage
from tagstack.ensemble.bundle.in_use import BundleFolder, Versions
from tagstack.ensemble.moderation.moderator import Moderator, Verdict, moderator_of
from tagstack.ensemble.serving.batching import Batcher
from tagstack.ensemble.serving.stack import OpenStack
from tagstack.ensemble.tasks.explain import Explanation

logger = logging.getLogger("tagstack")


@dataclass(frozen=True, kw_only=True)
class JudgedPicture:
    """A picture's tags, the answer of the policies if there are any, and what decided."""

    tagged: TaggedImage
    verdict: Verdict | None
    versions: Versions


@dataclass(frozen=True)
class _Use:
    """A stack in use with what belongs to it."""

    stack: OpenStack
    versions: Versions
    moderator: Moderator | None

    def judged(self, pictures: Sequence[bytes]) -> list[JudgedPicture]:
        return [
            JudgedPicture(
                tagged=tagged,
                verdict=None if self.moderator is None else self.moderator.judged(tagged),
                versions=self.versions,
            )
            for tagged in self.stack.tag_many(pictures)
        ]


class LiveStack:
    """The stack in use, its queue, and the watch on its folder.

    Parameters
    ----------
    stack : OpenStack
        Its taggers are closed by `stop`.
    folder : Path
        Of the bundle.
    """

    def __init__(self, stack: OpenStack, folder: Path) -> None:
        self._folder = folder
        self._watched_folder = BundleFolder(folder)
        self._use: _Use | None = self._in_use(stack)
        self._batcher: Batcher[bytes, JudgedPicture] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._swapping = asyncio.Lock()
        self.reloads = {"done": 0, "failed": 0, "unchanged": 0}

    @property
    def ready(self) -> bool:
        """Whether pictures are taken."""
        return self._use is not None and self._batcher is not None

    @property
    def stack(self) -> OpenStack:
        """The stack in use."""
        return self._used().stack

    @property
    def versions(self) -> Versions:
        """Of the stack in use."""
        return self._used().versions

    @property
    def batcher(self) -> Batcher[bytes, JudgedPicture]:
        """The queue before it."""
        if self._batcher is None:
            raise RuntimeError("not started")
        return self._batcher

    async def start(self) -> None:
        """Begin to take pictures."""
        serve = self.stack.settings.serve
        self._batcher = Batcher(
            self._judged,
            batch=serve.batch,
            queue=serve.queue,
            window_s=serve.window_ms / 1000,
            wait_s=serve.wait_seconds,
        )
        self._batcher.start()
        if serve.reload_seconds:
            self._watch = asyncio.create_task(self._watched(serve.reload_seconds))

    async def stop(self) -> None:
        """Finish what is waiting and free the taggers."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._batcher is not None:
            await self._batcher.stop()
        if self._use is not None:
            await asyncio.to_thread(self._use.stack.close)
            self._use = None

    async def judged(self, pictures: Sequence[bytes]) -> list[JudgedPicture]:
        """Return the tags of each picture; one that cannot be read says why in ``failure``."""
        return await self.batcher.results(pictures)

    async def explained(self, picture: bytes, tag: str | None) -> tuple[Explanation, Versions]:
        """Return what led to a picture's tags, or to one of them."""
        self.batcher.check_room(1)

        def explain() -> tuple[Explanation, Versions]:
            use = self._used()
            return use.stack.explain(picture, tag), use.versions

        return await self.batcher.between(explain)

    async def reload(self) -> bool:
        """Read the folder again; return whether another fit or version is in use now.

        Raises
        ------
        TagstackError
            If the folder holds nothing that can be used; then the stack in use stays.
        """
        async with self._swapping:
            old = self._used()
            try:
                new = await asyncio.to_thread(self._renewed, old)
            except TagstackError:
                self.reloads["failed"] += 1
                raise
            if new is None:
                self.reloads["unchanged"] += 1
                return False
            self._use = new
            if not old.stack.shares_taggers(new.stack):
                # After the batch that may still be at work with it.
                await self.batcher.between(old.stack.close)
            self.reloads["done"] += 1
            logger.warning("In use now: bundle %(bundle)s, thresholds %(thresholds)s.",
                           vars(new.versions))  # fmt: skip
            return True

    def _renewed(self, old: _Use) -> _Use | None:
        new = old.stack.reloaded()
        if not old.stack.shares_taggers(new):
            try:
                return self._in_use(new)
            except TagstackError:
                new.close()
                raise
        use = self._in_use(new)
        return None if use.versions == old.versions else use

    def _in_use(self, stack: OpenStack) -> _Use:
        versions = Versions.of(self._folder, stack.bundle.threshold_version)
        moderator = moderator_of(stack.settings, stack.bundle.vocabulary)
        return _Use(stack=stack, versions=versions, moderator=moderator)

    def _judged(self, pictures: Sequence[bytes]) -> list[JudgedPicture]:
        return self._used().judged(pictures)

    def _used(self) -> _Use:
        if self._use is None:
            raise RuntimeError("not started, or stopped")
        return self._use

    async def _watched(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            if not self._watched_folder.has_changed():
                continue  # a bundle that cannot be used is tried once, until it changes again
            try:
                await self.reload()
            except (TagstackError, OSError) as error:
                logger.error("The bundle changed and was not taken over: %s", error)
            except Exception:  # a fault of ours must not end the watch
                logger.exception("The bundle changed and was not taken over.")
