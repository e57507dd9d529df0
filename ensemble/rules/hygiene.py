"""Whether rules make sense: alias chains, cycles of implications, tags that can never hold."""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.rules.rule_set import Alias, Exclusive, Implication

Parents = dict[str, dict[str, str]]
"""For each child its parents, each with the id of the rule that says so."""


def canonical_names(aliases: Iterable[Alias]) -> dict[str, str]:
    """Return the final name of each alias, chains followed to their end.

    Raises
    ------
    TagstackError
        If aliases lead back to where they started.
    """
    step = {alias.old: alias.new for alias in aliases}
    final = {}
    for name in step:
        seen = [name]
        while (following := step.get(seen[-1])) is not None:
            if following in seen:
                msg = f"Aliases form a loop: {' -> '.join([*seen, following])}. Remove one of them."
                raise TagstackError(msg)
            seen.append(following)
        final[name] = seen[-1]
    return final


def parents_by_child(implications: Iterable[Implication], final: Mapping[str, str]) -> Parents:
    """Return the direct parents of each child under final names; the first rule to say so counts.

    Raises
    ------
    TagstackError
        If a tag implies itself, perhaps by way of an alias.
    """
    parents: Parents = {}
    for rule in implications:
        for tag, parent in rule.edges:
            child, above = final.get(tag, tag), final.get(parent, parent)
            if child == above:
                msg = f"Rule {rule.id!r}: {tag!r} implies itself ({parent!r}); remove it."
                raise TagstackError(msg)
            parents.setdefault(child, {}).setdefault(above, rule.id)
    return parents


def ancestors_by_tag(parents: Parents) -> dict[str, frozenset[str]]:
    """Return everything that each tag implies, directly or not, the tag itself left out.

    Raises
    ------
    TagstackError
        If implications form a cycle; the message names the tags and the rules on it.
    """
    try:
        order = tuple(TopologicalSorter(parents).static_order())
    except CycleError as error:
        raise TagstackError(_cycle_message(error.args[1], parents)) from error
    ancestors: dict[str, frozenset[str]] = {}
    for tag in order:
        above = parents.get(tag, {})
        ancestors[tag] = frozenset(above).union(*(ancestors[parent] for parent in above))
    return ancestors


def check_no_dead_tags(
    exclusives: Iterable[Exclusive],
    ancestors: Mapping[str, frozenset[str]],
    final: Mapping[str, str],
) -> None:
    """Check that no tag implies two tags that exclude each other.

    Raises
    ------
    TagstackError
        If a tag could never be kept; the message names the rule and the way out.
    """
    groups_of: dict[str, list[Exclusive]] = {}
    for rule in exclusives:
        for tag in {final.get(tag, tag) for tag in rule.tags}:
            groups_of.setdefault(tag, []).append(rule)
    for tag, above in ancestors.items():
        _check_alive(tag, above, groups_of, final)


def _check_alive(
    tag: str,
    above: frozenset[str],
    groups_of: Mapping[str, list[Exclusive]],
    final: Mapping[str, str],
) -> None:
    first: dict[str, str] = {}
    closure = above | {tag}
    for name in (tag, *sorted(above)):
        for rule in groups_of.get(name, ()):
            guarded = closure & {final.get(guard, guard) for guard in rule.unless}
            other = first.setdefault(rule.id, name)
            if other != name and not guarded:
                raise TagstackError(_dead_message(rule.id, tag, other, name))


def _dead_message(rule: str, tag: str, one: str, other: str) -> str:
    if tag == one:
        return (
            f"Rule {rule!r} excludes {tag!r} from its own ancestor {other!r}, so {tag!r} could "
            f"never be kept. Take one of the two out of the rule, or remove the implication."
        )
    return (
        f"Rule {rule!r} excludes {one!r} from {other!r}, but {tag!r} implies both, so it could "
        f"never be kept. Take one of the two out of the rule, or remove an implication."
    )


def _cycle_message(cycle: list[str], parents: Parents) -> str:
    # graphlib lists a cycle with each node before the one that depends on it, ends repeated.
    path = cycle[::-1]
    ids = sorted({parents[child][parent] for child, parent in pairwise(path)})
    return (
        f"Implications form a cycle: {' -> '.join(path)} (rules {ids}). "
        f"Remove one of them, or make the tags aliases of each other."
    )
