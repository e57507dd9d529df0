"""Rules tied to one vocabulary: positions instead of names, implications closed.

Tags that a vocabulary lacks drop out of the rules; what they passed on stays: with
``a -> b -> c`` and no ``b`` in the vocabulary, ``a`` still implies ``c``.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.ensemble.rules.bound_rules import BoundExclusive, BoundRules
from tagstack.ensemble.rules.hygiene import (
    Parents,
    ancestors_by_tag,
    canonical_names,
    check_no_dead_tags,
    parents_by_child,
)
from tagstack.ensemble.rules.rule import Alias, AnyRules, Exclusive, Implication


def bind(rules: AnyRules, vocabulary: Vocabulary) -> BoundRules:
    """Return rules as positions of a vocabulary, after checking that they make sense.

    Raises
    ------
    TagstackError
        If aliases or implications form a loop, or a tag is excluded by what it implies.
    """
    final = canonical_names(rules.aliases)
    parents = parents_by_child((rule for rule in rules.implications if rule.hard), final)
    ancestors = ancestors_by_tag(parents)
    check_no_dead_tags(rules.exclusives, ancestors, final)
    position = _positions(vocabulary, final)
    edges = _known_edges(parents, position, {rule.id: rule.source for rule in rules.implications})
    exclusives = (_bound(rule, position, final) for rule in rules.exclusives)
    kept = (
        *(rule for rule in exclusives if rule is not None),
        *_soft_implications(rules, position, final, ancestors),
    )
    said = {rule for rule, _ in edges.values()} | {rule.id for rule in kept}
    ids = [rule.id for rule in rules.implications] + [rule.id for rule in rules.exclusives]
    return BoundRules(
        vocabulary=vocabulary,
        parents=_pairs_matrix(edges, len(vocabulary)),
        ancestors=_pairs_matrix(_known_pairs(ancestors, position), len(vocabulary)),
        edge_rule=edges,
        exclusives=kept,
        unknown=tuple(sorted(_names(rules.implications, rules.exclusives, final) - set(position))),
        dropped=tuple(name for name in ids if name not in said),
    )


def within(
    rules: AnyRules, vocabulary: Vocabulary
) -> tuple[tuple[Implication, ...], tuple[Exclusive, ...], tuple[Alias, ...]]:
    """Return the rules that have anything to say about a vocabulary, and its aliases.

    An implication between unknown tags stays where it lies on a way between known ones.

    Raises
    ------
    TagstackError
        As :func:`bind`.
    """
    final = canonical_names(rules.aliases)
    known = set(_positions(vocabulary, final))
    parents = parents_by_child((rule for rule in rules.implications if rule.hard), final)
    ancestors = ancestors_by_tag(parents)
    above = known.union(*(ancestors.get(tag, ()) for tag in known))

    def leads(rule: Implication) -> bool:
        edges = ((final.get(tag, tag), final.get(parent, parent)) for tag, parent in rule.edges)
        return any(
            child in above and (parent in known or not known.isdisjoint(ancestors.get(parent, ())))
            for child, parent in edges
        )

    def about(rule: Exclusive) -> bool:
        return not known.isdisjoint(final.get(tag, tag) for tag in rule.tags)

    implications = tuple(rule for rule in rules.implications if leads(rule))
    exclusives = tuple(rule for rule in rules.exclusives if about(rule))
    named = known | _names(implications, exclusives, final)
    return (
        implications,
        exclusives,
        tuple(alias for alias in rules.aliases if final[alias.old] in named),
    )


def _names(
    implications: Iterable[Implication], exclusives: Iterable[Exclusive], final: Mapping[str, str]
) -> set[str]:
    names = {tag for rule in implications for tag in (*rule.tags, *rule.implies)}
    names |= {tag for rule in exclusives for tag in (*rule.tags, *rule.when, *rule.unless)}
    return {final.get(name, name) for name in names}


def _positions(vocabulary: Vocabulary, final: Mapping[str, str]) -> dict[str, int]:
    """Return the position of each final name; a tag of that very name goes before its aliases."""
    position: dict[str, int] = {}
    for i, tag in enumerate(vocabulary.tags):
        position.setdefault(final.get(tag, tag), i)
    return position | {tag: i for i, tag in enumerate(vocabulary.tags) if tag not in final}


def _known_edges(
    parents: Parents, position: Mapping[str, int], source: Mapping[str, str]
) -> dict[tuple[int, int], tuple[str, str]]:
    edges: dict[tuple[int, int], tuple[str, str]] = {}
    for child in parents:
        if child in position:
            for parent, rule in _nearest_known(child, parents, position):
                edges.setdefault((position[child], position[parent]), (rule, source[rule]))
    return edges


def _nearest_known(
    child: str, parents: Parents, position: Mapping[str, int]
) -> Iterable[tuple[str, str]]:
    """Yield each nearest known ancestor with the rule by which ``child`` leads to it."""
    for parent, rule in parents.get(child, {}).items():
        if parent in position:
            yield parent, rule
        else:
            for beyond, _ in _nearest_known(parent, parents, position):
                yield beyond, rule


def _known_pairs(
    ancestors: Mapping[str, frozenset[str]], position: Mapping[str, int]
) -> list[tuple[int, int]]:
    return [
        (position[tag], position[above])
        for tag, over in ancestors.items()
        if tag in position
        for above in over
        if above in position
    ]


def _pairs_matrix(pairs: Iterable[tuple[int, int]], n_tags: int) -> sparse.csr_array:
    index = np.array(list(pairs), dtype=np.int32).reshape(-1, 2)
    ones = np.ones(len(index), bool)
    matrix = sparse.csr_array((ones, (index[:, 0], index[:, 1])), shape=(n_tags, n_tags))
    matrix.sort_indices()
    return matrix


def _bound(
    rule: Exclusive, position: Mapping[str, int], final: Mapping[str, str]
) -> BoundExclusive | None:
    """Return the rule over known tags, or None where it cannot say anything about them."""
    tags, when, unless = (
        {final.get(tag, tag) for tag in names} for names in (rule.tags, rule.when, rule.unless)
    )
    # Never a set of all positions: a rule would then cost as much as the vocabulary has tags.
    known, missing = (
        {tag for tag in tags if tag in position},
        [t for t in when if t not in position],
    )
    # A missing member might be the one that holds, so "at least one" is no longer known.
    at_least_one = rule.at_least_one and known == tags
    if missing or len(known) < (1 if at_least_one else 2):
        return None
    return BoundExclusive(
        id=rule.id,
        source=rule.source,
        tags=_sorted_positions(known, position),
        when=_sorted_positions(when, position),
        unless=_sorted_positions({tag for tag in unless if tag in position}, position),
        at_least_one=at_least_one,
        penalty=rule.penalty,
    )


def _soft_implications(
    rules: AnyRules,
    position: Mapping[str, int],
    final: Mapping[str, str],
    ancestors: Mapping[str, frozenset[str]],
) -> Iterable[BoundExclusive]:
    """Yield the soft implications between known tags that no hard one contains."""
    for rule in rules.implications:
        for names in rule.edges if not rule.hard else ():
            child, parent = (final.get(name, name) for name in names)
            known = child in position and parent in position
            if known and child != parent and parent not in ancestors.get(child, ()):
                yield BoundExclusive(
                    id=rule.id,
                    source=rule.source,
                    tags=(position[parent],),
                    when=(position[child],),
                    unless=(),
                    at_least_one=True,
                    penalty=rule.penalty,
                )


def _sorted_positions(names: set[str], position: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sorted(position[name] for name in names if name in position))
