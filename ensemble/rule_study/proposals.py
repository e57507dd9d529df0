"""Mined relations as soft rules for a person to accept, in a file that the loader reads.

What known rules already say, or what follows from other proposals, is not proposed again. Tags that
all exclude each other become one group. Nothing applies before someone writes ``accepted = true``.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from tagstack.configs.ruling import RuleSettings
from tagstack.ensemble.rule_study.labelled import LabelledTags
from tagstack.ensemble.rule_study.mining import Relation, mine_relations
from tagstack.ensemble.rules.bound_rules import BoundRules
from tagstack.ensemble.rules.rule import Exclusive, Implication
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.ensemble.rules.toml_text import toml_from_rule

Pair = tuple[int, int]
Above = Mapping[int, frozenset[int]]


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """Rules that labels are evidence for.

    Parameters
    ----------
    rules : Rules
        Soft, with the evidence as their sources.
    n_exclusions, n_implications : int
        Relations found, before those that say nothing new were left out.
    """

    rules: Rules
    n_exclusions: int
    n_implications: int

    def to_toml(self) -> str:
        """Return the review file: every rule with ``accepted = false``."""
        blocks = [toml_from_rule(rule, accepted=False) for rule in self.rules.rules]
        return "\n".join([_HEADER, *blocks])


_HEADER = """\
# Rules proposed from labels; none applies yet. Look at each, ask whether it holds by the meaning of
# the tags or is a habit of these images alone, and set `accepted = true` or remove it. Then give
# this file with --rules, after the set that it adds to, and audit it on labels that it was not
# mined from. A tag that nobody wrote down counts here as absent.
"""


def propose_rules(labelled: LabelledTags, known: Rules, settings: RuleSettings) -> Proposals:
    """Return soft rules for what labels show and the known rules do not say.

    Parameters
    ----------
    labelled : LabelledTags
    known : Rules
    settings : RuleSettings

    Raises
    ------
    TagstackError
        If the known rules contradict each other.
    """
    bound = known.bind(labelled.vocabulary)
    shunned, entailed = mine_relations(labelled, settings)
    above = _ancestors(bound)
    implications = _new_implications(entailed, above)
    wider = _closed(above, (relation.tags for relation in implications))
    exclusions = _new_exclusions(shunned, bound, wider)
    writer = _Writer(labelled, settings)
    rules = Rules(
        implications=tuple(writer.implication(relation) for relation in implications),
        exclusives=tuple(writer.exclusions(exclusions)),
    )
    return Proposals(rules=rules, n_exclusions=len(shunned), n_implications=len(entailed))


def _ancestors(bound: BoundRules) -> dict[int, frozenset[int]]:
    """Return what each tag implies by the known rules, soft ones included."""
    matrix = bound.ancestors
    above = {
        tag: frozenset(matrix.indices[matrix.indptr[tag] : matrix.indptr[tag + 1]].tolist())
        for tag in range(bound.n_tags)
    }
    soft = (rule for rule in bound.exclusives if len(rule.tags) == 1)
    return _closed(above, ((rule.when[0], rule.tags[0]) for rule in soft))


def _closed(above: Above, more: Iterable[Pair]) -> dict[int, frozenset[int]]:
    """Return ``above`` with more implications, closed again."""
    closed = {tag: set(over) for tag, over in above.items()}
    for child, parent in more:
        gained = {parent, *closed[parent]}
        for tag, over in closed.items():
            if tag == child or child in over:
                over |= gained
    return {tag: frozenset(over - {tag}) for tag, over in closed.items()}


def _new_implications(found: Sequence[Relation], above: Above) -> list[Relation]:
    """Return the implications that neither known rules nor a chain of others contain.

    Of two tags that entail each other, only the rarer is said to imply the other.
    """
    rank = {relation.tags: (relation.first, relation.tags) for relation in found}
    kept = [
        relation
        for relation in found
        if relation.tags[1] not in above[relation.tags[0]]
        and rank[relation.tags] <= rank.get(relation.tags[::-1], rank[relation.tags])
    ]
    parents: dict[int, set[int]] = {}
    for relation in kept:
        child, parent = relation.tags
        parents.setdefault(child, set()).add(parent)

    def follows(child: int, parent: int) -> bool:
        between = (parents[child] | above[child]) - {parent}
        return any(parent in parents.get(tag, ()) or parent in above[tag] for tag in between)

    return [relation for relation in kept if not follows(*relation.tags)]


def _new_exclusions(found: Sequence[Relation], bound: BoundRules, above: Above) -> list[Relation]:
    """Return the exclusions that no rule says, nor another one about more general tags.

    One that holds among all images is not repeated for a stratum of them.
    """
    known: dict[Pair, list[frozenset[int]]] = {}
    for rule in bound.exclusives:
        for pair in combinations(rule.tags, 2):
            known.setdefault(pair, []).append(frozenset(rule.when))
    mined = {(relation.tags, _when(relation)) for relation in found}

    def follows(relation: Relation) -> bool:
        one, other = relation.tags
        when = _when(relation)
        for a, b in product((one, *above[one]), (other, *above[other])):
            pair = (min(a, b), max(a, b))
            if any(guards <= when for guards in known.get(pair, ())):
                return True
            if {(pair, frozenset()), (pair, when)} & mined - {(relation.tags, when)}:
                return True
        return False

    return [relation for relation in found if not follows(relation)]


def _when(relation: Relation) -> frozenset[int]:
    return frozenset(() if relation.stratum is None else (relation.stratum,))


class _Writer:
    """Puts relations into words and rules."""

    def __init__(self, labelled: LabelledTags, settings: RuleSettings) -> None:
        self.names = labelled.vocabulary.tags
        self.source = labelled.source
        self.settings = settings

    def implication(self, relation: Relation) -> Implication:
        """Return a soft implication; its penalty is the log-odds that the bound vouches for."""
        child, parent = (self.names[tag] for tag in relation.tags)
        return Implication(
            id=f"mined.{child}->{parent}",
            tags=(child,),
            implies=(parent,),
            source=(
                f"mined from {self.source}: {relation.together} images have both where "
                f"{relation.expected:.0f} were expected, at least {relation.bound:.2%} of those "
                f"with {child} have {parent}, q = {relation.q_value:.1g}"
            ),
            penalty=self._penalty(relation.bound / (1 - relation.bound)),
        )

    def exclusions(self, relations: Sequence[Relation]) -> Iterable[Exclusive]:
        """Yield a soft rule for each group of tags that all exclude each other."""
        for stratum in dict.fromkeys(relation.stratum for relation in relations):
            own = {r.tags: r for r in relations if r.stratum == stratum}
            for number, group in enumerate(_cliques(own)):
                yield self._exclusion(stratum, number, group, own)

    def _exclusion(
        self,
        stratum: int | None,
        number: int,
        group: tuple[int, ...],
        own: Mapping[Pair, Relation],
    ) -> Exclusive:
        pairs = [own[pair] for pair in combinations(group, 2)]
        weakest = max(pairs, key=lambda relation: (relation.bound, relation.tags))
        names = tuple(self.names[tag] for tag in group)
        where = "all" if stratum is None else self.names[stratum]
        least = ", ".join(self.names[tag] for tag in weakest.tags)
        about = f"{len(pairs)} pairs; the weakest, {least}: " if len(pairs) > 1 else ""
        return Exclusive(
            id=f"mined.{where}.{number}.{names[0]}",
            tags=names,
            when=() if stratum is None else (self.names[stratum],),
            source=(
                f"mined from {self.source}: {about}{weakest.together} images have both where "
                f"{weakest.expected:.0f} were expected, at most {weakest.bound:.2%} of that, "
                f"q = {weakest.q_value:.1g}"
            ),
            penalty=self._penalty(1 / weakest.bound),
        )

    def _penalty(self, odds: float) -> float:
        return round(min(math.log(odds), self.settings.mining.max_penalty), 2)


def _cliques(pairs: Iterable[Pair]) -> list[tuple[int, ...]]:
    """Return groups of tags of which every two are a pair, together covering every pair.

    Greedy: each group grows from a pair that is in no group yet, by the tags with most pairs.
    """
    pairs = tuple(pairs)
    beside: dict[int, set[int]] = {}
    for one, other in pairs:
        beside.setdefault(one, set()).add(other)
        beside.setdefault(other, set()).add(one)
    left = set(pairs)
    found = []
    while left:
        group = set(min(left, key=lambda pair: (-min(len(beside[t]) for t in pair), pair)))
        options = set.intersection(*(beside[tag] for tag in group))
        while options:
            tag = min(options, key=lambda t: (-len(beside[t] & options), t))
            group.add(tag)
            options &= beside[tag]
        left -= set(combinations(sorted(group), 2))
        found.append(tuple(sorted(group)))
    return found
