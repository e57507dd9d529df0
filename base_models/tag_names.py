r"""Tags as people write them, found in a vocabulary: spaces, escapes, Unicode forms, capitals.

Every table in which tags are named passes here, so that ``Closed mouth``, ``closed mouth`` and
``closed_mouth`` are one tag in labels, rules, thresholds and other tools' outputs alike. A tag
that is in the vocabulary as it stands is never read as another one.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property

from tagstack.base_models.vocabulary import Vocabulary

FORM, CASE, MARKS = "spacing or Unicode form", "capitals", "weights, brackets or a full stop"
_ESCAPED = re.compile(r"\\([\\()])")
# Editors, web pages and spreadsheets leave these behind; no tag is told from another by them.
_UNSEEN = re.compile("[\u200b\u2060\ufeff\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# What prompts put around a tag: brackets of one kind or several, and a weight above zero.
_WEIGHT = re.compile(r":(?=[\d.]*[1-9])\d*\.?\d+\Z")
_PAIRS = {"(": ")", "[": "]", "{": "}"}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that names what is written like ``name``; empty where nothing is.

    Examples
    --------
    >>> did_you_mean("1gril", ["1girl", "sky"])
    'Did you mean 1girl?'
    """
    written = {own.casefold(): own for own in known}
    close = get_close_matches(booru_form(name).casefold(), written, n=3)
    return f"Did you mean {' or '.join(written[own] for own in close)}?" if close else ""


def booru_form(tag: str) -> str:
    r"""Return a tag with underscores for spaces, without escapes, in Unicode's composed form.

    Escapes are backslashes before brackets and backslashes; characters that nobody sees go too.

    Examples
    --------
    >>> booru_form(r" hat  \(blue\) ")
    'hat_(blue)'
    """
    plain = tag.isascii()  # labels hold millions of tags, most of them plain
    joined = "_".join((tag if plain else _UNSEEN.sub("", tag)).split())
    if "\\" in joined:
        joined = _ESCAPED.sub(r"\1", joined)
    return joined if plain else unicodedata.normalize("NFC", joined)


def unmarked(tag: str) -> str:
    """Return a tag without what prompts and sentences put around it.

    Examples
    --------
    >>> unmarked("(long_hair:1.2)"), unmarked("{{solo}}"), unmarked("smile:0.93"), unmarked("hat.")
    ('long_hair', 'solo', 'smile', 'hat')
    """
    plain = tag.removesuffix(".")
    while len(plain) > 2 and _PAIRS.get(plain[0]) == plain[-1]:
        plain = _WEIGHT.sub("", plain[1:-1].strip("_"))
    return _WEIGHT.sub("", plain)


@dataclass(frozen=True)
class TagNames:
    """Finds tags of a vocabulary by what people write.

    Parameters
    ----------
    vocabulary : Vocabulary
    aliases : mapping of str to str
        Outdated names to current ones.
    marked : bool
        Whether tags may stand in brackets, with a weight or with a full stop, as in captions.

    Examples
    --------
    >>> names = TagNames(Vocabulary(("1girl", "closed_mouth"), ("general", "general")))
    >>> names.find("Closed mouth"), names.find("sky")
    (1, None)
    """

    vocabulary: Vocabulary
    aliases: Mapping[str, str] = field(default_factory=dict)
    marked: bool = False

    def find(self, tag: str) -> int | None:
        """Return a tag's index in the vocabulary, None if no reading of it is there."""
        return self.found(tag)[0]

    def found(self, tag: str) -> tuple[int | None, str]:
        """Return a tag's index, and what had to be overlooked to find it (empty for nothing)."""
        index = self.vocabulary.index
        current = self.aliases.get(tag, tag)
        if current in index:
            return index[current], ""
        plain = booru_form(tag)
        place = self._by_form.get(self.aliases.get(plain, plain))
        if place is not None:
            return place, FORM
        place = self._in_any_case(plain)
        if place is not None or not self.marked:
            return place, CASE if place is not None else ""
        place = self._in_any_case(unmarked(plain))
        return place, MARKS if place is not None else ""

    def _in_any_case(self, plain: str) -> int | None:
        folded = plain.casefold()
        return self._by_case.get(self._folded_aliases.get(folded, folded))

    def unknown(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Return the tags that no reading finds in the vocabulary."""
        return tuple(tag for tag in tags if self.find(tag) is None)

    def overlooked(self, tags: Iterable[str]) -> Mapping[str, Counter[str]]:
        """Return the tags that were found in another writing alone, by what was overlooked."""
        kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for tag, n in Counter(tags).items():
            why = self.found(tag)[1]
            if why:
                kinds[why][tag] += n
        return kinds

    @cached_property
    def _by_form(self) -> Mapping[str, int]:
        return _unique((booru_form(tag), i) for i, tag in enumerate(self.vocabulary.tags))

    @cached_property
    def _by_case(self) -> Mapping[str, int]:
        tags = enumerate(self.vocabulary.tags)
        return _unique((booru_form(tag).casefold(), i) for i, tag in tags)

    @cached_property
    def _folded_aliases(self) -> Mapping[str, str]:
        return {old.casefold(): new.casefold() for old, new in self.aliases.items()}


def _unique(pairs: Iterable[tuple[str, int]]) -> Mapping[str, int]:
    """Return the keys that one place alone has."""
    places: defaultdict[str, set[int]] = defaultdict(set)
    for key, place in pairs:
        places[key].add(place)
    return {key: own.pop() for key, own in places.items() if len(own) == 1}
