"""What cannot be true together, and what follows from what, as data about tag names.

A rule names tags, never positions; :func:`tagstack.ensemble.rules.binding.bind` turns rules into
positions of one vocabulary. Every rule carries an id and a source, so that each tag that a rule
changes can be traced to who said so. A new file format is one more reader in ``load_rules``.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError

if TYPE_CHECKING:
    from tagstack.ensemble.rules.binding import BoundRules

HARD = math.inf


@dataclass(frozen=True, kw_only=True)
class Implication:
    """Every one of ``tags`` implies every one of ``implies``; always hard.

    Parameters
    ----------
    id : str
        Unique among the rules of one set.
    tags, implies : tuple of str
        Antecedents and consequents, at least one each.
    source : str
        Who says so: a page, a dump, a file of the user.
    """

    id: str
    tags: tuple[str, ...]
    implies: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        _require_unique(self.id, "tags", self.tags, least=1)
        _require_unique(self.id, "implies", self.implies, least=1)

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
        if not self.penalty > 0:
            msg = f"Rule {self.id!r} has penalty {self.penalty!r}; give a number above 0 or 'hard'."
            raise TagstackError(msg)
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


@dataclass(frozen=True, kw_only=True)
class Rules:
    """A set of rules about tag names.

    Raises
    ------
    TagstackError
        If two rules share an id, or an alias has two targets.

    Examples
    --------
    >>> ears = Implication(id="ears", tags=("cat_ears",), implies=("animal_ears",), source="me")
    >>> Rules(implications=(ears,)).ids
    ('ears',)
    """

    implications: tuple[Implication, ...] = ()
    exclusives: tuple[Exclusive, ...] = ()
    aliases: tuple[Alias, ...] = ()

    def __post_init__(self) -> None:
        _require_distinct("Rule id", self.ids)
        _require_distinct("Alias", tuple(alias.old for alias in self.aliases))

    def __len__(self) -> int:
        return len(self.implications) + len(self.exclusives)

    @property
    def ids(self) -> tuple[str, ...]:
        """Id of every rule, implications first."""
        said = [rule.id for rule in self.implications]
        return (*said, *(rule.id for rule in self.exclusives))

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Tag names of each exclusive group, by the rule's id, with and without ``group.``."""
        short = {rule.id.removeprefix("group."): rule.tags for rule in self.exclusives}
        return short | {rule.id: rule.tags for rule in self.exclusives}

    @classmethod
    def none(cls) -> "Rules":
        """Return the empty set: nothing is implied and nothing excluded."""
        return cls()

    def joined(self, other: "Rules") -> "Rules":
        """Return both sets as one; an id that both use is an error."""
        return Rules(
            implications=self.implications + other.implications,
            exclusives=self.exclusives + other.exclusives,
            aliases=self.aliases + other.aliases,
        )

    def bind(self, vocabulary: Vocabulary) -> "BoundRules":
        """Return the rules as positions of a vocabulary.

        Raises
        ------
        TagstackError
            If the rules contradict each other: a cycle, or a tag excluded by what it implies.
        """
        from tagstack.ensemble.rules.binding import bind

        return bind(self, vocabulary)

    def to_toml(self) -> str:
        """Return the rules as TOML text that :meth:`from_toml` reads back unchanged."""
        from tagstack.ensemble.rules.toml_text import toml_from_rules

        return toml_from_rules(self)

    @classmethod
    def from_toml(cls, text: str, name: str = "rules") -> "Rules":
        """Return the rules of a TOML text; ``name`` says in messages where it came from.

        Raises
        ------
        TagstackError
            If the text is not TOML, or holds an unknown key or an impossible rule.
        """
        from tagstack.ensemble.rules.toml_text import rules_from_toml

        return rules_from_toml(text, name)


def load_rules(source: str | Path) -> Rules:
    """Return the rules of a shipped set, a TOML file or a table.

    Parameters
    ----------
    source : str or Path
        A name in configs/rules (``"danbooru"``), a ``.toml`` file, or a ``.csv`` file: a tags
        table with columns ``tag``, ``parent`` and ``exclusive_group``, or an alias or implication
        dump of a booru (``antecedent_name``, ``consequent_name``, ``status``).

    Raises
    ------
    TagstackError
        If there is no such set or file, or it does not hold rules.
    """
    path = Path(source)
    if path.suffix == ".csv":
        from tagstack.ensemble.rules.tables import rules_from_table

        return rules_from_table(path)
    if path.suffix == ".toml":
        return Rules.from_toml(_text(path), path.name)
    if str(source) in (names := shipped_rules()):
        file = resources.files("tagstack.configs").joinpath("rules", f"{source}.toml")
        return Rules.from_toml(file.read_text("utf-8"), f"{source}.toml")
    msg = f"Unknown rules {str(source)!r}. Give one of {list(names)}, a .toml file or a .csv table."
    raise TagstackError(msg)


def shipped_rules() -> tuple[str, ...]:
    """Return the names of the rule sets that come with the package, sorted."""
    folder = resources.files("tagstack.configs").joinpath("rules")
    if not folder.is_dir():
        return ()
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name[:-5] for name in names if name.endswith(".toml")))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"Cannot read the rules {path}: {error}. Give a readable file in UTF-8."
        raise TagstackError(msg) from error


def _require_unique(rule: str, key: str, tags: tuple[str, ...], *, least: int) -> None:
    if len(tags) < least:
        msg = f"Rule {rule!r} has {len(tags)} names in {key!r}; at least {least} are due."
        raise TagstackError(msg)
    if twice := _repeated(tags):
        msg = f"Rule {rule!r} names {twice} more than once in {key!r}; remove the repeats."
        raise TagstackError(msg)


def _require_distinct(what: str, names: tuple[str, ...]) -> None:
    if twice := _repeated(names):
        msg = f"{what} {twice[0]!r} occurs more than once; rename or remove one."
        raise TagstackError(msg)


def _repeated(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)
