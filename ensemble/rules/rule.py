"""One rule about tag names, as data: what it implies or excludes, who says so, how strictly.

Sets of rules are in `rule_set`, rules as positions of a vocabulary in `bound_rules`.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from tagstack.configs.errors import TagstackError

HARD = math.inf


@dataclass(frozen=True, kw_only=True)
class Implication:
    """Every one of ``tags`` implies every one of ``implies``.

    Parameters
    ----------
    id : str
        Unique among the rules of one set.
    tags, implies : tuple of str
        Antecedents and consequents, at least one each.
    source : str
        Who says so: a page, a dump, a file of the user.
    penalty : float
        Cost in log-odds of each implied tag that is missing, above 0; infinite for a hard rule.
    """

    id: str
    tags: tuple[str, ...]
    implies: tuple[str, ...]
    source: str
    penalty: float = HARD

    def __post_init__(self) -> None:
        _require_unique(self.id, "tags", self.tags, least=1)
        _require_unique(self.id, "implies", self.implies, least=1)
        _require_penalty(self.id, self.penalty)

    @property
    def hard(self) -> bool:
        """Whether the rule may never be broken."""
        return math.isinf(self.penalty)

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Every (child, parent) pair of the rule."""
        return tuple((tag, parent) for tag in self.tags for parent in self.implies)


@dataclass(frozen=True, kw_only=True)
class Exclusive:
    """At most one of ``tags`` holds in an image, under the guards.

    Parameters
    ----------
    id, source : str
    tags : tuple of str
        Two tags or more.
    at_least_one : bool
        Whether exactly one must hold instead of at most one.
    when : tuple of str
        The rule applies only where all of these are tagged.
    unless : tuple of str
        The rule does not apply where any of these is tagged.
    penalty : float
        Cost in log-odds of every tag beyond the first (and of a missing one under
        ``at_least_one``), above 0; infinite for a hard rule.
    """

    id: str
    tags: tuple[str, ...]
    source: str
    at_least_one: bool = False
    when: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    penalty: float = HARD

    def __post_init__(self) -> None:
        _require_unique(self.id, "tags", self.tags, least=2)
        _require_unique(self.id, "when", self.when, least=0)
        _require_unique(self.id, "unless", self.unless, least=0)
        _require_penalty(self.id, self.penalty)
        if both := set(self.when) & set(self.unless):
            msg = f"Rule {self.id!r} has {sorted(both)} in both when and unless; remove one."
            raise TagstackError(msg)

    @property
    def hard(self) -> bool:
        """Whether the rule may never be broken."""
        return math.isinf(self.penalty)


@dataclass(frozen=True, kw_only=True)
class Alias:
    """An outdated or alternative name and the name that replaces it."""

    old: str
    new: str


class AnyRules(Protocol):
    """Whatever holds rules: `tagstack.ensemble.rules.rule_set.Rules` does."""

    @property
    def implications(self) -> tuple[Implication, ...]:
        """What follows from what."""
        ...

    @property
    def exclusives(self) -> tuple[Exclusive, ...]:
        """What cannot be true together."""
        ...

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """Other names of tags."""
        ...


def _require_penalty(rule: str, penalty: float) -> None:
    if not penalty > 0:
        msg = f"Rule {rule!r} has penalty {penalty!r}; give a number above 0 or strength 'hard'."
        raise TagstackError(msg)


def _require_unique(rule: str, key: str, tags: tuple[str, ...], *, least: int) -> None:
    if len(tags) < least:
        msg = f"Rule {rule!r} has {len(tags)} names in {key!r}; at least {least} are due."
        raise TagstackError(msg)
    if twice := repeated(tags):
        msg = f"Rule {rule!r} names {twice} more than once in {key!r}; remove the repeats."
        raise TagstackError(msg)


def repeated(names: Iterable[str]) -> list[str]:
    """Return the names that occur more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)
