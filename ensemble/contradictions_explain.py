"""Why the decoder added or removed a tag: the rule, who is behind it, and how close it was."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import PairProba
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.contradictions import Decoder
from tagstack.ensemble.contradictions_reduction import Evidence, Problem, Reduction, kept_keys
from tagstack.ensemble.contradictions_search import UNMET, Solution
from tagstack.ensemble.rules_binding import BoundExclusive, BoundRules


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
    decoder: Decoder, proba: PairProba, thresholds: NDArray[np.float32]
) -> tuple[Change, ...]:
    """Return every change the decoder makes to one image's tags, in the order of the vocabulary.

    Parameters
    ----------
    decoder : Decoder
    proba : PairProba
        Of one image.
    thresholds : array of shape (n_tags,), float32

    Raises
    ------
    TagstackError
        If ``proba`` is not about exactly one image.
    """
    if proba.pairs.n_images != 1:
        msg = f"Only one image can be explained at a time, got {proba.pairs.n_images}; use take()."
        raise TagstackError(msg)
    return tuple(_Case(decoder, decoder.evidence(proba, thresholds)).changes())


class _Case:
    """One image, decoded with every component at hand. Keys are tags, since the image is 0."""

    def __init__(self, decoder: Decoder, evidence: Evidence) -> None:
        self.decoder, self.evidence, self.rules = decoder, evidence, decoder.rules
        self.reduction: Reduction = decoder.reduce(evidence, shortcut=False)
        self.solved: list[tuple[Problem, Solution]] = [
            (problem, decoder.search(problem.component)) for problem in self.reduction.problems
        ]
        found = [tag for problem, solution in self.solved for tag in kept_keys(problem, solution)]
        kept = np.concatenate([self.reduction.settled, np.array(found, np.int64)])
        self.kept = frozenset(decoder.closed(kept).tolist())
        self.passed = frozenset(evidence.tagged().tolist())

    def changes(self) -> Iterator[Change]:
        for tag in sorted(self.kept ^ self.passed):
            added = tag in self.kept
            because, rule, source = self._added(tag) if added else self._removed(tag)
            yield Change(
                tag=self._name(tag),
                action="added" if added else "removed",
                rule=rule,
                source=source,
                because=self._ranked(because),
                proba=self._proba(tag),
                threshold=float(self.evidence.threshold[tag]),
                margin=self._margin_out(tag) if added else self._margin_in(tag),
            )

    def _added(self, tag: int) -> tuple[set[int], str, str]:
        """Return the kept children that imply a tag, or what asks for one of its group."""
        children = {child for child, parent in self.rules.edge_rule if parent == tag} & self.kept
        if children:
            first = max(children, key=lambda child: (self._own(child), -child))
            return children, *self.rules.edge_rule[first, tag]
        for rule in self.rules.exclusives:
            if rule.at_least_one and tag in rule.tags and _applies(rule, self.kept):
                return set(rule.when), rule.id, rule.source
        return set(), "", ""

    def _removed(self, tag: int) -> tuple[set[int], str, str]:
        """Return the kept tags that a tag, with what it implies, would contradict."""
        wanted = {tag, *_row(self.rules, tag)}
        together = self.kept | wanted
        broken = [
            (rule, set(rule.tags) & together)
            for rule in self.rules.exclusives
            if _applies(rule, together) and len(set(rule.tags) & together) > 1
        ]
        # What was broken anyway (a soft rule) explains nothing.
        broken = [(rule, tags) for rule, tags in broken if not self._broken_already(rule, tags)]
        if broken:
            culprits = set().union(*(tags for _, tags in broken)) - wanted
            return culprits or set().union(*(tags for _, tags in broken)) - {tag}, *_said(broken)
        missing = {other for other in wanted - self.kept if other != tag}
        for (child, parent), said in self.rules.edge_rule.items():
            if child in wanted and parent in missing:
                return missing, *said
        return set(), "", ""

    def _broken_already(self, rule: BoundExclusive, tags: set[int]) -> bool:
        return _applies(rule, self.kept) and tags <= self.kept

    def _margin_in(self, tag: int) -> float:
        """Return the loss of forcing a removed tag in; it lies in one component."""
        for problem, solution in self.solved:
            if tag in problem.key:
                above = problem.component.above[problem.key.index(tag)]
                forced = self.decoder.search(problem.component, forced_in=above)
                return _loss(solution, forced)
        return math.inf

    def _margin_out(self, tag: int) -> float:
        """Return the loss of forcing an added tag out, with everything that implies it."""
        children = {child for child in self.passed if tag in _row(self.rules, child)} | {tag}
        settled = [child for child in self.reduction.settled.tolist() if child in children]
        lost = float(self.evidence.weight_at(np.array(settled, np.int64)).sum())
        for problem, solution in self.solved:
            out = sum(1 << i for i, key in enumerate(problem.key) if key in children)
            if out:
                lost += _loss(solution, self.decoder.search(problem.component, forced_out=out))
        return lost

    def _ranked(self, tags: Iterable[int]) -> tuple[tuple[str, float], ...]:
        order = sorted(tags, key=lambda tag: (-self._own(tag), tag))
        return tuple((self._name(tag), self._proba(tag)) for tag in order)

    def _own(self, tag: int) -> float:
        return float(np.nan_to_num(self._proba(tag), nan=-1.0))

    def _proba(self, tag: int) -> float:
        return float(self.evidence.proba_at(np.array([tag], np.int64))[0])

    def _name(self, tag: int) -> str:
        return self.rules.vocabulary.tags[tag]


def _loss(best: Solution, forced: Solution) -> float:
    lost = best.value - forced.value
    return math.inf if lost > UNMET / 2 else max(lost, 0.0)


def _applies(rule: BoundExclusive, tags: frozenset[int] | set[int]) -> bool:
    return tags.issuperset(rule.when) and tags.isdisjoint(rule.unless)


def _row(rules: BoundRules, tag: int) -> list[int]:
    start, end = rules.ancestors.indptr[tag : tag + 2]
    above: list[int] = rules.ancestors.indices[start:end].tolist()
    return above


def _said(broken: list[tuple[BoundExclusive, set[int]]]) -> tuple[str, str]:
    rule = broken[0][0]
    return rule.id, rule.source
