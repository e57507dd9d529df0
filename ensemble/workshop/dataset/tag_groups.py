"""Named groups of tags, such as everything about hair; shipped ones and the user's own."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from tagstack.base_models.tag_names import did_you_mean
from tagstack.configs.errors import TagstackError
from tagstack.configs.text_files import parse_toml, read_toml
from tagstack.ensemble.workshop.dataset.caption_text import key_of


def tag_groups(own: Path | None = None) -> dict[str, frozenset[str]]:
    """Return the keys of each group's tags: the shipped ones, with a file's laid over them.

    Raises
    ------
    TagstackError
        If the file holds anything but groups, or a group includes itself or one that is not there.
    """
    shipped = resources.files("tagstack.configs").joinpath("tag_groups", "danbooru.toml")
    tables = parse_toml(shipped.read_text("utf-8"), "danbooru.toml")
    if own is not None:
        tables |= read_toml(own)
    return {name: frozenset(_members(name, tables, ())) for name in tables}


def tags_of_groups(names: Sequence[str], groups: dict[str, frozenset[str]]) -> frozenset[str]:
    """Return the keys of several groups' tags.

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
    return frozenset().union(*(groups[name] for name in names))


def _members(name: str, tables: dict[str, Any], above: tuple[str, ...]) -> set[str]:
    table = tables.get(name)
    if not isinstance(table, dict) or name in above or set(table) - {"tags", "includes"}:
        where = f" (included by {above[-1]})" if above else ""
        msg = (
            f"The tag group {name!r}{where} is no table with tags = [...] or includes = [...] of "
            "other groups. Correct the file of groups."
        )
        raise TagstackError(msg)
    for key in ("tags", "includes"):
        listed = table.get(key, [])
        if not isinstance(listed, list) or not all(isinstance(own, str) for own in listed):
            msg = f"The tag group {name!r} has {key} = {listed!r:.60}. Expected a list of texts."
            raise TagstackError(msg)
    found = {key_of(tag) for tag in table.get("tags", [])}
    for other in table.get("includes", []):
        found |= _members(other, tables, (*above, name))
    return found
