"""Taggers that stay open from one batch to the next."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

from tagstack.base_models.taggers.tagger import Tagger
from tagstack.configs.settings import Settings
from tagstack.ensemble.scoring.taggers import loaded_taggers


class OpenTaggers:
    """Loads taggers when a picture first needs them, and keeps them while the same are asked for.

    What is called gives the taggers of some names under settings, as
    `tagstack.ensemble.tasks.tag.tag_images` takes it.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._key: tuple[tuple[str, ...], Settings] | None = None
        self._taggers: tuple[Tagger, ...] = ()

    @contextmanager
    def __call__(self, models: Sequence[str], settings: Settings) -> Iterator[tuple[Tagger, ...]]:
        """Yield the taggers, open."""
        key = (tuple(models), settings)
        if key != self._key:
            self.close()
            self._taggers = self._stack.enter_context(loaded_taggers(models, settings))
            self._key = key
        yield self._taggers

    def close(self) -> None:
        """Free them; the next call loads anew."""
        self._key, self._taggers = None, ()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()
