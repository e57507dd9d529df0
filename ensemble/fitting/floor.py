"""What a fit is held against: the answer that its taggers gave before any label was seen."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.ensemble.bundle.dataset import Dataset
from tagstack.ensemble.fitting.threshold_fit import ThresholdFit
from tagstack.ensemble.thresholds.deciding import decided_by
from tagstack.ensemble.thresholds.plan import worths_of
from tagstack.ensemble.thresholds.table import State, Thresholds
from tagstack.meta.labels.truth import known_labels, positives_per_tag, without_unknown
from tagstack.meta.metrics.count_metrics import metric_of
from tagstack.meta.metrics.counts import canonical, column_counts, count_by_tag, defined_mean
from tagstack.meta.metrics.decision_scores import decision_scores
from tagstack.meta.metrics.ranking import micro_average_precision
from tagstack.meta.metrics.utility import mean_utility
from tagstack.meta.metrics.weighted_ranking import without_abstentions
from tagstack.meta.stack.rung_spec import START
from tagstack.meta.stack.stacker import Stacker

_SLACK = (
    0.01  # of one F1, where the sum of both is ahead: what left-out folds of few labels can tell
)
# From so many images on, ranks of left-out folds count: with 200 and 400, what they decided gained
# nothing (docs/start.md).
_RANKED_IMAGES = 1000


@dataclass(frozen=True, kw_only=True)
class Floor:
    """Both answers on left-out folds, thresholds included, before any rules.

    Parameters
    ----------
    macro_f, micro_f : tuple of float
        Of what was fitted, and of the start.
    utility : tuple of float or None
        What the decisions on an image are worth, where thresholds are fitted for that; then this
        alone counts.
    metric : tuple of (str, float, float) or None
        A registered metric and both means of it, the higher the better, where thresholds raise
        that; then this alone counts.
    micro_ap_leads : tuple of float
        By how much what was fitted ranks all pairs of each left-out fold better; none where images
        are too few for that to count.
    n_images : int
        On which both were judged.
    """

    macro_f: tuple[float, float]
    micro_f: tuple[float, float]
    utility: tuple[float, float] | None = None
    metric: tuple[str, float, float] | None = None
    micro_ap_leads: tuple[float, ...] = ()
    n_images: int = 0

    @property
    def holds(self) -> bool:
        """Whether what was fitted is ahead in both F1 together, and in none clearly behind.

        Where it ranks better on every left-out fold (by chance once in 32, with five), it need not
        be ahead in F1: as good is enough, and what it lacks there may be as much as it ranks
        better, for whatever ranks better serves every other threshold.
        """
        if self.utility is not None:
            return self.utility[0] >= self.utility[1]
        if self.metric is not None:
            return self.metric[1] >= self.metric[2]
        leads = [ours - start for ours, start in (self.macro_f, self.micro_f)]
        many = self.n_images >= _RANKED_IMAGES
        if not (many and all(lead > 0 for lead in self.micro_ap_leads)):
            return sum(leads) >= 0 and min(leads) >= -_SLACK
        ranked = sum(self.micro_ap_leads) / max(len(self.micro_ap_leads), 1)
        return sum(leads) >= -max(_SLACK, ranked) and min(leads) >= -2 * _SLACK

    @property
    def text(self) -> str:
        """Both answers in words, what was fitted first."""
        if self.utility is not None:
            return f"worth {self.utility[0]:.3f} an image against {self.utility[1]:.3f}"
        if self.metric is not None:
            name, ours, start = self.metric
            return f"{name} {ours:.3f} against {start:.3f}, the higher the better"
        return (
            f"macro-F1 {self.macro_f[0]:.3f} against {self.macro_f[1]:.3f}, "
            f"micro-F1 {self.micro_f[0]:.3f} against {self.micro_f[1]:.3f}"
        )


def held_against_start(fit: ThresholdFit, stacker: Stacker) -> Floor:
    """Return what the chosen rung and the start decide on left-out folds.

    Parameters
    ----------
    fit : ThresholdFit
        Of the images that the stack was fitted on.
    stacker : Stacker
        With a start.
    """
    images, decided, given, leads = _left_out(fit, stacker)
    labels = fit.dataset.labels[images]
    fitted, before = (decision_scores(tags, labels, beta=1.0) for tags in (decided, given))
    worth, utility = worths_of(fit.settings, fit.dataset.scores.vocabulary), None
    if worth is not None:
        unknown = fit.dataset.unknown[images]
        utility = (
            mean_utility(decided, labels, worth, unknown),
            mean_utility(given, labels, worth, unknown),
        )
    metric = metric_of(fit.settings.metric if fit.settings.strategy == "metric" else "")
    measured = None
    if metric is not None:
        hidden = fit.dataset.unknown[images]
        known = len(images) - column_counts(canonical(hidden, labels.shape))
        ours, theirs = (
            defined_mean(metric(count_by_tag(known_labels(tags, hidden), labels), known))
            for tags in (decided, given)
        )
        measured = metric.name, ours, theirs
    return Floor(
        macro_f=(float(fitted.macro_f), float(before.macro_f)),
        micro_f=(float(fitted.micro_f), float(before.micro_f)),
        utility=utility,
        metric=measured,
        micro_ap_leads=leads,
        n_images=len(images),
    )


def _left_out(
    fit: ThresholdFit, stacker: Stacker
) -> tuple[NDArray[np.intp], sparse.csr_array, sparse.csr_array, tuple[float, ...]]:
    """Return the images fold by fold, the tags of both answers, and each fold's lead in ranks."""
    chosen, start = stacker.out_of_fold(stacker.chosen_), stacker.out_of_fold(START)
    cuts, labels = stacker.start_cuts().astype(np.float32), fit.dataset.labels
    fitted, starts, order, leads = [], [], [], []
    for fold in np.unique(stacker.folds_):
        others, own = np.flatnonzero(stacker.folds_ != fold), np.flatnonzero(stacker.folds_ == fold)
        cutting = fit.take(others).of(stacker.chosen_, chosen.take(others)).cutting(None)
        starts.append(decided_by(start.take(own), cuts))
        seen = positives_per_tag(labels[others]) > 0
        fitted.append(_answered(cutting.decided(chosen.take(own)), starts[-1], seen))
        if chosen.pairs.n_images >= _RANKED_IMAGES:
            lead = _micro_ap(chosen, fit.dataset, own) - _micro_ap(start, fit.dataset, own)
            leads.append(float(np.nan_to_num(lead)))  # a fold without labels says nothing
        order.append(own)
    decided, given = (sparse.csr_array(sparse.vstack(tags)) for tags in (fitted, starts))
    return np.concatenate(order), decided, given, tuple(leads)


def _answered(
    fitted: sparse.csr_array, start: sparse.csr_array, seen: NDArray[np.bool_]
) -> sparse.csr_array:
    """Return a fold's tags as a fit on the others gives them: of what they never had, the start's.

    A tag whose only groups lie in the fold is not hard for the fit that knows them all, but seems
    hopeless without them.
    """
    return sparse.csr_array(fitted * seen + start * ~seen)


def _micro_ap(proba: PairProba, dataset: Dataset, images: NDArray[np.intp]) -> float:
    unknown = dataset.unknown[images]
    judged = without_unknown(without_abstentions(proba.take(images)), unknown)
    return micro_average_precision(judged, known_labels(dataset.labels[images], unknown))


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
