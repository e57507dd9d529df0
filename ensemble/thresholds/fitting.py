"""Thresholds fitted on out-of-fold probabilities, for what the decoder leaves."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.orders import AT_ONCE
from tagstack.base_models.pairs import PairProba
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.thresholds.anchoring import Anchor, anchored
from tagstack.ensemble.thresholds.certification import Proof, certified
from tagstack.ensemble.thresholds.curves import Bools, Sorted
from tagstack.ensemble.thresholds.deciding import Cutting
from tagstack.ensemble.thresholds.measures import Measured
from tagstack.ensemble.thresholds.overrides import read_overrides
from tagstack.ensemble.thresholds.plan import Assignment, assignments
from tagstack.ensemble.thresholds.rounds import Fitted, Rounds
from tagstack.ensemble.thresholds.table import State, Thresholds

__all__ = ["Thresholds", "fit_thresholds", "read_overrides"]

logger = logging.getLogger(__name__)

ByTag = Sequence[tuple[str, ThresholdSettings]]


def fit_thresholds(
    proba: PairProba,
    labels: sparse.csr_array,
    vocabulary: Vocabulary,
    folds: NDArray[np.integer],
    settings: ThresholdSettings,
    decoder: Decoder | None = None,
    *,
    by_tag: ByTag = (),
    groups: NDArray[np.integer] | None = None,
    anchor: Anchor | None = None,
    image_weight: NDArray[np.float64] | None = None,
    ordered: Sorted | None = None,
) -> Thresholds:
    """Return one threshold per tag for the objective of ``settings``.

    Parameters
    ----------
    proba : PairProba
        Out-of-fold probabilities; those of images a model was fitted on give thresholds that
        are too high.
    labels : csr_array of shape (n_images, n_tags), bool
    vocabulary : Vocabulary
    folds : array of shape (n_images,), integer
        Fold of each image; images that resemble each other share one.
    settings : ThresholdSettings
    decoder : Decoder, optional
        Fit for the tags that this decoder leaves.
    by_tag : sequence of (pattern, ThresholdSettings), optional
        Other objectives for the tags that a pattern matches; see `plan.assignments`.
    groups : array of shape (n_images,), integer, optional
        Images of one group count once where a guarantee is asked for; by default each counts.
    anchor : Anchor, optional
        Draws rare tags' thresholds to what the start gave, where a score is to be raised.
    image_weight : array of shape (n_images,), float64, above 0, optional
        What each image counts in the choice, 1 each by default. Guarantees, and the figures and
        intervals beside thresholds, count images alike.
    ordered : Sorted, optional
        Of the same probabilities, labels and weights, where it is there already.

    Raises
    ------
    TagstackError
        If the shapes disagree, all images are in one fold, or a pattern matches no tag.
    """
    settled = settle_thresholds(
        proba,
        labels,
        vocabulary,
        folds,
        settings,
        decoder,
        by_tag=by_tag,
        groups=groups,
        anchor=anchor,
        image_weight=image_weight,
        ordered=ordered,
    )
    plan, estimates = settled.rounds.plan, settled.estimates()
    return Thresholds(
        vocabulary=vocabulary,
        value=settled.cutting.value,
        worth=settled.cutting.worth,
        image_cut=settled.cutting.image_cut,
        state=_states(plan, settled.own, settled.guaranteed, settled.bound),
        positives=settled.rounds.n_positives,
        estimate=estimates[0],
        low=estimates[1],
        high=estimates[2],
        objective=_objectives(plan, len(vocabulary)),
        calibration_hash=_digest(proba, labels, folds),
    )


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Thresholds as they are applied; what is told of them beside is found when asked for.

    Parameters
    ----------
    rounds : Rounds
    fitted : Fitted
    proof : Proof or None
        None where no guarantee is asked for.
    single : array of shape (n_images,), bool
        The images that a proof is about.
    cutting : Cutting
    bound : array of shape (n_tags,), bool
        Where a limit of a person decides.
    """

    rounds: Rounds
    fitted: Fitted
    proof: Proof | None
    single: Bools
    cutting: Cutting
    bound: Bools

    @property
    def own(self) -> Bools:
        """Which thresholds rest on the tag's own images, shape (n_tags,)."""
        return self.fitted.own

    @property
    def guaranteed(self) -> Bools:
        """Which thresholds carry a guarantee, shape (n_tags,)."""
        return np.zeros(len(self.own), bool) if self.proof is None else self.proof.tags

    def estimates(self) -> Measured:
        """Return what each objective speaks of, with interval, each of shape (n_tags,)."""
        found = self.rounds.estimates(self.fitted.counts, len(self.rounds.folds))
        if self.proof is None:
            return found
        seen = self.rounds.estimates(self.proof.counts, int(self.single.sum()))
        return _where(self.proof.tags, seen, found)


