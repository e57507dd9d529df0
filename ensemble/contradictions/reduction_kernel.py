"""The reduction of `reduction` for one image after another, compiled by numba.

It yields the same components. An image with a component that is too large for a mask, or for the
search, is left to the Python engine.
"""

from typing import Any

import numpy as np

from tagstack.base_models.compilation import compiled, compiled_part
from tagstack.ensemble.contradictions.evidence import Ints
from tagstack.ensemble.contradictions.kernel_arrays import Components, ImageArrays, RuleArrays, Work

# What is called with a number that is written out, numba compiles once more for just that.
_NONE: Any = np.int64(0)
_NO: Any = np.bool_(False)
_YES: Any = np.bool_(True)

MASK_BITS = 62
"""Most tags of a component: its masks are signed integers of 64 bits and must stay positive."""


@compiled_part
def _gain(images: ImageArrays, work: Work, first: int, tag: int) -> float:
    """Return what a tag gains in the image whose pairs begin at ``first``; NaN if unknown."""
    pair = work.pair[tag]
    gain: float = images.weight[pair] if pair >= first else images.base[tag]
    return gain


@compiled_part
def _choose(rules: RuleArrays, work: Work, n_nodes: int, tag: int) -> int:
    """Make a tag a choice and a node, with all that it implies; return the number of nodes."""
    work.chosen[tag] = True
    if work.node[tag] < 0:
        work.node[tag] = 0
        work.tag[n_nodes] = tag
        n_nodes += 1
    for i in range(rules.above_start[tag], rules.above_start[tag + 1]):
        above = rules.above[i]
        if work.node[above] < 0:
            work.node[above] = 0
            work.tag[n_nodes] = above
            n_nodes += 1
    return n_nodes


@compiled_part
def _in_need(rules: RuleArrays, work: Work, rule: int) -> bool:
    """Return whether an at-least-one rule could apply and might go unmet."""
    for i in range(rules.when_start[rule], rules.when_start[rule + 1]):
        if work.node[rules.when[i]] < 0:
            return False
    if rules.switch[rule]:
        return True
    for i in range(rules.member_start[rule], rules.member_start[rule + 1]):
        if rules.lone[rules.member[i]] and work.chosen[rules.member[i]]:
            return False
    return True


@compiled_part
def _choose_fillers(
    rules: RuleArrays, images: ImageArrays, work: Work, n_nodes: int, first: int
) -> int:
    """Make choices of the members that at-least-one rules may have to fall back on."""
    grown = True
    while grown:
        grown = False
        for rule in rules.asking:
            if not _in_need(rules, work, rule):
                continue
            for i in range(rules.member_start[rule], rules.member_start[rule + 1]):
                tag = rules.member[i]
                if not work.chosen[tag] and not np.isnan(_gain(images, work, first, tag)):
                    n_nodes = _choose(rules, work, n_nodes, tag)
                    grown = True
    return n_nodes


@compiled_part
def _sort(values: Ints, n: int) -> None:
    """Sort the first values in place, after Shell: numba takes longer to compile its own."""
    gap = 1
    while gap < n // 3:
        gap = 3 * gap + 1
    while gap:
        for i in range(gap, n):
            value, at = values[i], i
            while at >= gap and values[at - gap] > value:
                values[at] = values[at - gap]
                at -= gap
            values[at] = value
        gap //= 3


@compiled_part
def _collect(rules: RuleArrays, images: ImageArrays, work: Work, image: int) -> int:
    """Lay out the nodes of an image, tags ascending; return their number."""
    first, n_nodes = images.start[image], _NONE
    for pair in range(first, images.start[image + 1]):
        work.pair[images.tag[pair]] = pair
    for pair in range(first, images.start[image + 1]):
        if images.weight[pair] > 0:
            n_nodes = _choose(rules, work, n_nodes, images.tag[pair])
    for tag in images.flooded:
        if work.pair[tag] < first:
            n_nodes = _choose(rules, work, n_nodes, tag)
    n_nodes = _choose_fillers(rules, images, work, n_nodes, first)
    _sort(work.tag, n_nodes)
    for node in range(n_nodes):
        tag = work.tag[node]
        work.node[tag] = node
        gain = _gain(images, work, first, tag)
        work.weight[node] = 0.0 if np.isnan(gain) else gain
    return n_nodes


