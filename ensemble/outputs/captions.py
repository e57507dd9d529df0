"""Which tags of an image a caption shows, and in which order.

This is a matter of writing alone: what is left out here was still there for the rules and is in the
tables. The order of an image's caption depends on the image, the settings and the seed, never on
the other images.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import numpy as np

from tagstack.configs.output import OutputSettings
from tagstack.ensemble.bundle.decisions import TaggedImage
from tagstack.ensemble.moderation.moderator import Moderator
from tagstack.ensemble.outputs.tag_text import tag_of, tag_text

RATING = "rating"
OTHERS = "*"
CATEGORY = "category:"


@dataclass(frozen=True, kw_only=True)
class TaggedFile:
    """A tagged image and the file that it is.

    Parameters
    ----------
    tagged : TaggedImage
    path : Path
        Absolute.
    sha256 : str
        Of the file's bytes, in hexadecimal.
    """

    tagged: TaggedImage
    path: Path
    sha256: str


@dataclass(frozen=True)
class CaptionTag:
    """A tag that a caption shows.

    Parameters
    ----------
    name : str
        In booru form, with underscores.
    category : str
    proba : float
        As in `TagEntry`; 1 for what the settings or a person put there.
    """

    name: str
    category: str = "general"
    proba: float = 1.0


class Captions:
    """Chooses, orders and writes the tags of captions.

    Parameters
    ----------
    settings : OutputSettings
    seed : int
        Of ``order = "random"``.
    copyrights : mapping of str to tuple of str
        Tags that a character's tag brings along; see `output.copyrights`.
    categories : mapping of str to str, optional
        Category of every tag that a tagger knows.
    moderator : Moderator, optional
        Where there are policies; formats that tell decisions tell its answers.
    """

    def __init__(
        self,
        settings: OutputSettings,
        *,
        seed: int = 0,
        copyrights: Mapping[str, tuple[str, ...]] | None = None,
        categories: Mapping[str, str] | None = None,
        moderator: Moderator | None = None,
    ) -> None:
        self.settings = settings
        self.categories = categories or {}
        self.moderator = moderator
        self._seed = seed
        self._copyrights = copyrights or {}
        self._excluded: dict[tuple[str, str], bool] = {}

    def text(self, file: TaggedFile) -> str:
        """Return an image's tags as one line, without a line break at the end."""
        return self.joined(tag.name for tag in self.tags(file))

    def joined(self, tags: Iterable[str]) -> str:
        """Return tags as one line."""
        written = (tag_text(tag, self.settings) for tag in tags)
        return self.settings.separator.join(filter(None, written))  # of "," nothing is left

    def parted(self, text: str) -> tuple[str, ...]:
        """Return the tags of a line, each once, in their order."""
        bare = self.settings.separator.strip()
        parts = text.replace("\n", bare).split(bare) if bare else text.split()
        tags = (tag_of(part, self.settings) for part in parts)
        return tuple(dict.fromkeys(tag for tag in tags if tag))

    def tags(self, file: TaggedFile) -> tuple[CaptionTag, ...]:
        """Return what an image's caption shows, in its order."""
        return self.ordered(self._chosen(file.tagged), file.sha256)

    def ordered(self, tags: Sequence[CaptionTag], sha256: str) -> tuple[CaptionTag, ...]:
        """Return tags in the order of the settings, the fixed first ones in front, each once."""
        known = {tag.name: tag for tag in tags}
        first = [known.get(name, CaptionTag(name)) for name in self._first]
        rest = sorted(
            (tag for name, tag in known.items() if name not in self._first), key=self._key
        )
        if self.settings.order == "random":
            rest = self._shuffled(rest, sha256)
        return (*first, *rest)

    @cached_property
    def _first(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys("_".join(name.split()) for name in self.settings.first))

    def _chosen(self, tagged: TaggedImage) -> tuple[CaptionTag, ...]:
        entries = (entry for entry in tagged.tags if entry.in_caption)
        tags = [CaptionTag(entry.tag, entry.category, entry.proba) for entry in entries]
        shown: dict[str, CaptionTag] = {}
        for tag in self._with_copyrights(tags):
            name = self.settings.replace.get(tag.name, tag.name)
            if name and self._shows(tag):
                shown.setdefault(name, replace(tag, name=name))
        likely = sorted(shown.values(), key=lambda tag: (-tag.proba, tag.name))
        counted = [tag for tag in likely if tag.name not in self._first]
        kept = set(counted[: self.settings.max_tags or None])
        return tuple(tag for tag in likely if tag in kept or tag.name in self._first)

    def _with_copyrights(self, tags: list[CaptionTag]) -> list[CaptionTag]:
        """Return the tags and what their characters imply by the table, in as many steps as due."""
        waiting = [tag for tag in tags if tag.category == "character"]
        found = {tag.name: tag for tag in tags}
        while waiting:
            tag = waiting.pop()
            for name in self._copyrights.get(tag.name, ()):
                if name not in found:
                    category = self.categories.get(name, "copyright")
                    found[name] = CaptionTag(name, category, tag.proba)
                    waiting.append(found[name])
        return list(found.values())

    def _shows(self, tag: CaptionTag) -> bool:
        key = (tag.name, tag.category)
        if key not in self._excluded:
            self._excluded[key] = any(map(self._matcher(tag), self.settings.exclude))
        listed = tag.category in self.settings.categories or OTHERS in self.settings.categories
        wanted = self.settings.rating or tag.category != RATING
        return listed and wanted and not self._excluded[key]

    def _matcher(self, tag: CaptionTag) -> Callable[[str], bool]:
        def matches(pattern: str) -> bool:
            if pattern.startswith(CATEGORY):
                return fnmatchcase(tag.category, pattern.removeprefix(CATEGORY))
            return fnmatchcase(tag.name, name_pattern(pattern))

        return matches

    def _key(self, tag: CaptionTag) -> tuple[int, float, str]:
        if self.settings.order == "name":
            return 0, 0.0, tag.name
        if self.settings.order == "proba":
            return 0, -tag.proba, tag.name
        listed = self.settings.categories
        others = listed.index(OTHERS) if OTHERS in listed else len(listed)
        rank = listed.index(tag.category) if tag.category in listed else others
        return rank, -tag.proba, tag.name

    def _shuffled(self, tags: list[CaptionTag], sha256: str) -> list[CaptionTag]:
        """Return tags in an order that the seed and the picture's content decide alone."""
        keep = self.settings.keep_first
        digest = int(sha256[:16] or "0", 16)
        order = np.random.default_rng((self._seed, digest)).permutation(len(tags[keep:]))
        return [*tags[:keep], *(tags[keep + i] for i in order)]


def name_pattern(name: str) -> str:
    """Return a name or wildcard of the settings as a pattern: spaces are underscores.

    A bracket is part of a tag, never a class of characters.
    """
    return "_".join(name.split()).replace("[", "[[]")


def copyrights_of(source: str) -> dict[str, tuple[str, ...]]:
    """Return what each tag implies by a table of implications; nothing for an empty source.

    Parameters
    ----------
    source : str
        As `tagstack.ensemble.rules.sources.load_rules` takes it.

    Raises
    ------
    TagstackError
        If there is no such table or it cannot be read.
    """
    if not source:
        return {}
    from tagstack.ensemble.rules.sources import load_rules

    found: dict[str, tuple[str, ...]] = {}
    for rule in load_rules(source).implications:
        for tag, parent in rule.edges:
            found[tag] = (*found.get(tag, ()), parent)
    return found
