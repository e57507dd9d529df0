"""Rules as a person reads them: what each says, who says so, what of it a vocabulary knows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tagstack.base_models.tag_names import did_you_mean
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.errors import TagstackError
from tagstack.configs.tables import read_table
from tagstack.ensemble.rule_study.checking import tags_of
from tagstack.ensemble.rules.bound_rules import BoundRules
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules

Kind = Literal["implication", "exclusion"]


@dataclass(frozen=True, kw_only=True)
class RuleEntry:
    """One rule in words.

    Parameters
    ----------
    id : str
    kind : {"implication", "exclusion"}
    says : str
        One sentence.
    strength : str
        "hard", or the penalty of a soft rule.
    source : str
    tags : tuple of str
        Every tag it names, guards included.
    """

    id: str
    kind: Kind
    says: str
    strength: str
    source: str
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Binding:
    """What is left of a rule in one vocabulary.

    Parameters
    ----------
    says : tuple of str
        A line for each implication or exclusion between known tags; empty if nothing is left.
    unknown : tuple of str
        Tags of the rule that the vocabulary lacks.
    """

    says: tuple[str, ...]
    unknown: tuple[str, ...]


def list_rules(
    rules: Rules, *, tag: str | None = None, kind: Kind | None = None
) -> tuple[RuleEntry, ...]:
    """Return the rules of one kind, or about one tag, in words; all of them by default.

    Raises
    ------
    TagstackError
        If no rule names the tag; the message names tags that are written like it.
    """
    entries = [_entry(rule) for rule in rules.rules]
    named = [entry for entry in entries if tag is None or tag in entry.tags]
    if tag is not None and not named:
        every = dict.fromkeys(own for entry in entries for own in entry.tags)
        hint = did_you_mean(tag, every) or "`tagstack rules list` shows them all."
        msg = f"None of {len(entries)} rules names the tag {tag!r}. {hint}"
        raise TagstackError(msg)
    return tuple(entry for entry in named if kind is None or kind == entry.kind)


def find_rule(rules: Rules, name: str) -> RuleEntry:
    """Return the rule of this id in words.

    Raises
    ------
    TagstackError
        If there is none; the message names similar ids.
    """
    for rule in rules.rules:
        if rule.id == name:
            return _entry(rule)
    hint = did_you_mean(name, rules.ids) or "`tagstack rules list` names them all."
    msg = f"There is no rule {name!r} among {len(rules)}. {hint}"
    raise TagstackError(msg)


def binding_of(rules: Rules, name: str, vocabulary: Vocabulary) -> Binding:
    """Return what is left of a rule in a vocabulary, aliases and unknown tags resolved.

    Raises
    ------
    TagstackError
        If the rules contradict each other.
    """
    bound = rules.bind(vocabulary)
    rule = next(rule for rule in rules.rules if rule.id == name)
    unknown = set(tags_of(rule)) & set(bound.unknown)
    return Binding(says=tuple(_bound_lines(bound, name)), unknown=tuple(sorted(unknown)))


def vocabulary_of(path: Path) -> Vocabulary:
    """Return the tags of a bundle, or of a CSV file with a column ``name`` or ``tag``.

    Raises
    ------
    TagstackError
        If it is neither, or cannot be read.
    """
    if path.is_dir():
        from tagstack.ensemble.bundle.files import load_bundle

        return load_bundle(path).vocabulary
    table = read_table(path, what="vocabulary", expected=("name", "tag"))
    column = table.first_of("name", "tag")
    names = () if column is None else tuple(row.cells[column] for row in table.rows)
    if not names:
        msg = f"{path} holds no tags in a column 'name' or 'tag'. Give such a CSV, or a bundle."
        raise TagstackError(msg)
    return Vocabulary(names, ("",) * len(names))


def _entry(rule: Implication | Exclusive) -> RuleEntry:
    return RuleEntry(
        id=rule.id,
        kind="implication" if isinstance(rule, Implication) else "exclusion",
        says=_sentence(rule),
        strength="hard" if rule.hard else f"{rule.penalty:g}",
        source=rule.source,
        tags=tags_of(rule),
    )


def _sentence(rule: Implication | Exclusive) -> str:
    if isinstance(rule, Implication):
        verb = "implies" if len(rule.tags) == 1 else "imply, each,"
        return f"{', '.join(rule.tags)} {verb} {' and '.join(rule.implies)}"
    return _exclusion(rule.tags, rule.when, rule.unless, rule.at_least_one)


def _exclusion(
    tags: tuple[str, ...], when: tuple[str, ...], unless: tuple[str, ...], least: bool
) -> str:
    text = f"{'exactly' if least else 'at most'} one of {', '.join(tags)}"
    if when:
        text += f"; where {' and '.join(when)}"
    if unless:
        text += f"; unless {' or '.join(unless)}"
    return text


def _bound_lines(bound: BoundRules, name: str) -> list[str]:
    tags = bound.vocabulary.tags
    lines = [
        f"{tags[child]} implies {tags[parent]}"
        for (child, parent), (rule, _) in bound.edge_rule.items()
        if rule == name
    ]
    for rule in bound.exclusives:
        if rule.id == name:
            parts = (tuple(tags[i] for i in part) for part in (rule.tags, rule.when, rule.unless))
            members, when, unless = parts
            if len(members) == 1:
                lines.append(f"{when[0]} implies {members[0]}")
            else:
                lines.append(_exclusion(members, when, unless, rule.at_least_one))
    return lines