@compiled_part
def _could_bite(rules: RuleArrays, work: Work, rule: int) -> bool:
    """Return whether an exclusion with members among the nodes has to be looked at."""
    for i in range(rules.when_start[rule], rules.when_start[rule + 1]):
        if work.node[rules.when[i]] < 0:
            return False
    return work.held[rule] > 1 or (rules.least[rule] and not work.met[rule])


@compiled_part
def _activate(rules: RuleArrays, work: Work, n_nodes: int) -> int:
    """List the exclusions that could bite, ascending; return their number."""
    n_touched, n_active = _NONE, 0
    for node in range(n_nodes):
        tag = work.tag[node]
        lone = rules.lone[tag] and work.weight[node] > 0
        for i in range(rules.group_start[tag], rules.group_start[tag + 1]):
            rule = rules.group[i]
            if not work.held[rule]:
                work.rule[n_touched] = rule
                n_touched += 1
            work.held[rule] += 1
            work.met[rule] |= lone
    _sort(work.rule, n_touched)
    for i in range(n_touched):
        rule = work.rule[i]
        if _could_bite(rules, work, rule):
            work.rule[n_active], work.place[rule] = rule, n_active
            n_active += 1
        work.held[rule], work.met[rule] = 0, False
    return n_active


@compiled_part
def _is_member(rules: RuleArrays, work: Work, node: int) -> bool:
    """Return whether a node is a member of an exclusion that is active.

    Asked of the nodes, which are few: an exclusion may have hundreds of members.
    """
    tag = work.tag[node]
    for i in range(rules.group_start[tag], rules.group_start[tag + 1]):
        if work.place[rules.group[i]] >= 0:
            return True
    return False


@compiled_part
def _mark(start: Ints, tags: Ints, rule: int, work: Work) -> None:
    """Mark the nodes that play one part in an exclusion as bad."""
    for i in range(start[rule], start[rule + 1]):
        node = work.node[tags[i]]
        if node >= 0:
            work.bad[node] = True


@compiled_part
def _find_unsafe(rules: RuleArrays, work: Work, n_nodes: int, n_active: int, guards: bool) -> int:
    """Mark the nodes that could be lost: those that cost or meet an exclusion, and their children.

    ``guards`` says whether the tags that turn exclusions off count as meeting them. Returns the
    number of unsafe nodes.
    """
    n_unsafe = 0
    for node in range(n_nodes):
        work.bad[node] = work.weight[node] < 0 or _is_member(rules, work, node)
    for i in range(n_active):
        _mark(rules.when_start, rules.when, work.rule[i], work)
        if guards:
            _mark(rules.unless_start, rules.unless, work.rule[i], work)
    for node in range(n_nodes):
        tag, unsafe = work.tag[node], work.bad[node]
        for i in range(rules.above_start[tag], rules.above_start[tag + 1]):
            unsafe |= work.bad[work.node[rules.above[i]]]
        work.unsafe[node] = unsafe
        n_unsafe += unsafe
    return n_unsafe


@compiled_part
def _drop_guarded(rules: RuleArrays, work: Work, n_nodes: int, n_active: int) -> int:
    """Leave out the exclusions that a tag which stays turns off; return how many are left."""
    work.sure[:n_nodes] = False
    for node in range(n_nodes):
        tag = work.tag[node]
        if work.chosen[tag] and not work.unsafe[node]:
            work.sure[node] = True
            for i in range(rules.above_start[tag], rules.above_start[tag + 1]):
                work.sure[work.node[rules.above[i]]] = True
    n_left = 0
    for i in range(n_active):
        rule, off = work.rule[i], False
        for j in range(rules.unless_start[rule], rules.unless_start[rule + 1]):
            node = work.node[rules.unless[j]]
            off |= node >= 0 and work.sure[node]
        work.place[rule] = -1 if off else n_left
        if not off:
            work.rule[n_left] = rule
            n_left += 1
    return n_left


