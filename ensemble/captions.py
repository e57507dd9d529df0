"""The text form of a tag set: order, spaces, separator, as caption files need it."""

from collections.abc import Iterable

from tagstack.configs.output import OutputSettings
from tagstack.ensemble.tagged import TagEntry


def caption(entries: Iterable[TagEntry], settings: OutputSettings) -> str:
    """Return the tags of one image as one line, without a line break at the end."""
    ordered = sorted(entries, key=lambda entry: _order_key(entry, settings))
    return settings.separator.join(tag_text(entry.tag, settings) for entry in ordered)


def tag_text(tag: str, settings: OutputSettings) -> str:
    """Return a tag as it is written: with spaces or escaped parentheses where asked for.

    A kaomoji keeps its underscores, and is recognised by having no two letters in a row.
    """
    if settings.spaces and not is_kaomoji(tag):
        tag = tag.replace("_", " ")
    if settings.escape_parentheses:
        tag = tag.replace("(", r"\(").replace(")", r"\)")
    return tag


def is_kaomoji(tag: str) -> bool:
    """Return whether a tag is a drawn face such as ``0_0``, ``>_<``, ``o_o`` or ``(o)_(o)``.

    Examples
    --------
    >>> [tag for tag in ("^_^", "<o>_<o>", "u_u", "=_=", "x_(y)", "1girl") if is_kaomoji(tag)]
    ['^_^', '<o>_<o>', 'u_u', '=_=']
    """
    left, underscore, right = tag.partition("_")
    if not underscore or "_" in right or right.startswith("(") != left.startswith("("):
        return False  # words have several underscores or a qualifier in parentheses
    return _is_eye(left) and _is_eye(right)


def _is_eye(part: str) -> bool:
    """Tell an eye or mouth from a word: one character, or signs around at most one letter."""
    return len(part) == 1 or (0 < len(part) <= 3 and sum(map(str.isalnum, part)) <= 1)


def _order_key(entry: TagEntry, settings: OutputSettings) -> tuple[int, float, str]:
    if settings.order == "name":
        return 0, 0.0, entry.tag
    rank = 0
    if settings.order == "category":
        known = entry.category in settings.categories
        rank = settings.categories.index(entry.category) if known else len(settings.categories)
    return rank, -entry.proba, entry.tag
