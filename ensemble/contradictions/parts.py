"""What is not certain, fallen apart into the components that rules connect within an image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tagstack.ensemble.contradictions.evidence import Bools, Ints, RuleLists
from tagstack.ensemble.contradictions.instances import Active
from tagstack.ensemble.contradictions.nodes import Nodes
from tagstack.ensemble.contradictions.search import Component, Limit, Solution


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A component with where its tags came from."""

    component: Component
    key: tuple[int, ...]

    @property
    def choices(self) -> list[int]:
        """Keys of the tags that may be kept for their own sake."""
        return [key for i, key in enumerate(self.key) if self.component.choices >> i & 1]


class Parts:
    """Unsafe nodes and active instances, sorted into components."""

    def __init__(self, nodes: Nodes, active: Active, unsafe: Bools) -> None:
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

    def plain_groups(self, rules: RuleLists) -> tuple[Ints, "Parts"]:
        """Return the winners of components that are one unguarded hard group, and the rest.

        Winners are keys, shape (n_won,).
        """
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
        """Which instances have a guard among the unsafe nodes. Shape (n_instances,)."""
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


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What an engine decided on some images.

    Parameters
    ----------
    keys : array of int64
        ``image * n_tags + tag`` of the tags kept; what they imply need not be among them.
    inexact : array of int64
        Images on which the search budget ran out.
    large : array of int64
        Images that the engine leaves to the Python engine.
    """

    keys: Ints
    inexact: Ints
    large: Ints


def kept_keys(problem: Problem, solution: Solution) -> list[int]:
    """Return the keys of a problem's tags that a solution keeps."""
    return [key for i, key in enumerate(problem.key) if solution.kept >> i & 1]


def _labels(one: Ints, other: Ints, size: int) -> Ints:
    """Return which component each of ``size`` nodes is in, numbered as their first nodes are.

    Every node takes the lowest number that it is joined to until nothing changes. On one image's
    few nodes this takes a fifth of what scipy does, whose matrices cost more than the search.
    """
    label, ends = np.arange(size), np.concatenate([one, other])
    while True:
        low = np.minimum(label[one], label[other])
        lower = label.copy()
        np.minimum.at(lower, ends, np.concatenate([low, low]))
        lower = lower[lower]
        if np.array_equal(lower, label):
            break
        label = lower
    return np.unique(label, return_inverse=True)[1].astype(np.int64)
