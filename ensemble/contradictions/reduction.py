"""From probabilities to the few small problems that need a search, for many images at once.

Nothing is lost on the way: a tag that is neither tagged for its own sake nor implied by such a tag
is out; a tag that neither costs anything nor touches a rule that could bite is in; what is left
falls apart into components that rules connect within an image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from tagstack.ensemble.contradictions.evidence import (
    Bools,
    Evidence,
    Ints,
    Lists,
    RuleLists,
    merged,
)
from tagstack.ensemble.contradictions.search import Component, Limit, Solution
from tagstack.ensemble.rules.binding import BoundExclusive


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A component with where its tags came from."""

    component: Component
    key: tuple[int, ...]

    @property
    def choices(self) -> list[int]:
        """Keys of the tags that may be kept for their own sake."""
        return [key for i, key in enumerate(self.key) if self.component.choices >> i & 1]


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """What is certain, and what must be searched.

    Parameters
    ----------
    settled : array of int64
        Keys of the choices that stay in any case, or that won a plain at-most-one group.
    problems : tuple of Problem
        In the order of their images.
    """

    settled: Ints
    problems: tuple[Problem, ...]


def reduce_images(rules: RuleLists, evidence: Evidence, *, shortcut: bool = True) -> Reduction:
    """Return the searches that decide some images.

    Parameters
    ----------
    rules : RuleLists
    evidence : Evidence
    shortcut : bool
        Decide plain groups (no guard, no implication, hard) here; without, they are problems too.
    """
    nodes = _Nodes(rules, evidence)
    active = _active(rules, evidence, nodes)
    unsafe = nodes.touching(nodes.weight < 0)
    unsafe |= nodes.touching(active.bound_nodes(len(nodes.key)))
    sure = nodes.implied_by(nodes.choice & ~unsafe)
    active = active.without(active.instance_any(active.unless & sure[active.node]))
    bad = nodes.weight < 0
    bad[active.node] = True
    unsafe = nodes.touching(bad)
    settled = nodes.key[nodes.choice & ~unsafe]
    parts = _Parts(nodes, active, unsafe)
    if shortcut:
        won, parts = parts.plain_groups(rules)
        settled = np.concatenate([settled, won])
    return Reduction(settled=settled, problems=parts.problems(rules))