def settle_thresholds(
    proba: PairProba,
    labels: sparse.csr_array,
    vocabulary: Vocabulary,
    folds: NDArray[np.integer],
    settings: ThresholdSettings,
    decoder: Decoder | None,
    *,
    by_tag: ByTag,
    groups: NDArray[np.integer] | None,
    anchor: Anchor | None,
    image_weight: NDArray[np.float64] | None,
    ordered: Sorted | None,
) -> Settled:
    """Return the thresholds of `fit_thresholds`, which has the parameters, without their table."""
    _check(proba, labels, vocabulary, folds)
    plan = assignments(vocabulary, settings, by_tag)
    rounds = Rounds(proba, labels, vocabulary, folds, plan, decoder, image_weight, ordered)
    fitted, proof = rounds.fit(), None
    cutting, single = fitted.cutting, one_of_each(groups, len(folds))
    if any(assignment.certifies for assignment in plan):
        proof = certified(rounds, fitted.cutting, single)
        cutting = proof.cutting
    bound = rounds.limits.binding(cutting.value)
    if anchor is not None:
        tags = _raised(plan, len(vocabulary)) & ~bound
        tags &= True if proof is None else ~proof.tags
        drawn = anchored(cutting.value, rounds.n_positives, rounds.plain, anchor, tags)
        cutting = replace(cutting, value=rounds.limits.applied(drawn))
    return Settled(
        rounds=rounds, fitted=fitted, proof=proof, single=single, cutting=cutting, bound=bound
    )


def _raised(plan: Sequence[Assignment], n_tags: int) -> Bools:
    """Return the tags whose objective is a score to raise, shape (n_tags,)."""
    raised = np.zeros(n_tags, bool)
    for assignment in plan:
        raised |= assignment.tags & assignment.raises
    return raised


def one_of_each(groups: NDArray[np.integer] | None, n_images: int) -> Bools:
    """Return one image of each group, drawn by lot, as a mask; all images without groups.

    Shape (n_images,), bool.

    Not the first: a group's images often come in one order, such as a style or a pose.
    """
    if groups is None:
        return np.ones(n_images, bool)
    lots = np.random.default_rng(0).permutation(n_images)
    drawn = np.zeros(n_images, bool)
    drawn[lots[np.unique(groups[lots], return_index=True)[1]]] = True
    return drawn


def _where(chosen: Bools, one: Measured, other: Measured) -> Measured:
    estimate, low, high = (np.where(chosen, a, b) for a, b in zip(one, other, strict=True))
    return estimate, low, high


def _objectives(plan: Sequence[Assignment], n_tags: int) -> tuple[str, ...]:
    texts = [""] * n_tags
    for assignment in plan:
        text = assignment.strategy.written(assignment.settings)
        for tag in np.flatnonzero(assignment.tags):
            texts[tag] = text
    return tuple(texts)


def _states(
    plan: Sequence[Assignment], own: Bools, guaranteed: Bools, bound: Bools
) -> tuple[State, ...]:
    by_hand = bound.copy()
    for assignment in plan:
        if assignment.strategy.aim == "formula":
            by_hand |= assignment.tags

    def state(tag: int) -> State:
        if by_hand[tag]:
            return "fixed"
        if guaranteed[tag]:
            return "certified"
        return "tuned" if own[tag] else "pooled"

    return tuple(map(state, range(len(own))))


def _digest(proba: PairProba, labels: sparse.csr_array, folds: NDArray[np.integer]) -> str:
    """Return the SHA-256 over everything that the thresholds were fitted on."""
    state = hashlib.sha256()
    truth = sparse.csr_array(labels.astype(bool))
    truth.sort_indices()
    for array in (proba.pairs.indptr, proba.pairs.tag, truth.indptr, truth.indices, folds):
        for start in range(0, len(array), AT_ONCE):
            state.update(np.ascontiguousarray(array[start : start + AT_ONCE], np.int64).tobytes())
    for values in (proba.proba, proba.base):
        state.update(np.ascontiguousarray(values, np.float32).tobytes())
    return state.hexdigest()


def _check(
    proba: PairProba, labels: sparse.csr_array, vocabulary: Vocabulary, folds: NDArray[np.integer]
) -> None:
    due = (proba.pairs.n_images, proba.pairs.n_tags)
    if labels.shape != due or folds.shape != due[:1] or len(vocabulary) != due[1]:
        msg = (
            f"proba is about {due[0]} images and {due[1]} tags, but labels have shape "
            f"{labels.shape}, folds {folds.shape} and the vocabulary {len(vocabulary)} tags."
        )
        raise TagstackError(msg)
    if len(np.unique(folds)) < 2:
        msg = "Thresholds need two folds or more to be judged on; all images are in one fold."
        raise TagstackError(msg)
