"""Named groups of tags, such as everything about hair; shipped ones and the user's own.

A group lists tags, patterns of names (``*`` stands for anything, ``?`` for one character), and
heads: last words that say what a tag is (``dress`` for ``dress`` and ``white_dress``).
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from tagstack.base_models.tag_names import did_you_mean
from tagstack.configs.errors import TagstackError
from tagstack.configs.text_files import parse_toml, read_toml
from tagstack.ensemble.workshop.dataset.caption_text import key_of

_LISTS = ("tags", "heads", "patterns", "except", "includes")


@dataclass(frozen=True, kw_only=True)
class TagGroup:
    """Tags about one thing; ``key in group`` says whether a tag is one of them.

    Parameters
    ----------
    tags, heads : frozenset of str
        Keys.
    patterns : tuple of str
        Keys with ``*`` and ``?``.
    excepted : tuple of str
        Patterns of keys that heads and patterns mean, and that are none of the group all the same.
    includes : tuple of TagGroup
    """

    tags: frozenset[str] = frozenset()
    heads: frozenset[str] = frozenset()
    patterns: tuple[str, ...] = ()
    excepted: tuple[str, ...] = ()
    includes: tuple["TagGroup", ...] = ()

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        if key in self.tags or (self._is_meant(key) and not _form(self.excepted).fullmatch(key)):
            return True
        return any(key in other for other in self.includes)

    def _is_meant(self, key: str) -> bool:
        words = key.split("_")
        if any("_".join(words[i:]) in self.heads for i in range(len(words))):
            return True
        return _form(self.patterns).fullmatch(key) is not None


@lru_cache(maxsize=256)
def _form(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Return what matches any of some patterns; nothing where there are none."""
    parts = (re.escape(own).replace(r"\*", ".*").replace(r"\?", ".") for own in patterns)
    return re.compile("|".join(parts) or r"(?!)", re.DOTALL)


def tag_groups(own: Path | None = None) -> dict[str, TagGroup]:
    """Return the groups by name: the shipped ones, with a file's laid over them.

    Raises
    ------
    TagstackError
        If the file holds anything but groups, or a group includes itself or one that is not there.
    """
    tables: dict[str, Any] = {}
    for file in sorted(_shipped(), key=lambda file: file.name):
        tables |= parse_toml(file.read_text("utf-8"), file.name)
    if own is not None:
        tables |= read_toml(own)
    return {name: _group(name, tables, ()) for name in tables}


def tags_of_groups(
    names: Sequence[str], groups: Mapping[str, TagGroup], tags: Collection[str] = ()
) -> TagGroup:
    """Return several groups and further tags as one group.

    Raises
    ------
    TagstackError
        If there is no such group; the message lists them.
    """
    for name in names:
        if name not in groups:
            hint = did_you_mean(name, groups)
            msg = f"There is no tag group {name!r}. {hint} Known: {', '.join(sorted(groups))}."
            raise TagstackError(msg)
    return TagGroup(
        tags=frozenset(map(key_of, tags)), includes=tuple(groups[name] for name in names)
    )


def _shipped() -> list[Any]:
    folder = resources.files("tagstack.configs").joinpath("tag_groups")
    return [file for file in folder.iterdir() if file.name.endswith(".toml")]


def _group(name: str, tables: Mapping[str, Any], above: tuple[str, ...]) -> TagGroup:
    table = tables.get(name)
    if not isinstance(table, dict) or name in above or set(table) - set(_LISTS):
        where = f" (included by {above[-1]})" if above else ""
        msg = (
            f"The tag group {name!r}{where} is no table with tags, heads, patterns, except or "
            "includes = [...] of other groups. Correct the file of groups."
        )
        raise TagstackError(msg)
    for key in _LISTS:
        listed = table.get(key, [])
        if not isinstance(listed, list) or not all(isinstance(own, str) for own in listed):
            msg = f"The tag group {name!r} has {key} = {listed!r:.60}. Expected a list of texts."
            raise TagstackError(msg)
    found = {key: [key_of(own) for own in table.get(key, [])] for key in _LISTS[:-1]}
    return TagGroup(
        tags=frozenset(found["tags"]),
        heads=frozenset(found["heads"]),
        patterns=tuple(found["patterns"]),
        excepted=tuple(found["except"]),
        includes=tuple(_group(n, tables, (*above, name)) for n in table.get("includes", [])),
    )
