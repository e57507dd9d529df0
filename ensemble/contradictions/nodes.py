"""The tags of some images that could be kept: what passes, what that implies, what may fill in."""

import numpy as np

from tagstack.ensemble.contradictions.evidence import Bools, Evidence, Ints, RuleLists, merged
from tagstack.ensemble.rules.bound_rules import BoundExclusive


class Nodes:
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
        """Tag of each node. Shape (n_nodes,)."""
        return self.key % self.n_tags

    @property
    def image(self) -> Ints:
        """Image of each node. Shape (n_nodes,)."""
        return self.key // self.n_tags

    def touching(self, bad: Bools) -> Bools:
        """Return the nodes that are bad or imply a bad one. Shape (n_nodes,)."""
        found = bad.copy()
        found[self.child[bad[self.parent]]] = True
        return found

    def implied_by(self, kept: Bools) -> Bools:
        """Return the nodes that are kept or implied by a kept one. Shape (n_nodes,)."""
        found = kept.copy()
        found[self.parent[kept[self.child]]] = True
        return found


def _fillers(rules: RuleLists, evidence: Evidence, nodes: Nodes, choices: Ints) -> Ints:
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
