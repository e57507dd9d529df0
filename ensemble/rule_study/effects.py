"""What each rule does to precision, recall and F1: everything decoded with and without it.

Of rules that say nearly the same each looks idle here, since the others do its work;
:mod:`~tagstack.ensemble.comparison.rule_effects` books each changed tag on one rule instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.configs.decisions import DecoderSettings
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.progress import Progress
from tagstack.ensemble.rules.bound_rules import BoundRules, membership
from tagstack.ensemble.rules.rule_set import Rules
from tagstack.meta.labels.truth import known_labels
from tagstack.meta.metrics.counts import (
    Counts,
    count_by_tag,
    defined_mean,
    f_beta,
    precision,
    recall,
)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What one rule changes when it is added to all others.

    Parameters
    ----------
    images : int
        Images whose tags it changes.
    precision, recall, f1, macro_f1 : float
        Score with the rule minus score without it; micro but for the last, which is the mean
        over the tags with a positive. NaN where a score is undefined.
    """

    images: int
    precision: float
    recall: float
    f1: float
    macro_f1: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Probabilities, thresholds and the truth about some images, over the rules' vocabulary.

    Parameters
    ----------
    proba : PairProba
    thresholds : array of shape (n_tags,), float32
    labels, unknown : csr_array of shape (n_images, n_tags), bool
    """

    proba: PairProba
    thresholds: NDArray[np.float32]
    labels: sparse.csr_array
    unknown: sparse.csr_array


def effects_of_rules(
    rules: Rules,
    bound: BoundRules,
    evaluation: Evaluation,
    settings: DecoderSettings,
    progress: Progress,
) -> dict[str, Effect]:
    """Return the effect of each rule that can have one; any other changes nothing.

    Parameters
    ----------
    rules : Rules
    bound : BoundRules
        The same rules, over the vocabulary of ``evaluation``.
    evaluation : Evaluation
    settings : DecoderSettings
    progress : Progress
    """
    trial = _Trial(rules, bound, evaluation, settings)
    touched = [(rule, images) for rule, images in trial.touched() if len(images)]
    effects = {}
    for number, (rule, images) in enumerate(touched):
        progress.stage("decoding without each rule", number, len(touched))
        effects[rule] = trial.effect(rule, images)
    return effects


class _Trial:
    """Everything decoded with all rules, to be compared with one rule less."""

    def __init__(
        self, rules: Rules, bound: BoundRules, evaluation: Evaluation, settings: DecoderSettings
    ) -> None:
        self.rules, self.bound, self.evaluation = rules, bound, evaluation
        self.settings = settings
        self.decided = Decoder(bound, settings).decode(evaluation.proba, evaluation.thresholds)
        self.counts = self._count(self.decided, slice(None))

    def touched(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Yield each rule with the images that it might change.

        Where the thresholds alone break no rule, no rule does anything. Elsewhere a rule takes a
        tag that it is about, and an exclusion two of them, counting what the candidates imply.
        """
        none = replace(
            self.bound,
            parents=sparse.csr_array(self.bound.parents.shape, dtype=bool),
            ancestors=sparse.csr_array(self.bound.ancestors.shape, dtype=bool),
            edge_rule={},
            exclusives=(),
        )
        evaluation = self.evaluation
        plain = Decoder(none, self.settings).decode(evaluation.proba, evaluation.thresholds)
        broken = np.flatnonzero(self.bound.violations(plain).per_image)
        if not len(broken):
            return
        children, groups, least = self._parts()
        possible = plain[broken].astype(np.int32)
        always = np.zeros(self.bound.n_tags, np.int32)
        always[least] = 1
        above = sparse.eye_array(self.bound.n_tags, dtype=np.int32) + self.bound.ancestors
        near = ((possible @ above) > 0).astype(np.int32)
        for parts, enough in ((children, 1), (groups, 2)):
            names = list(parts)
            member = membership([parts[name] for name in names], self.bound.n_tags)
            hits, sure = sparse.csc_array(near @ member), always @ member
            for column, name in enumerate(names):
                own = slice(hits.indptr[column], hits.indptr[column + 1])
                some = np.sort(hits.indices[own][hits.data[own] + sure[column] >= enough])
                yield name, broken if sure[column] >= enough else broken[some]

    def _parts(self) -> tuple[dict[str, list[int]], dict[str, list[int]], list[int]]:
        """Return each rule's children or members, and the tags that may fill a group."""
        children: dict[str, list[int]] = {}
        groups: dict[str, list[int]] = {}
        least: set[int] = set()
        for (child, _), (rule, _) in self.bound.edge_rule.items():
            children.setdefault(rule, []).append(child)
        for rule_ in self.bound.exclusives:
            alone = len(rule_.tags) == 1
            part = children if alone else groups
            part.setdefault(rule_.id, []).extend(rule_.when if alone else rule_.tags)
            if rule_.at_least_one:
                reach = [*rule_.tags, *self.bound.ancestors[list(rule_.tags)].indices.tolist()]
                least.update(reach)
        return (
            {rule: sorted(set(tags)) for rule, tags in children.items()},
            {rule: sorted(set(tags)) for rule, tags in groups.items()},
            sorted(least),
        )

    def effect(self, rule: str, images: NDArray[np.int64]) -> Effect:
        """Return what a rule changes; it can only do so in ``images``."""
        decoder = Decoder(self._without(rule), self.settings)
        proba = self.evaluation.proba.take(images)
        without = decoder.decode(proba, self.evaluation.thresholds)
        differs = np.flatnonzero((without != self.decided[images]).sum(axis=1))
        images = images[differs]
        here, there = self._count(self.decided, images), self._count_of(without[differs], images)
        before = Counts(
            hits=self.counts.hits - here.hits + there.hits,
            predicted=self.counts.predicted - here.predicted + there.predicted,
            positives=self.counts.positives,
        )
        after, old = _scores(self.counts), _scores(before)
        return Effect(
            images=len(images),
            precision=after[0] - old[0],
            recall=after[1] - old[1],
            f1=after[2] - old[2],
            macro_f1=after[3] - old[3],
        )

    def _without(self, rule: str) -> BoundRules:
        if any(said[0] == rule for said in self.bound.edge_rule.values()):
            return self.rules.except_for([rule]).bind(self.bound.vocabulary)
        kept = tuple(other for other in self.bound.exclusives if other.id != rule)
        return replace(self.bound, exclusives=kept)

    def _count(self, decided: sparse.csr_array, images: NDArray[np.int64] | slice) -> Counts:
        return self._count_of(decided[images], images)

    def _count_of(self, decided: sparse.csr_array, images: NDArray[np.int64] | slice) -> Counts:
        unknown, labels = self.evaluation.unknown[images], self.evaluation.labels[images]
        return count_by_tag(known_labels(decided, unknown), labels)


def _scores(counts: Counts) -> tuple[float, float, float, float]:
    """Return micro precision, recall and F1, and macro F1."""
    total = counts.total()
    values = (precision(total), recall(total), f_beta(total, 1.0))
    micro_precision, micro_recall, micro_f1 = map(float, values)
    return micro_precision, micro_recall, micro_f1, defined_mean(counts.f_beta(1.0))
