"""Why the decoder added or removed a tag: the rule, who is behind it, and how close it was."""

import math
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import PairProba
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.contradictions.evidence import Evidence
from tagstack.ensemble.contradictions.parts import Problem, kept_keys
from tagstack.ensemble.contradictions.search import UNMET, Solution
from tagstack.ensemble.rules.bound_rules import BoundExclusive, BoundRules


@dataclass(frozen=True, kw_only=True)
class Change:
    """One tag on which the decoder and the tag's own threshold disagree.

    Parameters
    ----------
    tag : str
    action : {"added", "removed"}
    rule, source : str
        Id of the first rule behind the change and who says so.
    because : tuple of (tag, proba)
        The kept tags that imply an added tag or exclude a removed one, most probable first; for a
        tag removed since what it implies is too improbable, those implied tags.
    proba, threshold : float
        Of the tag itself; ``proba`` is NaN if nobody scored it.
    margin : float
        Objective lost, in log-odds, by the best tag set with the opposite decision; infinite if
        there is none.
    """

    tag: str
    action: Literal["added", "removed"]
    rule: str
    source: str
    because: tuple[tuple[str, float], ...]
    proba: float
    threshold: float
    margin: float

    def __str__(self) -> str:
        others = ", ".join(f"{tag} ({proba:.2f})" for tag, proba in self.because)
        verb = "implied by" if self.action == "added" else "against"
        reason = f"{verb} {others}, " if others else ""
        return (
            f"{self.action} {self.tag} ({self.proba:.2f}): {reason}rule {self.rule}; "
            f"the opposite costs {self.margin:.2f}"
        )


def explain(
    decoder: Decoder,
    proba: PairProba,
    thresholds: NDArray[np.float32],
    worth: NDArray[np.float32] | None = None,
    *,
    margins: bool = True,
) -> tuple[Change, ...]:
    """Return every change the decoder makes to one image's tags, in the order of the vocabulary.

    Parameters
    ----------
    decoder : Decoder
    proba : PairProba
        Of one image; ``proba.take(np.array([i]))`` picks it.
    thresholds : array of shape (n_tags,), float32
    worth : array of shape (n_tags,), float32, optional
        As for `Decoder.decode`.
    margins : bool
        Whether to search once more for each change; without, every margin is NaN.

    Raises
    ------
    TagstackError
        If ``proba`` is not about exactly one image.
    """
    if proba.pairs.n_images != 1:
        msg = f"Only one image can be explained at a time, got {proba.pairs.n_images}; use take()."
        raise TagstackError(msg)
    case = _Case(decoder, decoder.evidence(proba, thresholds, worth))
    return tuple(case.changes(margins=margins))


