"""What follows from an answer by the rules: what it implies, and what it excludes."""

from collections.abc import Iterable, Set
from dataclasses import dataclass

import numpy as np

from tagstack.ensemble.rules.bound_rules import BoundExclusive, BoundRules


@dataclass(frozen=True, kw_only=True)
class Consequence:
    """A tag that comes or goes since another did.

    Parameters
    ----------
    tag : str
    there : bool
        Whether the image has it now.
    rule : str
        Id of the rule.
    because : str
        In words, such as ``1girl excludes 2girls``.
    """

    tag: str
    there: bool
    rule: str
    because: str


class Consequences:
    """The rules of a bundle, asked about one image at a time.

    Parameters
    ----------
    rules : BoundRules
    """

    def __init__(self, rules: BoundRules) -> None:
        self._rules = rules
        self._index, self._tags = rules.vocabulary.index, rules.vocabulary.tags
        self._hard = [rule for rule in rules.exclusives if np.isinf(rule.penalty)]
        self._of_tag: dict[int, list[BoundExclusive]] = {}
        for rule in self._hard:
            for tag in {*rule.tags, *rule.when}:
                self._of_tag.setdefault(tag, []).append(rule)

    def implied(self, tags: Iterable[str]) -> Set[str]:
        """Return everything that tags imply, themselves left out unless another implies them."""
        found = {above for tag in tags for above in self._above(self._index.get(tag, -1))}
        return {self._tags[tag] for tag in found}

    def of(self, tag: str, there: bool, tags: Iterable[str]) -> tuple[Consequence, ...]:
        """Return what else changes when a tag comes or goes.

        Parameters
        ----------
        tag : str
        there : bool
            Whether it comes.
        tags : iterable of str
            What the image has before.
        """
        held = {self._index[name] for name in tags if name in self._index}
        if tag not in self._index:
            return ()
        found = self._coming if there else self._going
        return tuple(found(self._index[tag], held))

    def _coming(self, tag: int, held: set[int]) -> Iterable[Consequence]:
        fresh = [tag, *sorted(self._above(tag) - held - {tag})]
        for above in fresh[1:]:
            yield self._made(above, True, self._edge(tag, above), f"{self._name(tag)} implies {{}}")
        new = held | set(fresh)
        gone: set[int] = set()
        for own in fresh:
            for rule in self._of_tag.get(own, ()):
                for rival in self._rivals(rule, new - gone, set(fresh)):
                    text = f"{self._name(own if own in rule.tags else tag)} excludes {{}}"
                    yield self._made(rival, False, rule.id, text)
                    gone.add(rival)
                    for child in self._below(rival) & new - gone - set(fresh):
                        because = f"{{}} implies {self._name(rival)}"
                        yield self._made(child, False, self._edge(child, rival), because)
                        gone.add(child)

    def _going(self, tag: int, held: set[int]) -> Iterable[Consequence]:
        for child in sorted(self._below(tag) & held):
            yield self._made(
                child, False, self._edge(child, tag), f"{{}} implies {self._name(tag)}"
            )

    def _rivals(self, rule: BoundExclusive, held: set[int], fresh: set[int]) -> list[int]:
        """Return what an exclusion takes away; nothing where it does not apply, or is in doubt."""
        applies = held >= set(rule.when) and held.isdisjoint(rule.unless)
        if not applies or not fresh & set(rule.tags):
            return []
        return [other for other in rule.tags if other in held and other not in fresh]

    def _above(self, tag: int) -> set[int]:
        if tag < 0:
            return set()
        matrix = self._rules.ancestors
        return set(matrix.indices[matrix.indptr[tag] : matrix.indptr[tag + 1]].tolist())

    def _below(self, tag: int) -> set[int]:
        found: set[int] = set()
        open_ = [tag]
        while open_:
            for child in self._rules.children.get(open_.pop(), ()):
                if child not in found:
                    found.add(child)
                    open_.append(child)
        return found

    def _edge(self, child: int, parent: int) -> str:
        return self._rules.edge_rule.get((child, parent), ("implication", ""))[0]

    def _name(self, tag: int) -> str:
        return self._tags[tag]

    def _made(self, tag: int, there: bool, rule: str, because: str) -> Consequence:
        name = self._name(tag)
        words = because.replace("{}", name)
        return Consequence(tag=name, there=there, rule=rule, because=words)
