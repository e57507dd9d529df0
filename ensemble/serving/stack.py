"""What the service needs of a stack. `tagstack.Stack` is one; rooms below it cannot name it."""

from collections.abc import Iterable, Iterator
from typing import Protocol, Self

from tagstack.base_models.pictures.given import Given
from tagstack.configs.settings import Settings
from tagstack.ensemble.bundle.bundle import Bundle
from tagstack.ensemble.bundle.decisions import TaggedImage
from tagstack.ensemble.tasks.explain import Explanation


class OpenStack(Protocol):
    """A stack whose taggers stay open; any thread may call it."""

    @property
    def bundle(self) -> Bundle:
        """What was fitted."""

    @property
    def settings(self) -> Settings:
        """Of the run."""

    def tag_many(self, images: Iterable[Given]) -> Iterator[TaggedImage]:
        """Yield the tags of each picture, in their order."""

    def explain(self, image: Given, tag: str | None = None) -> Explanation:
        """Return what led to a picture's tags."""

    def reloaded(self) -> Self:
        """Return the stack that its folder holds now."""

    def shares_taggers(self, other: Self) -> bool:
        """Return whether another has the same open taggers."""

    def beside(self, bundle: Bundle) -> "OpenStack":
        """Return another bundle; over the same open taggers, where it was fitted with these."""

    def close(self) -> None:
        """Free the taggers."""
