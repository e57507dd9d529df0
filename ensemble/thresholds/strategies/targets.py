"""A target to hold: precision, recall, or as many tags as there are."""

import numpy as np
from scipy.special import logit

from tagstack.configs.decisions import ThresholdSettings
from tagstack.ensemble.thresholds.curves import GRID, Bools, Ints
from tagstack.ensemble.thresholds.cuts import (
    CutSample,
    Proposal,
    above_all,
    edge,
    first_best,
    logits_of,
    pooled,
)
from tagstack.ensemble.thresholds.measures import Measured, share_measured
from tagstack.ensemble.thresholds.objective_texts import number_in
from tagstack.ensemble.thresholds.strategies.strategy import Changes, Guarantee, Strategy
from tagstack.meta.metrics.counts import Counts
from tagstack.meta.metrics.intervals import Bound, lower_bound


def _of_predicted(counts: Counts, settings: ThresholdSettings) -> tuple[Ints, float]:
    return counts.predicted, settings.precision


def _of_positives(counts: Counts, settings: ThresholdSettings) -> tuple[Ints, float]:
    return np.broadcast_to(counts.positives, np.shape(counts.hits)), settings.recall


class PrecisionAtLeast(Strategy):
    """The laxest cut that is precise enough."""

    name = "precision_at_least"
    title = "Precision"
    optimises = "recall of each tag, as far as its precision keeps to the target"
    reads = ("precision", "bound", "confidence", "min_positives")
    forms = ("precision>=0.9",)
    aim = "target"
    guarantee = Guarantee(trials=_of_predicted, strict_first=True)

    def propose(self, sample: CutSample, settings: ThresholdSettings) -> Proposal:
        """Return each tag's laxest cut whose precision reaches ``settings.precision``."""
        curves, counts = sample.curves, sample.curves.cut_counts()
        enough = curves.n_positives >= settings.min_positives
        own = edge(curves, _precise(counts, settings, settings.bound), "laxest")
        own[~enough] = np.nan

        def choose(group: Counts) -> int | None:
            fine = np.flatnonzero(_precise(group.total(), settings, settings.bound))
            return int(fine[0]) if len(fine) else None

        shared = pooled(curves, sample.category, choose, float(logit(GRID[-1])))
        # Where the tag's own images speak against the shared threshold, they are heeded.
        seen = edge(curves, _precise(counts, settings, "none"), "laxest")
        least = np.where(np.isnan(seen), above_all(curves), seen)
        shared = np.where(enough, np.maximum(shared, least), shared)
        return Proposal.of(np.where(np.isnan(own), shared, own), own=~np.isnan(own))

    def measured(self, counts: Counts, n_images: int, settings: ThresholdSettings) -> Measured:
        """Return precision. Three arrays of shape (n_tags,)."""
        return share_measured(counts.hits, counts.predicted, settings.confidence)

    def written(self, settings: ThresholdSettings) -> str:
        """Return ``precision>=NUMBER``."""
        return f"precision>={settings.precision:g}"

    def read(self, text: str, settings: ThresholdSettings) -> Changes | None:
        """Return the number after ``precision>=``."""
        return number_in(text, "precision>=", "precision")


class RecallAtLeast(Strategy):
    """The strictest cut that misses little enough."""

    name = "recall_at_least"
    title = "Recall"
    optimises = "precision of each tag, as far as its recall keeps to the target"
    reads = ("recall", "bound", "confidence", "min_positives")
    forms = ("recall>=0.8",)
    aim = "target"
    guarantee = Guarantee(trials=_of_positives, strict_first=False)

    def propose(self, sample: CutSample, settings: ThresholdSettings) -> Proposal:
        """Return each tag's strictest cut whose recall reaches ``settings.recall``."""
        curves = sample.curves
        enough = curves.n_positives >= settings.min_positives
        own = edge(curves, _complete(curves.cut_counts(), settings), "strictest")
        own[~enough] = np.nan

        def choose(group: Counts) -> int | None:
            fine = np.flatnonzero(_complete(group.total(), settings))
            return int(fine[-1]) if len(fine) else None

        shared = pooled(curves, sample.category, choose, float(logit(GRID[0])))
        return Proposal.of(np.where(np.isnan(own), shared, own), own=~np.isnan(own))

    def measured(self, counts: Counts, n_images: int, settings: ThresholdSettings) -> Measured:
        """Return recall. Three arrays of shape (n_tags,)."""
        return share_measured(counts.hits, counts.positives, settings.confidence)

    def written(self, settings: ThresholdSettings) -> str:
        """Return ``recall>=NUMBER``."""
        return f"recall>={settings.recall:g}"

    def read(self, text: str, settings: ThresholdSettings) -> Changes | None:
        """Return the number after ``recall>=``."""
        return number_in(text, "recall>=", "recall")


class PEqualsR(Strategy):
    """Predicted as often as true."""

    name = "p_equals_r"
    title = "Precision = recall"
    optimises = "nothing: each tag is predicted as often as it is true"
    reads = ("average", "value", "min_positives")
    forms = ("p=r",)
    aim = "target"

    def propose(self, sample: CutSample, settings: ThresholdSettings) -> Proposal:
        """Return the cuts at which a tag is predicted as often as it is true: precision = recall.

        With ``average = "micro"`` one threshold does so for all tags together, as taggers publish
        it.
        """
        curves = sample.curves
        together = np.zeros(curves.n_tags, np.intp)

        def choose(group: Counts) -> int | None:
            all_of = group.total()
            off = np.abs(all_of.predicted - all_of.positives)
            return None if not all_of.positives.any() else len(off) - 1 - int(np.argmin(off[::-1]))

        if settings.average == "micro":
            shared = pooled(curves, together, choose, float(logit(settings.value)))
            return Proposal.of(shared, own=np.zeros(curves.n_tags, bool))
        shared = pooled(curves, sample.category, choose, float(logit(settings.value)))
        counts = curves.cut_counts()
        near = np.where(curves.is_cut, -np.abs(counts.predicted - counts.positives), -np.inf)
        own = np.full(curves.n_tags, np.nan)
        place = first_best(near, curves)
        own[curves.tag[place]] = np.where(
            np.isfinite(near[place]), logits_of(curves.proba[place]), np.nan
        )
        own[curves.n_positives < settings.min_positives] = np.nan
        return Proposal.of(np.where(np.isnan(own), shared, own), own=~np.isnan(own))

    def written(self, settings: ThresholdSettings) -> str:
        """Return ``p=r``."""
        return "p=r"

    def read(self, text: str, settings: ThresholdSettings) -> Changes | None:
        """Return no change but the strategy's for ``p=r``."""
        return {} if text == "p=r" else None


def _precise(counts: Counts, settings: ThresholdSettings, bound: Bound) -> Bools:
    low = lower_bound(counts.hits, counts.predicted, settings.confidence, bound)
    return np.asarray((low >= settings.precision) & (counts.predicted > 0))


def _complete(counts: Counts, settings: ThresholdSettings) -> Bools:
    low = lower_bound(counts.hits, counts.positives, settings.confidence, settings.bound)
    return np.asarray((low >= settings.recall) & (counts.positives > 0))
