"""What a fit is held against: the answer that its taggers gave before any label was seen."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.thresholds.anchoring import anchored, start_rates
from tagstack.ensemble.thresholds.deciding import decided_by
from tagstack.ensemble.thresholds.table import State, Thresholds
from tagstack.meta.metrics.decision_scores import decision_scores
from tagstack.meta.stack.rung_spec import START
from tagstack.meta.stack.stacker import Stacker

_SLACK = (
    0.01  # of one F1, where the sum of both is ahead: what left-out folds of few labels can tell
)

Fit = Callable[[PairProba, NDArray[np.int64]], Thresholds]


@dataclass(frozen=True, kw_only=True)
class Floor:
    """Both answers on left-out folds, thresholds included, before any rules.

    Parameters
    ----------
    macro_f, micro_f : tuple of float
        Of what was fitted, and of the start.
    """

    macro_f: tuple[float, float]
    micro_f: tuple[float, float]

    @property
    def holds(self) -> bool:
        """Whether what was fitted is ahead in both F1 together, and in none clearly behind."""
        leads = [ours - start for ours, start in (self.macro_f, self.micro_f)]
        return sum(leads) >= 0 and min(leads) >= -_SLACK


def folds_of(stacker: Stacker, dataset: Dataset, images: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return folds, shape (n_images,); where all are of one, two made of their groups."""
    folds = stacker.folds_[images]
    if len(np.unique(folds)) > 1:
        return folds
    return np.unique(dataset.groups[images], return_inverse=True)[1].astype(np.int64) % 2


def own_cuts(stacker: Stacker, rung: str) -> NDArray[np.float64]:
    """Return the start's cuts of tags that it serves in a rung, shape (n_tags,), NaN elsewhere."""
    cuts = stacker.start_cuts()
    if rung == START:
        return cuts
    served = np.array([name == START for name in stacker.tag_rungs_of(rung)], bool)
    return np.where(served, cuts, np.nan) if len(served) else np.full(len(cuts), np.nan)


def anchored_to_start(
    thresholds: Thresholds,
    stacker: Stacker,
    rung: str,
    anchor_positives: float,
    images: NDArray[np.int64] | None = None,
) -> Thresholds:
    """Return a rung's thresholds, fitted on ``images`` or all, drawn towards the start's."""
    start, proba = stacker.out_of_fold(START), stacker.out_of_fold(rung)
    if images is not None:
        start, proba = start.take(images), proba.take(images)
    rates = start_rates(start, stacker.start_cuts())
    return anchored(thresholds, proba, rates, own_cuts(stacker, rung), anchor_positives)


def held_against_start(
    dataset: Dataset, stacker: Stacker, fit: Fit, anchor_positives: float
) -> Floor:
    """Return what the chosen rung and the start decide on left-out folds.

    Parameters
    ----------
    dataset : Dataset
    stacker : Stacker
        Fitted on it, with a start.
    fit : callable
        Takes probabilities of images and their numbers, returns thresholds fitted on them.
    anchor_positives : float
    """
    chosen, start = stacker.out_of_fold(stacker.chosen_), stacker.out_of_fold(START)
    parts, order = [], []
    for fold in np.unique(stacker.folds_):
        others, own = np.flatnonzero(stacker.folds_ != fold), np.flatnonzero(stacker.folds_ == fold)
        found = anchored_to_start(
            fit(chosen.take(others), others), stacker, stacker.chosen_, anchor_positives, others
        )
        parts.append(found.cutting.decided(chosen.take(own)))
        order.append(own)
    images = np.concatenate(order)
    ours = decision_scores(sparse.csr_array(sparse.vstack(parts)), dataset.labels[images], beta=1.0)
    cuts = stacker.start_cuts().astype(np.float32)
    theirs = decision_scores(decided_by(start.take(images), cuts), dataset.labels[images], beta=1.0)
    return Floor(
        macro_f=(float(ours.macro_f), float(theirs.macro_f)),
        micro_f=(float(ours.micro_f), float(theirs.micro_f)),
    )


def start_thresholds(
    fitted: Thresholds, stacker: Stacker, worth: NDArray[np.float32]
) -> Thresholds:
    """Return the start's thresholds in its calibrated probabilities.

    Parameters
    ----------
    fitted : Thresholds
        Of the same vocabulary, for the positives.
    stacker : Stacker
    worth : array of shape (n_tags,), float32
        What each tag is worth on the start's own scale, where a half is the threshold.
    """
    cuts = stacker.start_cuts()
    # A step over the threshold counts as much as on the start's own scale.
    slope = stacker.start_slopes() * cuts * (1 - cuts) * 4
    nothing = np.full(len(cuts), np.nan)
    n_tags = len(cuts)
    pooled: State = "pooled"
    return Thresholds(
        vocabulary=fitted.vocabulary,
        value=np.maximum(cuts, np.finfo(np.float32).tiny).astype(np.float32),
        state=(pooled,) * n_tags,
        positives=fitted.positives,
        estimate=nothing,
        low=nothing,
        high=nothing,
        objective=("published",) * n_tags,
        calibration_hash=fitted.calibration_hash,
        worth=(worth / np.maximum(slope, 1e-6)).astype(np.float32),
    )