class _Nodes:
    """Every (image, tag) that could be kept, with what it implies; keys ascending."""

    def __init__(self, rules: RuleLists, evidence: Evidence) -> None:
        self.n_tags = rules.n_tags
        choices = merged(evidence.tagged(), np.array(evidence.offered, np.int64))
        self.key = self._closed(rules, choices)
        for _ in range(int(rules.least.sum())):
            extra = _fillers(rules, evidence, self, choices)
            grown = merged(choices, extra)
            if len(grown) == len(choices):
                break
            choices = grown
            self.key = self._closed(rules, choices)
        self.choice = np.isin(self.key, choices, assume_unique=True)
        self.weight = evidence.weight_at(self.key)
        self.tagged = evidence.tagged_at(self.key)
        self.child, above = rules.ancestors.expand(self.tag)
        self.parent = np.searchsorted(self.key, self.image[self.child] * self.n_tags + above)

    def _closed(self, rules: RuleLists, choices: Ints) -> Ints:
        source, above = rules.ancestors.expand(choices % self.n_tags)
        return merged(choices, (choices // self.n_tags)[source] * self.n_tags + above)

    @property
    def tag(self) -> Ints:
        return self.key % self.n_tags

    @property
    def image(self) -> Ints:
        return self.key // self.n_tags

    def touching(self, bad: Bools) -> Bools:
        """Return the nodes that are bad or imply a bad one."""
        found = bad.copy()
        found[self.child[bad[self.parent]]] = True
        return found

    def implied_by(self, kept: Bools) -> Bools:
        """Return the nodes that are kept or implied by a kept one."""
        found = kept.copy()
        found[self.parent[kept[self.child]]] = True
        return found


class _Active:
    """The exclusions that could bite: one instance per (image, rule), and the tags in its parts.

    ``instance`` and ``node`` are parallel; ``member``, ``when`` and ``unless`` say which part.
    """

    def __init__(self, rule: Ints, instance: Ints, node: Ints, part: Ints) -> None:
        self.rule = rule
        self.instance, self.node, self.part = instance, node, part

    @property
    def unless(self) -> Bools:
        return np.asarray(self.part == 2)

    def bound_nodes(self, n_nodes: int) -> Bools:
        """Return the nodes that are members or conditions of an instance."""
        found = np.zeros(n_nodes, bool)
        found[self.node[~self.unless]] = True
        return found

    def instance_any(self, entries: Bools) -> Bools:
        """Return the instances with any of the marked entries."""
        found = np.zeros(len(self.rule), bool)
        found[self.instance[entries]] = True
        return found

    def without(self, dropped: Bools) -> "_Active":
        """Return the instances that are not marked, renumbered."""
        number = np.cumsum(~dropped) - 1
        stays = ~dropped[self.instance]
        return _Active(
            self.rule[~dropped], number[self.instance[stays]], self.node[stays], self.part[stays]
        )


def _active(rules: RuleLists, evidence: Evidence, nodes: _Nodes) -> _Active:
    n_rules = len(rules.exclusives)
    node, rule = rules.member.expand(nodes.tag)
    asking = np.arange(evidence.n_images)[:, None] * n_rules + np.array(evidence.asking, np.int64)
    found = np.concatenate([nodes.image[node] * n_rules + rule, asking.ravel()])
    instances, first = np.unique(found, return_inverse=True)
    first = first[: len(node)]
    held = np.bincount(first, minlength=len(instances))
    lone = np.zeros(len(instances), bool)
    lone[first[(rules.lone[nodes.tag] & nodes.tagged)[node]]] = True
    rule_of = instances % max(n_rules, 1)
    bites = (held > 1) | (rules.least[rule_of] & ~lone)
    bites &= _conditions_met(rules, nodes, instances)
    instances = instances[bites]
    parts = [
        _entries(lists, nodes, instances, n_rules)
        for lists in (rules.member, rules.when, rules.unless)
    ]
    part = np.repeat(np.arange(3), [len(where) for where, _ in parts])
    where, which = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return _Active(rule_of[bites], where, which, part)


def _entries(lists: Lists, nodes: _Nodes, instances: Ints, n_rules: int) -> tuple[Ints, Ints]:
    """Return (instance, node) for every node that plays this part in one of the instances."""
    node, rule = lists.expand(nodes.tag)
    key = nodes.image[node] * n_rules + rule
    place = np.searchsorted(instances, key)
    there = place < len(instances)
    there[there] = instances[place[there]] == key[there]
    return place[there], node[there]


def _conditions_met(rules: RuleLists, nodes: _Nodes, instances: Ints) -> Bools:
    """Return the instances of which every ``when`` tag is a node."""
    n_rules = len(rules.exclusives)
    where, _ = _entries(rules.when, nodes, instances, n_rules)
    present = np.bincount(where, minlength=len(instances))
    return np.asarray(present == rules.n_when[instances % max(n_rules, 1)])


def _fillers(rules: RuleLists, evidence: Evidence, nodes: _Nodes, choices: Ints) -> Ints:
    """Return the members that an at-least-one rule may have to fall back on, tagged or not."""
    found = [np.zeros(0, np.int64)]
    for number in np.flatnonzero(rules.least):
        rule = rules.exclusives[number]
        images = np.arange(evidence.n_images)
        for tag in rule.when:
            images = images[np.isin(images * rules.n_tags + tag, nodes.key)]
        if not rules.switch[number]:
            images = _unmet(rules, choices, rule, images)
        usable = [tag for tag in rule.tags if np.isfinite(evidence.threshold[tag])]
        keys = (images[:, None] * rules.n_tags + np.array(usable, np.int64)).ravel()
        found.append(keys[np.isfinite(evidence.proba_at(keys))])
    return np.concatenate(found)


def _unmet(rules: RuleLists, choices: Ints, rule: BoundExclusive, images: Ints) -> Ints:
    """Return the images on which an at-least-one rule might go unmet."""
    lone = np.array([tag for tag in rule.tags if rules.lone[tag]], np.int64)
    met = np.isin(images[:, None] * rules.n_tags + lone, choices).any(axis=1)
    return images[~met]


class _Parts:
    """Unsafe nodes and active instances, sorted into components."""

    def __init__(self, nodes: _Nodes, active: _Active, unsafe: Bools) -> None:
        number = np.cumsum(unsafe) - 1
        inner = unsafe[nodes.child] & unsafe[nodes.parent]
        child, parent = number[nodes.child[inner]], number[nodes.parent[inner]]
        n_nodes, n_instances = int(unsafe.sum()), len(active.rule)
        label = _labels(
            np.concatenate([child, number[active.node]]),
            np.concatenate([parent, n_nodes + active.instance]),
            n_nodes + n_instances,
        )
        self.key, self.weight = nodes.key[unsafe], nodes.weight[unsafe]
        self.choice, self.label = nodes.choice[unsafe], label[:n_nodes]
        self.child, self.parent = child, parent
        self.rule, self.rule_label = active.rule, label[n_nodes:]
        self.instance, self.node, self.part = active.instance, number[active.node], active.part
        self.wanted = np.ones(int(label.max(initial=-1)) + 1, bool)

    def plain_groups(self, rules: RuleLists) -> tuple[Ints, "_Parts"]:
        """Return the winners of components that are one unguarded hard group, and the rest."""
        n_labels = len(self.wanted)
        plain = np.bincount(self.rule_label, minlength=n_labels) == 1
        for troubled in (
            self.rule_label[np.isfinite(rules.penalty[self.rule])],
            self.rule_label[self.instance_guarded],
            self.label[self.child],
            self.label[(self.weight < 0) | ~self.choice],
        ):
            plain[troubled] = False
        order = np.lexsort((self.key, -self.weight, self.label))
        labels, first = np.unique(self.label[order], return_index=True)
        won = self.key[order[first]][plain[labels]]
        self.wanted &= ~plain
        return won, self

    @property
    def instance_guarded(self) -> Bools:
        """Which instances have a guard among the unsafe nodes."""
        found = np.zeros(len(self.rule), bool)
        found[self.instance[self.part > 0]] = True
        return found

    def problems(self, rules: RuleLists) -> tuple[Problem, ...]:
        """Return the components that are still wanted, in the order of their first tags."""
        order = np.argsort(self.label, kind="stable")
        order = order[self.wanted[self.label[order]]]
        labels, starts, sizes = np.unique(self.label[order], return_index=True, return_counts=True)
        local = np.zeros(len(self.key), np.int64)
        local[order] = np.arange(len(order)) - np.repeat(starts, sizes)
        above = self._above(local)
        limits = self._limits(rules, local)
        found = []
        for label, start, size in zip(labels.tolist(), starts, sizes, strict=True):
            members = order[start : start + size]
            problem = self._problem(members, above, limits.get(label, ()))
            if problem.component.choices:
                found.append(problem)
        return tuple(sorted(found, key=lambda problem: problem.key[0]))

    def _problem(self, members: Ints, above: list[int], limits: Sequence[Limit]) -> Problem:
        choices = sum(1 << i for i, choice in enumerate(self.choice[members].tolist()) if choice)
        component = Component(
            weight=tuple(self.weight[members].tolist()),
            choices=choices,
            above=tuple(above[i] for i in members.tolist()),
            limits=tuple(limits),
        )
        return Problem(component=component, key=tuple(self.key[members].tolist()))

    def _above(self, local: Ints) -> list[int]:
        masks = [1 << place for place in local.tolist()]
        for child, parent in zip(self.child.tolist(), local[self.parent].tolist(), strict=True):
            masks[child] |= 1 << parent
        return masks

    def _limits(self, rules: RuleLists, local: Ints) -> dict[int, list[Limit]]:
        masks = [[0, 0, 0] for _ in range(len(self.rule))]
        places = local[self.node].tolist()
        entries = zip(self.instance.tolist(), self.part.tolist(), places, strict=True)
        for instance, part, place in entries:
            masks[instance][part] |= 1 << place
        limits: dict[int, list[Limit]] = {}
        penalty, least = rules.penalty.tolist(), rules.least.tolist()
        rows = zip(self.rule_label.tolist(), self.rule.tolist(), masks, strict=True)
        for label, rule, (members, when, unless) in rows:
            limit = Limit(members, when, unless, penalty[rule], least[rule])
            limits.setdefault(label, []).append(limit)
        return limits


def kept_keys(problem: Problem, solution: Solution) -> list[int]:
    """Return the keys of a problem's tags that a solution keeps."""
    return [key for i, key in enumerate(problem.key) if solution.kept >> i & 1]


def _labels(one: Ints, other: Ints, size: int) -> Ints:
    ones = np.ones(len(one), np.int8)
    graph = sparse.coo_array((ones, (one, other)), shape=(size, size))
    _, label = connected_components(graph, directed=False)
    return np.asarray(label, np.int64)
