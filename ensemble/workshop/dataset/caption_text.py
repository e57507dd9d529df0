"""How the captions of one folder are written: decided once, so that a change keeps the writing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tagstack.base_models.tag_names import booru_form
from tagstack.configs.errors import TagstackError
from tagstack.configs.text_files import parse_json, read_text
from tagstack.ensemble.outputs.tag_text import spaced, unparted
from tagstack.meta.labels.tag_texts import SPACE, parts_of, tag_separator

MAX_BYTES = 2**20  # of one caption
# Words that stand in sentences and are no tags: a text with one of them is prose.
_PROSE = frozenset("a an the of with and in on is are at to her his their".split())


@lru_cache(maxsize=2**18)
def key_of(part: str) -> str:
    """Return what all writings of a tag have in common: underscores, small letters."""
    return booru_form(part).lower()


@dataclass(frozen=True)
class Writing:
    """How tags are separated and spelled.

    Parameters
    ----------
    separator : str
        As `tagstack.meta.labels.tag_texts.tag_separator` returns it.
    joint : str
        What is written between two tags.
    spaces, escapes : bool
        Whether tags have spaces for underscores, and backslashes before parentheses.
    """

    separator: str
    joint: str
    spaces: bool
    escapes: bool

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Writing":
        """Return the writing that most of some texts show."""
        separator = tag_separator(texts)
        parts = [part.strip() for text in texts for part in parts_of(text, separator)]
        mark = separator.strip()
        tight = sum(text.count(mark) for text in texts) if mark else 0
        loose = sum(text.count(f"{mark} ") for text in texts) if mark else 0
        # Where a space belongs to the mark, what is joined without one would not be parted again.
        whole = not mark or separator != mark
        joint = separator if whole else f"{mark} " if 2 * loose >= tight else mark
        n_spaces, n_underscores = (sum(sign in p for p in parts) for sign in " _")
        n_escaped, n_brackets = (sum(sign in p for p in parts) for sign in ("\\(", "("))
        return cls(
            separator,
            joint,
            spaces=bool(mark) and n_spaces > n_underscores,
            escapes=2 * n_escaped > n_brackets,
        )

    def parts(self, text: str) -> list[str]:
        """Return the parts of a caption as written, empty ones included; prose is one part."""
        plain = text.strip()
        if self._is_prose(plain):
            return [plain]
        return [part.strip() for part in parts_of(plain, self.separator)] if plain else []

    def written(self, tag: str) -> str:
        """Return a tag in booru form as these captions write it."""
        text = unparted(spaced(tag) if self.spaces else tag, self.separator)
        return text.replace("(", "\\(").replace(")", "\\)") if self.escapes else text

    def may_be_joined(self, text: str) -> bool:
        """Return whether a caption can be put together again: a line separated as the others."""
        plain = text.strip()
        foreign = self.separator == SPACE and ("," in plain or self._is_prose(plain))
        return bool(plain) and "\n" not in plain and not foreign and self._parts_again(plain)

    def _parts_again(self, plain: str) -> bool:
        """Return whether no part holds a mark: a ``;`` in one may be the mark or the tag's own."""
        mark = self.separator.strip()
        return mark not in (";", "|") or not any(mark in part for part in self.parts(plain))

    def _is_prose(self, plain: str) -> bool:
        if self.separator != SPACE or "," in plain:
            return False
        return not _PROSE.isdisjoint(plain.lower().split())

    def joined(self, parts: Sequence[str]) -> str:
        """Return parts as one line."""
        return self.joint.join(parts)


def read_caption(path: Path) -> str:
    """Return a caption's text; of a JSON sidecar its tags as one line.

    Raises
    ------
    TagstackError
        If it cannot be read, is no text or over 1 MiB, or the JSON has no list ``tags``.
    """
    text = read_text(path, what="caption", limit=MAX_BYTES)
    if path.suffix.lower() != ".json":
        return text
    found = parse_json(text, str(path))
    tags = found.get("tags") if isinstance(found, dict) else None
    if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags):
        return ", ".join(tags)
    if isinstance(tags, str):
        return tags
    msg = f"{path}: its 'tags' are {json.dumps(tags)[:60]}. Expected a list of texts."
    raise TagstackError(msg)