class _Case:
    """One image, decoded with every component at hand. Keys are tags, since the image is 0."""

    def __init__(self, decoder: Decoder, evidence: Evidence) -> None:
        self.decoder, self.evidence, self.rules = decoder, evidence, decoder.rules
        self.engine = decoder.engines.python
        reduction = self.engine.reduce(evidence, shortcut=False)
        self.solved: list[tuple[Problem, Solution]] = [
            (problem, self.engine.search(problem.component)) for problem in reduction.problems
        ]
        found = [tag for problem, solution in self.solved for tag in kept_keys(problem, solution)]
        self.chosen = {*found, *reduction.settled.tolist()}
        self.settled = reduction.settled.tolist()
        self.chosen = {*found, *self.settled}
        self.kept = self._closed(self.chosen)
        self.passed = frozenset(evidence.tagged().tolist())

    # The rest is for telling what changed: on most images nothing does.

    @cached_property
    def choices(self) -> list[int]:
        """Tags that may be kept for their own sake."""
        return sorted({*self.settled, *(tag for case, _ in self.solved for tag in case.choices)})

    @cached_property
    def possible(self) -> frozenset[int]:
        """Tags that could be kept."""
        return self._closed({tag for case, _ in self.solved for tag in case.key} | self.chosen)

    @cached_property
    def touched(self) -> list[int]:
        """Numbers of the exclusions that those are members of."""
        return sorted({n for tag in self.possible for n in self.decoder.exclusions_of(tag)})

    @cached_property
    def near(self) -> list[BoundExclusive]:
        """Exclusions of which one can be broken or ask for something; no other can."""
        numbers = sorted({*self.touched, *self.evidence.asking})
        return [self.rules.exclusives[number] for number in numbers]

    @cached_property
    def proba(self) -> dict[int, float]:
        """Probability of each tag that could be kept."""
        tags = np.array(sorted(self.possible), np.int64)
        return dict(zip(tags.tolist(), self.evidence.proba_at(tags).tolist(), strict=True))

    @cached_property
    def weight(self) -> dict[int, float]:
        """What keeping each of them gains."""
        tags = np.array(sorted(self.possible), np.int64)
        return dict(zip(tags.tolist(), self.evidence.weight_at(tags).tolist(), strict=True))

    def changes(self, *, margins: bool) -> Iterator[Change]:
        for tag in sorted(self.kept ^ self.passed):
            added = tag in self.kept
            because, rule, source = self._added(tag) if added else self._removed(tag)
            yield Change(
                tag=self._name(tag),
                action="added" if added else "removed",
                rule=rule,
                source=source,
                because=self._ranked(because),
                proba=self.proba[tag],
                threshold=float(self.evidence.threshold[tag]),
                margin=self._margin(tag) if margins else math.nan,
            )

    def _margin(self, tag: int) -> float:
        return self._margin_out(tag) if tag in self.kept else self._margin_in(tag)

    def _added(self, tag: int) -> tuple[set[int], str, str]:
        """Return the kept children that imply a tag, or what asks for one of its group."""
        children = {*self.rules.children.get(tag, ())} & self.kept
        if children:
            first = max(children, key=lambda child: (self._own(child), -child))
            return children, *self.rules.edge_rule[first, tag]
        for rule in self.near:
            if rule.at_least_one and tag in rule.tags and _applies(rule, self.kept):
                return set(rule.when), rule.id, rule.source
        # A member of an at-least-one group may also be worth keeping since it turns a rule off.
        alone = self.kept & {*self.choices}
        without = self._closed({other for other in alone if not self._implies(other, tag)})
        for rule in self.near:
            if _cost(rule, without) > _cost(rule, self.kept):
                return set(rule.tags) & without, rule.id, rule.source
        return set(), "", ""

    def _removed(self, tag: int) -> tuple[set[int], str, str]:
        """Return the kept tags that a tag, with what it implies, would contradict."""
        wanted = {tag, *_row(self.rules, tag)}
        broken = [rule for rule in self.near if self._breaks(rule, wanted)]
        if broken:
            rivals = {other for rule in broken for other in rule.tags} & self.kept - wanted
            guards = {other for rule in broken for other in rule.when} & self.kept - wanted
            return rivals or guards, broken[0].id, broken[0].source
        missing = {other for other in wanted - self.kept if other != tag}
        for parent in sorted(missing):
            for child in self.rules.children.get(parent, ()):
                if child in wanted:
                    return missing, *self.rules.edge_rule[child, parent]
        return set(), "", ""

    def _breaks(self, rule: BoundExclusive, wanted: set[int]) -> bool:
        """Return whether a rule costs more once ``wanted`` is kept as well."""
        before, after = _cost(rule, self.kept), _cost(rule, self.kept | wanted)
        return after > before

    def _margin_in(self, tag: int) -> float:
        """Return the loss of forcing a removed tag in; it lies in one component."""
        problem, solution = next(case for case in self.solved if tag in case[0].key)
        above = problem.component.above[problem.key.index(tag)]
        forced = self.engine.search(problem.component, forced_in=above)
        others = self.chosen - set(kept_keys(problem, solution))
        return self._lost(others | set(kept_keys(problem, forced)))

    def _margin_out(self, tag: int) -> float:
        """Return the loss of forcing an added tag out, with everything that implies it."""
        barred = self.rules.ancestors[:, [tag]].toarray().ravel().astype(bool)
        barred[tag] = True
        without = replace(
            self.evidence,
            proba=np.where(barred[self.evidence.key], np.float32(np.nan), self.evidence.proba),
            base=np.where(barred, np.float32(np.nan), self.evidence.base),
            asking=tuple(n for n in self.touched if self.rules.exclusives[n].at_least_one),
            offered=tuple(tag for tag in self.choices if not barred[tag]),
        )
        return self._lost(_Case(self.decoder, without).chosen)

    def _lost(self, chosen: Set[int]) -> float:
        """Return how much worse other choices, with all they imply, are than the best."""
        lost = self._value(self.kept) - self._value(self._closed(chosen))
        return math.inf if lost > UNMET / 2 else max(lost, 0.0)

    def _value(self, kept: frozenset[int]) -> float:
        gain = math.fsum(self.weight[tag] for tag in kept)
        return gain - sum(_cost(rule, kept) for rule in self.near)

    def _closed(self, tags: Set[int]) -> frozenset[int]:
        """Return tags with everything that they imply."""
        keys = self.decoder.closed(np.array(sorted(tags), np.int64))
        return frozenset(keys.tolist())

    def _implies(self, child: int, tag: int) -> bool:
        return child == tag or tag in _row(self.rules, child)

    def _ranked(self, tags: Iterable[int]) -> tuple[tuple[str, float], ...]:
        order = sorted(tags, key=lambda tag: (-self._own(tag), tag))
        return tuple((self._name(tag), self.proba[tag]) for tag in order)

    def _own(self, tag: int) -> float:
        return -1.0 if math.isnan(self.proba[tag]) else self.proba[tag]

    def _name(self, tag: int) -> str:
        return self.rules.vocabulary.tags[tag]


def _applies(rule: BoundExclusive, tags: Set[int]) -> bool:
    return tags >= set(rule.when) and tags.isdisjoint(rule.unless)


def _cost(rule: BoundExclusive, tags: Set[int]) -> float:
    if not _applies(rule, tags):
        return 0.0
    held = len(tags & set(rule.tags))
    if held > 1:
        return min(rule.penalty, UNMET) * (held - 1)
    return min(rule.penalty, UNMET) if rule.at_least_one and not held else 0.0


def _row(rules: BoundRules, tag: int) -> list[int]:
    start, end = rules.ancestors.indptr[tag : tag + 2]
    above: list[int] = rules.ancestors.indices[start:end].tolist()
    return above
