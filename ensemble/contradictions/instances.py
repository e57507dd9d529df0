"""The exclusions that could bite in some images, and the tags that play a part in each."""

import numpy as np

from tagstack.ensemble.contradictions.evidence import Bools, Evidence, Ints, Lists, RuleLists
from tagstack.ensemble.contradictions.nodes import Nodes


class Active:
    """The exclusions that could bite: one instance per (image, rule), and the tags in its parts.

    ``instance`` and ``node`` are parallel; ``member``, ``when`` and ``unless`` say which part.
    """

    def __init__(self, rule: Ints, instance: Ints, node: Ints, part: Ints) -> None:
        self.rule = rule
        self.instance, self.node, self.part = instance, node, part

    @property
    def unless(self) -> Bools:
        """Which entries turn their exclusion off. Shape (n_entries,)."""
        return np.asarray(self.part == 2)

    def bound_nodes(self, n_nodes: int) -> Bools:
        """Return the nodes that are members or conditions of an instance. Shape (n_nodes,)."""
        found = np.zeros(n_nodes, bool)
        found[self.node[~self.unless]] = True
        return found

    def instance_any(self, entries: Bools) -> Bools:
        """Return the instances with any of the marked entries. Shape (n_instances,)."""
        found = np.zeros(len(self.rule), bool)
        found[self.instance[entries]] = True
        return found

    def without(self, dropped: Bools) -> "Active":
        """Return the instances that are not marked, renumbered."""
        number = np.cumsum(~dropped) - 1
        stays = ~dropped[self.instance]
        return Active(
            self.rule[~dropped], number[self.instance[stays]], self.node[stays], self.part[stays]
        )


def active_exclusions(rules: RuleLists, evidence: Evidence, nodes: Nodes) -> Active:
    """Return the exclusions that the nodes could break, or that ask for one of them."""
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
    return Active(rule_of[bites], where, which, part)


def _entries(lists: Lists, nodes: Nodes, instances: Ints, n_rules: int) -> tuple[Ints, Ints]:
    """Return (instance, node) for every node that plays this part in one of the instances."""
    node, rule = lists.expand(nodes.tag)
    key = nodes.image[node] * n_rules + rule
    place = np.searchsorted(instances, key)
    there = place < len(instances)
    there[there] = instances[place[there]] == key[there]
    return place[there], node[there]


def _conditions_met(rules: RuleLists, nodes: Nodes, instances: Ints) -> Bools:
    """Return the instances of which every ``when`` tag is a node."""
    n_rules = len(rules.exclusives)
    where, _ = _entries(rules.when, nodes, instances, n_rules)
    present = np.bincount(where, minlength=len(instances))
    return np.asarray(present == rules.n_when[instances % max(n_rules, 1)])
