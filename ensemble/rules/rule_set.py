"""What cannot be true together, and what follows from what, as data about tag names.

A rule names tags, never positions; :func:`tagstack.ensemble.rules.binding.bind` turns rules into
positions of one vocabulary. Every rule carries an id, a source and a strength, so that each tag
that a rule changes can be traced to who said so. Files of rules are read by `sources`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.rules.rule import Alias, Exclusive, Implication, repeated

if TYPE_CHECKING:
    from tagstack.ensemble.rules.bound_rules import BoundRules


@dataclass(frozen=True, kw_only=True)
class Rules:
    """A set of rules about tag names.

    Parameters
    ----------
    implications : tuple of Implication
    exclusives : tuple of Exclusive
    aliases : tuple of Alias
    without : tuple of str
        Ids of rules of other sets that shall not apply where this set is joined to them.
    proposed : tuple of str
        Ids of rules that a file proposes and nobody has accepted; they are not in the set.

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
    without: tuple[str, ...] = field(default=(), compare=False)
    proposed: tuple[str, ...] = field(default=(), compare=False)

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

    @property
    def rules(self) -> tuple["Implication | Exclusive", ...]:
        """Every rule, implications first."""
        return self.implications + self.exclusives

    def joined(self, other: "Rules") -> "Rules":
        """Return both sets as one, less what ``other`` says shall not apply.

        Raises
        ------
        TagstackError
            If a rule that shall not apply is not there, an id is in both sets, or an alias has
            two targets.
        """
        if strange := sorted(set(other.without) - set(self.ids)):
            msg = (
                f"'without' names rules that are not there: {strange}. Name rules of the sets "
                "before it, as `tagstack rules list` shows them."
            )
            raise TagstackError(msg)
        kept = self.except_for(other.without)
        if both := sorted(set(kept.ids) & set(other.ids)):
            msg = (
                f"Rules of two sets have the same id: {both[:5]}. Rename one, or replace the "
                f"first with without = {both[:5]} at the top of the second."
            )
            raise TagstackError(msg)
        return Rules(
            implications=kept.implications + other.implications,
            exclusives=kept.exclusives + other.exclusives,
            aliases=tuple(dict.fromkeys(kept.aliases + other.aliases)),
            proposed=kept.proposed + other.proposed,
        )

    def except_for(self, ids: Iterable[str]) -> "Rules":
        """Return the set without the rules of these ids."""
        gone = frozenset(ids)
        return replace(
            self,
            implications=tuple(rule for rule in self.implications if rule.id not in gone),
            exclusives=tuple(rule for rule in self.exclusives if rule.id not in gone),
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

    def within(self, vocabulary: Vocabulary) -> "Rules":
        """Return the rules that have anything to say about a vocabulary, and its aliases.

        Bound to that vocabulary, they say the same; a booru's whole dump shrinks to a fraction.
        """
        from tagstack.ensemble.rules.binding import within

        implications, exclusives, aliases = within(self, vocabulary)
        return replace(self, implications=implications, exclusives=exclusives, aliases=aliases)

    def to_toml(self) -> str:
        """Return the rules as TOML text that :meth:`from_toml` reads back unchanged."""
        from tagstack.ensemble.rules.toml_text import toml_from_rules

        return toml_from_rules(self.rules, self.aliases)

    @classmethod
    def from_toml(cls, text: str, name: str = "rules") -> "Rules":
        """Return the rules of a TOML text; ``name`` says in messages where it came from.

        Raises
        ------
        TagstackError
            If the text is not TOML, or holds an unknown key or an impossible rule.
        """
        from tagstack.ensemble.rules.toml_text import parsed_rules

        file = parsed_rules(text, name)
        return cls(
            implications=file.implications,
            exclusives=file.exclusives,
            aliases=file.aliases,
            without=file.without,
            proposed=file.proposed,
        )


def _require_distinct(what: str, names: tuple[str, ...]) -> None:
    if twice := repeated(names):
        msg = f"{what} {twice[0]!r} occurs more than once; rename or remove one."
        raise TagstackError(msg)
