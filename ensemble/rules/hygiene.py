"""Whether rules make sense: alias loops, cycles of implications, tags that can never hold.

The functions that build something raise on the first fault; those that yield faults find all.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Literal

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.rules.rule import Alias, Exclusive, Implication

Parents = dict[str, dict[str, str]]
"""For each child its parents, each with the id of the rule that says so."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something about a set of rules that a person should look at.

    Parameters
    ----------
    severity : {"fault", "notice"}
        Rules with a fault cannot be used; a notice says what is probably not meant.
    rules : tuple of str
        Ids of the rules that are to blame; for aliases, their old names.
    message : str
        What is wrong, and the way out.
    """

    severity: Literal["fault", "notice"]
    rules: tuple[str, ...]
    message: str


def canonical_names(aliases: Iterable[Alias]) -> dict[str, str]:
    """Return the final name of each alias, chains followed to their end.

    Raises
    ------
    TagstackError
        If aliases lead back to where they started.
    """
    aliases = tuple(aliases)
    _raise_first(alias_loops(aliases))
    step = {alias.old: alias.new for alias in aliases}
    final = {}
    for name in step:
        last = name
        while last in step:
            last = step[last]
        final[name] = last
    return final


def parents_by_child(implications: Iterable[Implication], final: Mapping[str, str]) -> Parents:
    """Return the direct parents of each child under final names; the first rule to say so counts.

    Raises
    ------
    TagstackError
        If a tag implies itself, perhaps by way of an alias.
    """
    implications = tuple(implications)
    _raise_first(self_implications(implications, final))
    return direct_parents(implications, final)


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
        raise TagstackError(_cycle_fault(error.args[1], parents).message) from error
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
    _raise_first(dead_tags(exclusives, ancestors, final))


def _raise_first(faults: Iterable[Fault]) -> None:
    for fault in faults:
        raise TagstackError(fault.message)


def alias_loops(aliases: Iterable[Alias]) -> Iterator[Fault]:
    """Yield each loop of aliases once."""
    step = {alias.old: alias.new for alias in aliases}
    settled: set[str] = set()
    for name in step:
        seen: list[str] = []
        while name in step and name not in settled and name not in seen:
            seen.append(name)
            name = step[name]
        if name in seen:
            loop = tuple(seen[seen.index(name) :])
            msg = f"Aliases form a loop: {' -> '.join([*loop, name])}. Remove one of them."
            yield Fault(severity="fault", rules=loop, message=msg)
        settled.update(seen)


def self_implications(
    implications: Iterable[Implication], final: Mapping[str, str]
) -> Iterator[Fault]:
    """Yield the implications of a tag by itself, perhaps by way of an alias."""
    for rule in implications:
        for tag, parent in rule.edges:
            if final.get(tag, tag) == final.get(parent, parent):
                msg = f"Rule {rule.id!r}: {tag!r} implies itself ({parent!r}); remove it."
                yield Fault(severity="fault", rules=(rule.id,), message=msg)


def direct_parents(implications: Iterable[Implication], final: Mapping[str, str]) -> Parents:
    """Return the direct parents of each child, implications of a tag by itself left out."""
    parents: Parents = {}
    for rule in implications:
        for tag, parent in rule.edges:
            child, above = final.get(tag, tag), final.get(parent, parent)
            if child != above:
                parents.setdefault(child, {}).setdefault(above, rule.id)
    return parents


def broken_cycles(parents: Parents) -> Iterator[Fault]:
    """Yield each cycle and take one of its implications out, until none is left."""
    while True:
        try:
            TopologicalSorter(parents).prepare()
        except CycleError as error:
            yield _cycle_fault(error.args[1], parents)
            parent, child = error.args[1][:2]
            del parents[child][parent]
        else:
            return


def _cycle_fault(cycle: list[str], parents: Parents) -> Fault:
    # graphlib lists a cycle with each node before the one that depends on it, ends repeated.
    path = cycle[::-1]
    ids = sorted({parents[child][parent] for child, parent in pairwise(path)})
    msg = (
        f"Implications form a cycle: {' -> '.join(path)} (rules {ids}). "
        f"Remove one of them, or make the tags aliases of each other."
    )
    return Fault(severity="fault", rules=tuple(ids), message=msg)


def dead_tags(
    exclusives: Iterable[Exclusive],
    ancestors: Mapping[str, frozenset[str]],
    final: Mapping[str, str],
) -> Iterator[Fault]:
    """Yield each tag that implies two tags which exclude each other."""
    groups_of: dict[str, list[Exclusive]] = {}
    for rule in exclusives:
        for tag in {final.get(tag, tag) for tag in rule.tags}:
            groups_of.setdefault(tag, []).append(rule)
    for tag, above in ancestors.items():
        first: dict[str, str] = {}
        closure = above | {tag}
        for name in (tag, *sorted(above)):
            for rule in groups_of.get(name, ()):
                guarded = closure & {final.get(guard, guard) for guard in rule.unless}
                other = first.setdefault(rule.id, name)
                if other != name and not guarded:
                    yield _dead_fault(rule.id, tag, other, name)


def _dead_fault(rule: str, tag: str, one: str, other: str) -> Fault:
    if tag == one:
        msg = (
            f"Rule {rule!r} excludes {tag!r} from its own ancestor {other!r}, so {tag!r} could "
            f"never be kept. Take one of the two out of the rule, or remove the implication."
        )
    else:
        msg = (
            f"Rule {rule!r} excludes {one!r} from {other!r}, but {tag!r} implies both, so it could "
            f"never be kept. Take one of the two out of the rule, or remove an implication."
        )
    return Fault(severity="fault", rules=(rule,), message=msg)


def idle_guards(
    exclusives: Iterable[Exclusive],
    ancestors: Mapping[str, frozenset[str]],
    final: Mapping[str, str],
) -> Iterator[Fault]:
    """Yield the rules that can never apply: what they ask for implies what turns them off."""
    for rule in exclusives:
        when = {final.get(tag, tag) for tag in rule.when}
        held = when.union(*(ancestors.get(tag, ()) for tag in when))
        if off := sorted(held & {final.get(tag, tag) for tag in rule.unless}):
            msg = (
                f"Rule {rule.id!r} never applies: its 'when' implies {off}, which are in its "
                f"'unless'. Take them out of one of the two."
            )
            yield Fault(severity="notice", rules=(rule.id,), message=msg)