@compiled_part
def _find(root: Ints, node: int) -> int:
    while root[node] != node:
        root[node] = root[root[node]]
        node = root[node]
    return node


@compiled_part
def _tie(start: Ints, tags: Ints, item: int, work: Work, anchor: int) -> int:
    """Tie the unsafe nodes of a list together; return one of them, ``anchor`` if there is one."""
    for i in range(start[item], start[item + 1]):
        node = work.node[tags[i]]
        if node >= 0 and work.unsafe[node]:
            node = _find(work.root, node)
            if anchor < 0:
                anchor = node
            work.root[node] = _find(work.root, anchor)
    return anchor


@compiled_part
def _tie_members(rules: RuleArrays, work: Work, n_nodes: int, n_active: int) -> None:
    """Tie the members of each active exclusion together; each keeps one as its anchor."""
    work.anchor[:n_active] = -1
    for node in range(n_nodes):
        tag = work.tag[node]
        for i in range(rules.group_start[tag], rules.group_start[tag + 1]):
            place = work.place[rules.group[i]]
            if place < 0:
                continue
            if work.anchor[place] < 0:
                work.anchor[place] = node
            work.root[_find(work.root, node)] = _find(work.root, work.anchor[place])


@compiled_part
def _split(rules: RuleArrays, work: Work, n_nodes: int, n_active: int) -> int:
    """Part the unsafe nodes into components, numbered by their first tags; return how many."""
    for node in range(n_nodes):
        work.root[node] = node
    for node in range(n_nodes):
        if work.unsafe[node]:
            _tie(rules.above_start, rules.above, work.tag[node], work, node)
    _tie_members(rules, work, n_nodes, n_active)
    for i in range(n_active):
        rule, anchor = work.rule[i], _find(work.root, work.anchor[i])
        _tie(rules.when_start, rules.when, rule, work, anchor)
        _tie(rules.unless_start, rules.unless, rule, work, anchor)
    n_parts = 0
    work.part[:n_nodes] = -1
    for node in range(n_nodes):
        if work.unsafe[node]:
            root = _find(work.root, node)
            if work.part[root] < 0:
                work.part[root], work.size[n_parts], work.limits[n_parts] = n_parts, 0, 0
                n_parts += 1
            part = work.part[root]
            work.part[node], work.local[node] = part, work.size[part]
            work.size[part] += 1
    return n_parts


@compiled_part
def _mask(start: Ints, tags: Ints, item: int, work: Work) -> int:
    """Return the unsafe nodes of a list as a mask within their component."""
    mask = 0
    for i in range(start[item], start[item + 1]):
        node = work.node[tags[i]]
        if node >= 0 and work.unsafe[node]:
            mask |= 1 << work.local[node]
    return mask


@compiled_part
def _emit_tags(
    rules: RuleArrays, work: Work, out: Components, n_nodes: int, n_parts: int, key: int
) -> None:
    """Write the tags of an image's components; ``key`` is that of its tag 0."""
    first, at = out.sizes[0], out.sizes[1]
    for part in range(n_parts):
        out.start[first + part] = at
        out.choices[first + part] = 0
        at += work.size[part]
    out.start[first + n_parts] = at
    out.sizes[1] = at
    for node in range(n_nodes):
        if work.unsafe[node]:
            tag, part = work.tag[node], work.part[node]
            bit = 1 << work.local[node]
            at = out.start[first + part] + work.local[node]
            out.key[at] = key + tag
            out.weight[at] = work.weight[node]
            out.above[at] = bit | _mask(rules.above_start, rules.above, tag, work)
            if work.chosen[tag]:
                out.choices[first + part] |= bit


