"""The arrays that the compiled kernels take and fill."""

from typing import NamedTuple

import numpy as np

from tagstack.ensemble.contradictions.evidence import Bools, Floats, Ints, RuleLists

_TAGS = 1 << 18  # room for a batch of components, beside that for one whole image


class RuleArrays(NamedTuple):
    """Rules as lists back to back: item ``i`` owns ``values[start[i]:start[i + 1]]``."""

    above_start: Ints  # of each tag, what it implies
    above: Ints
    group_start: Ints  # of each tag, the exclusions that it is a member of
    group: Ints
    member_start: Ints  # of each exclusion, its members and guards
    member: Ints
    when_start: Ints
    when: Ints
    unless_start: Ints
    unless: Ints
    penalty: Floats
    least: Bools
    asking: Ints  # the exclusions that are at-least-one rules
    switch: Bools
    lone: Bools  # of each tag


class ImageArrays(NamedTuple):
    """What keeping each tag of some images gains; NaN where nothing is known."""

    start: Ints  # shape (n_images + 1,)
    tag: Ints
    weight: Floats
    base: Floats  # shape (n_tags,), of the pairs not listed
    flooded: Ints  # tags of which the base reaches the threshold


class Components(NamedTuple):
    """Room for components, back to back; ``sizes`` says how much of it is used.

    ``sizes`` holds the numbers of components, tags, limits, settled keys and images left out.
    """

    sizes: Ints
    start: Ints  # of each component, its first tag and its first limit
    limit_start: Ints
    choices: Ints
    key: Ints  # of each tag: image * n_tags + tag
    weight: Floats
    above: Ints
    rule: Ints  # of each limit: the number of its exclusion, and three masks
    members: Ints
    when: Ints
    unless: Ints
    settled: Ints  # keys of the choices that stay in any case
    large: Ints  # images left to the Python engine


class Work(NamedTuple):
    """Scratch of one image; what is kept per tag or exclusion is cleared after each."""

    pair: Ints  # of each tag, where it was listed last
    node: Ints  # of each tag, its place among the nodes; -1 for none
    chosen: Bools  # of each tag
    held: Ints  # of each exclusion, its members among the nodes
    met: Bools  # of each exclusion, whether a lone member is tagged
    rule: Ints  # the exclusions that are active
    place: Ints  # of each exclusion, its place among those; -1 for none
    anchor: Ints  # of each active exclusion, a node that is its member, and where its limit is
    limit: Ints
    tag: Ints  # of each node
    weight: Floats
    bad: Bools
    unsafe: Bools
    sure: Bools
    root: Ints
    part: Ints  # of each node, the number of its component
    local: Ints  # of each node, its bit
    size: Ints  # of each component
    limits: Ints


def rule_arrays(lists: RuleLists) -> RuleArrays:
    """Return rules as the kernels take them."""
    member, when, unless = (
        _back_to_back([getattr(rule, part) for rule in lists.exclusives])
        for part in ("tags", "when", "unless")
    )
    return RuleArrays(
        above_start=lists.ancestors.indptr,
        above=lists.ancestors.values,
        group_start=lists.member.indptr,
        group=lists.member.values,
        member_start=member[0],
        member=member[1],
        when_start=when[0],
        when=when[1],
        unless_start=unless[0],
        unless=unless[1],
        penalty=lists.penalty,
        least=lists.least,
        asking=np.flatnonzero(lists.least),
        switch=lists.switch,
        lone=lists.lone,
    )


def workspace(n_tags: int, n_rules: int) -> Work:
    """Return scratch for a call about some images."""
    return Work(
        pair=np.full(n_tags, -1, np.int64),
        node=np.full(n_tags, -1, np.int64),
        chosen=np.zeros(n_tags, np.bool_),
        held=np.zeros(n_rules, np.int64),
        met=np.zeros(n_rules, np.bool_),
        rule=np.empty(n_rules, np.int64),
        place=np.full(n_rules, -1, np.int64),
        anchor=np.empty(n_rules, np.int64),
        limit=np.empty(n_rules, np.int64),
        tag=np.empty(n_tags, np.int64),
        weight=np.empty(n_tags, np.float64),
        bad=np.empty(n_tags, np.bool_),
        unsafe=np.empty(n_tags, np.bool_),
        sure=np.empty(n_tags, np.bool_),
        root=np.empty(n_tags, np.int64),
        part=np.empty(n_tags, np.int64),
        local=np.empty(n_tags, np.int64),
        size=np.empty(n_tags, np.int64),
        limits=np.empty(n_tags, np.int64),
    )


def room(rules: RuleArrays) -> Components:
    """Return empty room for a batch of components and for one image more, however large."""
    tags, limits = _TAGS + len(rules.lone), _TAGS + len(rules.least)
    return Components(
        sizes=np.zeros(5, np.int64),
        start=np.zeros(tags + 1, np.int64),
        limit_start=np.zeros(tags + 1, np.int64),
        choices=np.empty(tags, np.int64),
        key=np.empty(tags, np.int64),
        weight=np.empty(tags, np.float64),
        above=np.empty(tags, np.int64),
        rule=np.empty(limits, np.int64),
        members=np.empty(limits, np.int64),
        when=np.empty(limits, np.int64),
        unless=np.empty(limits, np.int64),
        settled=np.empty(tags, np.int64),
        large=np.empty(tags, np.int64),
    )


def _back_to_back(items: list[tuple[int, ...]]) -> tuple[Ints, Ints]:
    start = np.concatenate([[0], np.cumsum([len(item) for item in items])]).astype(np.int64)
    return start, np.array([value for item in items for value in item], np.int64)
