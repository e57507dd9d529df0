"""Thresholds fitted on out-of-fold probabilities, for what the decoder leaves."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.decisions import ThresholdSettings
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.contradictions.decoder import Decoder
from tagstack.ensemble.thresholds.anchoring import Anchor, anchored
from tagstack.ensemble.thresholds.certification import certified
from tagstack.ensemble.thresholds.curves import Bools, Sorted
from tagstack.ensemble.thresholds.measures import Measured
from tagstack.ensemble.thresholds.overrides import read_overrides
from tagstack.ensemble.thresholds.plan import Assignment, assignments
from tagstack.ensemble.thresholds.rounds import Rounds
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
    _check(proba, labels, vocabulary, folds)
    plan = assignments(vocabulary, settings, by_tag)
    rounds = Rounds(proba, labels, vocabulary, folds, plan, decoder, image_weight, ordered)
    fitted = rounds.fit()
    cutting, estimates = fitted.cutting, rounds.estimates(fitted.counts, len(folds))
    guaranteed = np.zeros(len(vocabulary), bool)
    if any(assignment.certifies for assignment in plan):
        single = one_of_each(groups, len(folds))
        proof = certified(rounds, fitted.cutting, single)
        cutting, guaranteed = proof.cutting, proof.tags
        seen = rounds.estimates(proof.counts, int(single.sum()))
        estimates = _where(guaranteed, seen, estimates)
    estimate, low, high = estimates
    bound = rounds.limits.binding(cutting.value)
    found = Thresholds(
        vocabulary=vocabulary,
        value=cutting.value,
        worth=cutting.worth,
        image_cut=cutting.image_cut,
        state=_states(plan, fitted.own, guaranteed, bound),
        positives=rounds.n_positives,
        estimate=estimate,
        low=low,
        high=high,
        objective=_objectives(plan, len(vocabulary)),
        calibration_hash=_digest(proba, labels, folds),
    )
    if anchor is None:
        return found
    drawn = anchored(found, rounds.plain, anchor, _raised(plan, len(vocabulary)))
    return replace(drawn, value=rounds.limits.applied(drawn.value))


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
        state.update(np.ascontiguousarray(array, np.int64).tobytes())
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
