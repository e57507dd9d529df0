"""What is wrong with one caption, and with all captions of a folder together.

A check has a name, a level and says whether it can be mended without changing what a caption
means. What the checks find in one caption depends on that caption alone; `shared` tags are counted
while captions pass, so that memory follows the number of different tags, not of captions.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import NamedTuple

from tagstack.configs.dataset import DatasetSettings, Level
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.rules.rule import Exclusive
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.workshop.dataset.caption_text import Writing, key_of
from tagstack.meta.labels.tag_texts import SPACE

ALL = "."


class Check(NamedTuple):
    """A kind of fault: how bad it is, what it means, and whether `--fix` mends it."""

    level: Level
    meaning: str
    fixed: bool = False


CHECKS: Mapping[str, Check] = {
    "unreadable": Check("error", "a caption cannot be read"),
    "no-caption": Check("error", "a picture has no caption"),
    "empty": Check("error", "a caption holds nothing"),
    "trigger": Check("error", "a trigger word is missing", fixed=True),
    "several": Check("warning", "a picture has several captions: trainers read one"),
    "no-image": Check("warning", "a caption has no picture"),
    "shared": Check("warning", "a tag is on nearly every caption of a folder: identity leaks"),
    "contradiction": Check("warning", "tags exclude each other"),
    "unknown": Check("warning", "a tag is not in the vocabulary"),
    "deprecated": Check("warning", "a tag is deprecated"),
    "alias": Check("warning", "a tag has another name now", fixed=True),
    "double": Check("warning", "a tag stands twice", fixed=True),
    "order": Check("warning", "tags are not in the order of the settings", fixed=True),
    "implied": Check("note", "a tag follows from another one beside it"),
    "lines": Check("note", "a caption has several lines: trainers read the first or choose one"),
    "format": Check("note", "empty parts, or space where none belongs", fixed=True),
}
LEVELS: tuple[Level, ...] = ("note", "warning", "error")


class Finding(NamedTuple):
    """One fault in one file, or in all captions of a folder."""

    check: str
    file: str
    tag: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Linter:
    """Checks captions one by one, and mends what is safe.

    Parameters
    ----------
    settings : DatasetSettings
    rules : Rules
    writing : Writing
    known : collection of str
        Keys of the vocabulary's tags; empty to leave that check out.
    deprecated : collection of str
        Keys.
    """

    settings: DatasetSettings
    rules: Rules
    writing: Writing
    known: Collection[str] = ()
    deprecated: Collection[str] = ()

    def __post_init__(self) -> None:
        if strange := sorted(set(self.settings.ignore) - set(CHECKS)):
            msg = f"dataset.ignore names {strange}, which are no checks. Known: {list(CHECKS)}."
            raise TagstackError(msg)

    def findings(self, file: str, text: str) -> Iterator[Finding]:
        """Yield what is wrong with one caption."""
        parts = self.writing.parts(text)
        keys = [key_of(part) for part in parts if part]
        if not keys:
            yield from self._wanted([Finding("empty", file)])
            return
        for check, tag, detail in self._faults(text, parts, keys):
            if check not in self.settings.ignore:
                yield Finding(check, file, tag, detail)

    def mended(self, text: str) -> str:
        """Return a caption with what is safe to mend done; one of several lines stays."""
        if not self.writing.may_be_joined(text):
            return text
        parts = [part for part in self.writing.parts(text) if part]
        if self._runs("alias"):
            parts = [self._renamed(part) for part in parts]
        if self._runs("double"):
            first: dict[str, str] = {}
            for part in parts:
                first.setdefault(key_of(part), part)
            parts = list(first.values())
        parts = self._ordered(parts, text)
        joined = self.writing.joined(parts)
        if not self._runs("format") and parts == self.writing.parts(text):
            return text
        ending = text[len(text.rstrip("\r\n")) :]
        return joined + ending

    def _faults(
        self, text: str, parts: Sequence[str], keys: Sequence[str]
    ) -> Iterator[tuple[str, str, str]]:
        own = set(keys)
        for tag, n in Counter(keys).items():
            if n > 1:
                yield "double", tag, f"{n} times"
        for key in own:
            if (new := self._aliases.get(key)) is not None:
                yield "alias", key, f"now {new}"
            elif key in self.deprecated:
                yield "deprecated", key, ""
            elif self.known and key not in self.known and key not in self._trigger:
                yield "unknown", key, ""
            for implied in self._implied.get(key, ()):
                if implied in own:
                    yield "implied", implied, f"by {key}"
        for trigger in self._missing(own, text):
            yield "trigger", trigger, ""
        yield from self._contradictions(own)
        wanted = self._in_order(list(dict.fromkeys(keys)))
        if wanted != list(dict.fromkeys(keys)):
            yield "order", "", f"expected {wanted[0]} first" if self._trigger else "by name"
        yield from self._faults_of_writing(text, parts)

    def _faults_of_writing(self, text: str, parts: Sequence[str]) -> Iterator[tuple[str, str, str]]:
        if "\n" in text.strip():
            yield "lines", "", ""
        elif self.writing.may_be_joined(text) and text.rstrip("\r\n") != self.writing.joined(
            [part for part in parts if part]
        ):
            yield "format", "", ""

    def _contradictions(self, own: set[str]) -> Iterator[tuple[str, str, str]]:
        meant = self._meant(own)
        rules = {rule.id: rule for key in meant for rule in self._excluding.get(key, ())}
        for rule in rules.values():
            found = sorted({meant[key] for key in meant if key in self._members[rule.id]})
            bound = meant.keys() >= set(rule.when) and meant.keys().isdisjoint(rule.unless)
            if len(found) > 1 and bound:
                yield "contradiction", " + ".join(found), rule.id

    def _meant(self, own: set[str]) -> dict[str, str]:
        """Return what tags say, by implications too, each with the tag that says it."""
        meant = {key: key for key in sorted(own)}
        waiting = list(meant)
        while waiting:
            key = waiting.pop()
            for parent in self._implied.get(key, ()):
                if parent not in meant:
                    meant[parent] = meant[key]
                    waiting.append(parent)
        return meant

    def _missing(self, own: Collection[str], text: str) -> list[str]:
        """Return the keys of trigger words that are neither a tag nor words of a sentence."""
        low = text.lower()
        return [
            key
            for key, word in self._trigger.items()
            if key not in own and not re.search(rf"(?<!\w){re.escape(word.lower())}(?!\w)", low)
        ]

    def _ordered(self, parts: list[str], text: str) -> list[str]:
        known = {key_of(part): part for part in parts}
        keys = [key_of(part) for part in parts]
        if self._runs("trigger"):
            missing = self._missing(known, text)
            known |= {key: self._trigger[key] for key in missing}
            keys = missing + keys
        if not self._runs("order"):
            return [known[key] for key in keys]
        return [known[key] for key in self._in_order(keys)]

    def _in_order(self, keys: list[str]) -> list[str]:
        first = [key for key in self._trigger if key in keys]
        rest = [key for key in keys if key not in self._trigger]
        return first + (sorted(rest) if self.settings.order == "name" else rest)

    def _renamed(self, part: str) -> str:
        new = self._aliases.get(key_of(part))
        return part if new is None else self.writing.written(new)

    def _runs(self, check: str) -> bool:
        return check not in self.settings.ignore

    def _wanted(self, findings: Sequence[Finding]) -> Iterator[Finding]:
        return (own for own in findings if own.check not in self.settings.ignore)

    @cached_property
    def _trigger(self) -> Mapping[str, str]:
        """Key to the word as it is to be written: as given, unless a space would part it."""
        whole = self.writing.separator != SPACE
        words = (word if whole else "_".join(word.split()) for word in self.settings.trigger)
        return {key_of(word): word for word in words}

    @cached_property
    def _aliases(self) -> Mapping[str, str]:
        """Outdated names to current ones, chains followed to their end; a circle is left alone."""
        step = {key_of(alias.old): alias.new for alias in self.rules.aliases}
        ends: dict[str, str] = {}
        for old in step:
            seen, new = {old}, step[old]
            while key_of(new) in step and key_of(new) not in seen:
                seen.add(key_of(new))
                new = step[key_of(new)]
            if key_of(new) not in step:
                ends[old] = new
        return ends

    @cached_property
    def _implied(self) -> Mapping[str, tuple[str, ...]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for rule in self.rules.implications:
            for child, parent in rule.edges if rule.hard else ():
                found[child].append(parent)
        return {child: tuple(parents) for child, parents in found.items()}

    @cached_property
    def _excluding(self) -> Mapping[str, tuple[Exclusive, ...]]:
        found: defaultdict[str, list[Exclusive]] = defaultdict(list)
        for rule in self.rules.exclusives:
            for tag in rule.tags if rule.hard else ():
                found[tag].append(rule)
        return {tag: tuple(own) for tag, own in found.items()}

    @cached_property
    def _members(self) -> Mapping[str, frozenset[str]]:
        return {rule.id: frozenset(rule.tags) for rule in self.rules.exclusives}


@dataclass
class SharedTags:
    """Counts on how many captions of each folder, and of all, a tag stands."""

    settings: DatasetSettings
    captions: Counter[str] = field(default_factory=Counter)
    tags: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, file: str, keys: Collection[str]) -> None:
        """Count one caption's tags; a caption without any shares nothing."""
        parent = PurePosixPath(file).parent.as_posix()
        for folder in {ALL, parent} if keys else ():
            self.captions[folder] += 1
            self.tags[folder].update(set(keys))

    def findings(self) -> Iterator[Finding]:
        """Yield tags on nearly all captions: first of all together, then of single folders."""
        said = {key_of(tag) for tag in (*self.settings.allow, *self.settings.trigger)}
        if "shared" in self.settings.ignore:
            return
        for folder in sorted(self.captions, key=lambda name: (name != ALL, name)):
            total = self.captions[folder]
            if total < self.settings.least_captions:
                continue
            for tag, n in self.tags[folder].most_common():
                if n < self.settings.shared * total:
                    break
                if tag not in said:
                    yield Finding("shared", folder, tag, f"on {n} of {total} captions")
            if folder == ALL:
                said |= {t for t, n in self.tags[ALL].items() if n >= self.settings.shared * total}