@compiled_part
def _emit_limits(
    rules: RuleArrays, work: Work, out: Components, n_nodes: int, n_parts: int, n_active: int
) -> None:
    """Write the limits of an image's components, each component's by ascending exclusion."""
    first, at = out.sizes[0], out.sizes[2]
    for i in range(n_active):
        work.limits[work.part[work.anchor[i]]] += 1
    for part in range(n_parts):
        n_limits, work.limits[part] = work.limits[part], at
        out.limit_start[first + part] = at
        at += n_limits
    out.limit_start[first + n_parts] = at
    out.sizes[2] = at
    for i in range(n_active):
        rule = work.rule[i]
        part = work.part[work.anchor[i]]
        at = work.limits[part]
        work.limits[part] += 1
        work.limit[i], out.rule[at], out.members[at] = at, rule, 0
        out.when[at] = _mask(rules.when_start, rules.when, rule, work)
        out.unless[at] = _mask(rules.unless_start, rules.unless, rule, work)
    for node in range(n_nodes):
        tag = work.tag[node]
        for i in range(rules.group_start[tag], rules.group_start[tag + 1]):
            place = work.place[rules.group[i]]
            if place >= 0:
                out.members[work.limit[place]] |= 1 << work.local[node]


@compiled_part
def _is_large(work: Work, n_nodes: int, n_parts: int, search_tags: int) -> bool:
    """Return whether a component is too large for a mask or for the search."""
    for part in range(n_parts):
        if work.size[part] > MASK_BITS:
            return True
        if work.size[part] > search_tags:
            n_choices = 0
            for node in range(n_nodes):
                if work.unsafe[node] and work.part[node] == part:
                    n_choices += work.chosen[work.tag[node]]
            if n_choices > search_tags:
                return True
    return False


@compiled_part
def _emit(
    rules: RuleArrays, work: Work, out: Components, sizes: tuple[int, int, int], key: int
) -> None:
    """Write what is certain of an image and its components; ``key`` is that of its tag 0."""
    n_nodes, n_active, n_parts = sizes
    for node in range(n_nodes):
        if work.chosen[work.tag[node]] and not work.unsafe[node]:
            out.settled[out.sizes[3]] = key + work.tag[node]
            out.sizes[3] += 1
    if n_parts:
        _emit_tags(rules, work, out, n_nodes, n_parts, key)
        _emit_limits(rules, work, out, n_nodes, n_parts, n_active)
        out.sizes[0] += n_parts


@compiled_part
def _clear(work: Work, n_nodes: int, n_active: int) -> None:
    """Forget the nodes of an image, and the exclusions that were active in it."""
    for i in range(n_active):
        work.place[work.rule[i]] = -1
    for node in range(n_nodes):
        work.node[work.tag[node]] = -1
        work.chosen[work.tag[node]] = False


@compiled
def reduce_images(
    rules: RuleArrays,
    images: ImageArrays,
    work: Work,
    out: Components,
    first: int,
    search_tags: int,
) -> int:
    """Reduce images from ``first`` on until the room might not hold one more.

    Parameters
    ----------
    rules : RuleArrays
    images : ImageArrays
    work : Work
        Scratch of these images alone: it remembers their pairs.
    out : Components
        Overwritten.
    first : int
    search_tags : int
        Choices of a component above which its image is left out.

    Returns
    -------
    int
        The first image that was not looked at.
    """
    n_tags, n_rules = len(rules.lone), len(rules.least)
    out.sizes[:] = 0
    for image in range(first, len(images.start) - 1):
        used = max(out.sizes[0], out.sizes[1], out.sizes[3], out.sizes[4])
        if used + n_tags > len(out.key) or out.sizes[2] + n_rules > len(out.rule):
            return image
        n_nodes, n_parts = _collect(rules, images, work, image), 0
        n_active = _activate(rules, work, n_nodes)
        if _find_unsafe(rules, work, n_nodes, n_active, _NO):
            n_active = _drop_guarded(rules, work, n_nodes, n_active)
            _find_unsafe(rules, work, n_nodes, n_active, _YES)
            n_parts = _split(rules, work, n_nodes, n_active)
        if _is_large(work, n_nodes, n_parts, search_tags):
            out.large[out.sizes[4]] = image
            out.sizes[4] += 1
        else:
            _emit(rules, work, out, (n_nodes, n_active, n_parts), image * n_tags)
        _clear(work, n_nodes, n_active)
    return len(images.start) - 1
