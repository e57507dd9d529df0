"""Everything about a set of rules that a person should look at, faults and mere notices."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.ensemble.rules.hygiene import (
    Fault,
    alias_loops,
    ancestors_by_tag,
    broken_cycles,
    canonical_names,
    dead_tags,
    direct_parents,
    idle_guards,
    self_implications,
)
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules

_NAMED = 10  # unknown tags that a notice names
_SUGGESTED = 200  # unknown tags for which a similar one is looked up: it takes milliseconds each


def find_faults(rules: Rules, vocabulary: Vocabulary | None = None) -> tuple[Fault, ...]:
    """Return everything that is wrong with a set of rules, faults first.

    Parameters
    ----------
    rules : Rules
    vocabulary : Vocabulary, optional
        What it does not know is named with the rules that do.
    """
    loops = tuple(alias_loops(rules.aliases))
    looped = {name for fault in loops for name in fault.rules}
    final = canonical_names(alias for alias in rules.aliases if alias.old not in looped)
    hard = tuple(rule for rule in rules.implications if rule.hard)
    parents = direct_parents(hard, final)
    cycles = tuple(broken_cycles(parents))
    ancestors = ancestors_by_tag(parents)
    return (
        *loops,
        *self_implications(rules.implications, final),
        *cycles,
        *dead_tags(rules.exclusives, ancestors, final),
        *idle_guards(rules.exclusives, ancestors, final),
        *_notices(rules, final, vocabulary),
    )


def _notices(
    rules: Rules, final: Mapping[str, str], vocabulary: Vocabulary | None
) -> Iterator[Fault]:
    yield from _chains(rules, final)
    for rule in rules.rules:
        if old := sorted(set(tags_of(rule)) & final.keys()):
            now = {name: final[name] for name in old}
            msg = f"Rule {rule.id!r} uses old names: {now}. Write the new ones."
            yield _notice((rule.id,), msg)
    if rules.proposed:
        msg = (
            f"{len(rules.proposed)} proposed rules are not applied. Look at each and set "
            "accepted = true, or remove it."
        )
        yield _notice(rules.proposed, msg)
    if vocabulary is not None:
        yield from _unknown(rules, final, vocabulary)


def tags_of(rule: Implication | Exclusive) -> tuple[str, ...]:
    """Return every tag that a rule names, guards included."""
    if isinstance(rule, Implication):
        return (*rule.tags, *rule.implies)
    return (*rule.tags, *rule.when, *rule.unless)


def _chains(rules: Rules, final: Mapping[str, str]) -> Iterator[Fault]:
    for alias in rules.aliases:
        if alias.new in final and alias.old in final:
            msg = (
                f"Alias {alias.old!r} -> {alias.new!r} is followed on to {final[alias.old]!r}. "
                f"Write {final[alias.old]!r} at once."
            )
            yield _notice((alias.old,), msg)


def _unknown(rules: Rules, final: Mapping[str, str], vocabulary: Vocabulary) -> Iterator[Fault]:
    known = set(vocabulary.tags) | {final.get(tag, tag) for tag in vocabulary.tags}
    named_by: dict[str, list[str]] = {}
    for rule in rules.rules:
        for tag in tags_of(rule):
            if final.get(tag, tag) not in known:
                named_by.setdefault(tag, []).append(rule.id)
    plain = []
    for place, (tag, ids) in enumerate(sorted(named_by.items())):
        looked_up = vocabulary.tags if place < _SUGGESTED else ()
        close = get_close_matches(tag, looked_up, n=1, cutoff=0.9)
        if close:
            msg = f"The vocabulary has no {tag!r}, named by {ids[:3]}. Is {close[0]!r} meant?"
            yield _notice(tuple(ids), msg)
        else:
            plain.append(tag)
    if plain:
        more = f" and {len(plain) - _NAMED} more" if len(plain) > _NAMED else ""
        msg = (
            f"The vocabulary lacks {len(plain)} tags that rules name: {', '.join(plain[:_NAMED])}"
            f"{more}. What the rules say of them is passed over."
        )
        yield _notice(tuple(dict.fromkeys(i for tag in plain for i in named_by[tag])), msg)


def _notice(ids: tuple[str, ...], message: str) -> Fault:
    return Fault(severity="notice", rules=ids, message=message)
