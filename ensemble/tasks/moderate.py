"""Pictures judged by the policies of the settings, one answer each; nothing is written."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tagstack.configs.errors import TagstackError
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.decisions import TaggedImage
from tagstack.ensemble.moderation.moderator import Verdict, moderator_of
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.scoring.runs import found_images


class Tagging(Protocol):
    """What tags pictures, such as `tagstack.Stack`."""

    @property
    def bundle(self) -> Bundle:
        """What was fitted."""

    def tag_many(self, images: Sequence[Path]) -> Iterator[TaggedImage]:
        """Yield the tags of each picture, in their order."""


@dataclass(frozen=True, kw_only=True)
class ModeratedImage:
    """A picture's name, the answer, and why it could not be read if so."""

    image: str
    verdict: Verdict
    failure: str


def moderate_images(
    images: Sequence[Path],
    settings: Settings,
    opened: Callable[[Settings], Tagging],
    progress: Progress,
) -> Iterator[ModeratedImage]:
    """Yield the answer to each picture, in the order of their names.

    Parameters
    ----------
    images : sequence of Path
        Files or folders.
    settings : Settings
        With policies.
    opened : callable
        Opens the stack with settings.
    progress : Progress

    Raises
    ------
    TagstackError
        If there is no policy or no picture, or a policy is about no tag that the stack knows.
    """
    if not settings.moderation.any:
        msg = "No policies: give --config FILE with [moderation] block, review or allow."
        raise TagstackError(msg)
    floor = min(settings.output.score_floor, settings.moderation.least_proba)
    output = settings.output.model_copy(update={"score_floor": floor})
    settings = settings.model_copy(update={"output": output})
    sources = found_images(images, settings, progress)
    stack = opened(settings)
    moderator = moderator_of(settings, stack.bundle.vocabulary)
    if moderator is None:
        raise RuntimeError("checked above")
    tagged = stack.tag_many([sources.path(name) for name in sources.names])
    for done, (name, one) in enumerate(zip(sources.names, tagged, strict=True), 1):
        progress.stage("judging", done, len(sources.names))
        yield ModeratedImage(image=name, verdict=moderator.judged(one), failure=one.failure)
    for item in sources.failures:
        unread = TaggedImage(image=item.name, entries=(), failure=item.reason)
        yield ModeratedImage(image=item.name, verdict=moderator.judged(unread), failure=item.reason)
