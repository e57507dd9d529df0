"""What each shard of a run takes, fixed before the run by the pictures' contents alone.

Every content lies in one shard, with all its names: two workers never score the same picture. A
shard is a piece of the sorted SHA-256 sums, so that neither the order in which files are found nor
the number of workers moves a picture from one shard to another.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tagstack.base_models.pictures.given import Picture
from tagstack.base_models.pictures.images import FileContent, ImageError
from tagstack.base_models.scoring.sources import ImageFailure, PictureSource, SharedSource
from tagstack.configs.level1 import ScoreSettings

Identified = tuple[str, FileContent | str]
"""Name of a picture, and its content or why it cannot be read."""


@dataclass(frozen=True)
class Shard:
    """The pictures of one shard: a `PictureSource` that does not read them to know them.

    Parameters
    ----------
    number : int
        From 0.
    inner : PictureSource
        Reads them.
    contents : mapping of name to FileContent or str
        Sorted by name; a text says why a picture could not be read.
    """

    number: int
    inner: PictureSource
    contents: dict[str, FileContent | str]
    failures: tuple[ImageFailure, ...] = ()

    @property
    def names(self) -> Sequence[str]:
        """The pictures' names, sorted."""
        return tuple(self.contents)

    @property
    def origin(self) -> str:
        """Folder that the names are relative to."""
        return self.inner.origin

    def identify(self, name: str, settings: ScoreSettings) -> FileContent:
        """Return a picture's content as the plan has found it."""
        found = self.contents[name]
        if isinstance(found, str):
            raise ImageError(found)
        return found

    def picture(self, name: str, content: FileContent) -> Picture:
        """Return what the plan has seen, to be decoded; an `ImageError` if it has changed."""
        return self.inner.picture(name, content)


def identified(settings: ScoreSettings, source: SharedSource) -> list[Identified]:
    """Read pictures and return what their contents are."""
    return [(name, _identity(source, name, settings)) for name in source.names]


def _identity(source: PictureSource, name: str, settings: ScoreSettings) -> FileContent | str:
    try:
        return source.identify(name, settings)
    except ImageError as error:
        return str(error)


def shards_of(source: SharedSource, found: Sequence[Identified], n_shards: int) -> list[Shard]:
    """Return the shards; one that would have no picture is left out.

    Parameters
    ----------
    source : SharedSource
    found : sequence of (name, content or reason)
        In any order.
    n_shards : int
        At least 1.
    """
    contents = sorted({_key(content) for _, content in found})
    place = {key: i * n_shards // len(contents) for i, key in enumerate(contents)}
    shared: dict[int, dict[str, FileContent | str]] = {}
    for name, content in sorted(found, key=lambda item: item[0]):
        shared.setdefault(place[_key(content)], {})[name] = content
    return [
        Shard(number, source.chosen(list(shared[number])), shared[number])
        for number in sorted(shared)
    ]


def _key(content: FileContent | str) -> str:
    return "" if isinstance(content, str) else content.sha256


def plan_key(shards: Sequence[Shard], models: Sequence[str]) -> str:
    """Return a hash of a plan: shards of another one are not to be gone on with."""
    facts = hashlib.sha256()
    for text in _facts(shards, models):
        facts.update(text.encode("utf-8", "surrogateescape") + b"\0")
    return facts.hexdigest()


def _facts(shards: Sequence[Shard], models: Sequence[str]) -> Iterator[str]:
    yield from models
    for shard in shards:
        yield str(shard.number)
        for name, content in shard.contents.items():
            yield name
            yield _key(content)
