"""From probabilities to the few small problems that need a search, for many images at once.

Nothing is lost on the way: a tag that is neither tagged for its own sake nor implied by such a tag
is out; a tag that neither costs anything nor touches a rule that could bite is in; what is left
falls apart into components that rules connect within an image.
"""

from dataclasses import dataclass

import numpy as np

from tagstack.ensemble.contradictions.evidence import Evidence, Ints, RuleLists
from tagstack.ensemble.contradictions.instances import active_exclusions
from tagstack.ensemble.contradictions.nodes import Nodes
from tagstack.ensemble.contradictions.parts import Parts, Problem


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
    nodes = Nodes(rules, evidence)
    active = active_exclusions(rules, evidence, nodes)
    unsafe = nodes.touching(nodes.weight < 0)
    unsafe |= nodes.touching(active.bound_nodes(len(nodes.key)))
    sure = nodes.implied_by(nodes.choice & ~unsafe)
    active = active.without(active.instance_any(active.unless & sure[active.node]))
    bad = nodes.weight < 0
    bad[active.node] = True
    unsafe = nodes.touching(bad)
    settled = nodes.key[nodes.choice & ~unsafe]
    if not unsafe.any():  # as on most images
        return Reduction(settled=settled, problems=())
    parts = Parts(nodes, active, unsafe)
    if shortcut:
        won, parts = parts.plain_groups(rules)
        settled = np.concatenate([settled, won])
    return Reduction(settled=settled, problems=parts.problems(rules))
