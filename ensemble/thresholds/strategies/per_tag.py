"""Each tag by itself: its best cut, or what its probabilities lead to expect."""

from typing import ClassVar

import numpy as np

from tagstack.configs.decisions import ThresholdSettings
from tagstack.ensemble.thresholds.curves import Bools, Curves, Floats, goal_of
from tagstack.ensemble.thresholds.cuts import (
    Average,
    CutSample,
    Goal,
    Proposal,
    above_all,
    best_cuts,
    best_shared,
    capped,
    cut_at,
    logits_of,
    thresholds_from_logits,
)
from tagstack.ensemble.thresholds.measures import Measured, f_measured
from tagstack.ensemble.thresholds.objective_texts import f_text, goal_text
from tagstack.ensemble.thresholds.strategies.shared import GOAL
from tagstack.ensemble.thresholds.strategies.strategy import Strategy, without_own
from tagstack.meta.metrics.counts import Counts, f_score


class Scut(Strategy):
    """The best cut of each tag, shrunk to its category's."""

    name = "scut"
    title = "Best cut"
    optimises = "F-beta or utility of each tag by itself, shrunk to its category's threshold"
    reads: ClassVar[tuple[str, ...]] = (
        *GOAL, "value", "cv", "shrinkage", "fbr", "min_positives", "max_rate",
    )  # fmt: skip
    needs_parts = True

    def propose(self, sample: CutSample, settings: ThresholdSettings) -> Proposal:
        """Return each tag's best cut, averaged over folds and shrunk to its category's threshold.

        One candidate per entry of ``settings.shrinkage``: with ``n`` positives and strength ``k``
        the tag's own cut weighs ``n / (n + k)``. A tag that does worse than ``settings.fbr`` on
        left-out folds is cut at the highest score seen.

        References
        ----------
        Yang (2001), "A study of thresholding strategies for text categorization".
        Fan & Lin (2007), "A study on threshold selection for multi-label classification".
        """
        parts = sample.parts if settings.cv else (sample.curves,)
        cuts = np.stack([best_cuts(part, settings, self.goal(part, settings)) for part in parts])
        found = ~np.isnan(cuts)
        own = np.where(found, cuts, 0).sum(0) / np.maximum(found.sum(0), 1)
        average = self.average(sample.curves, settings)
        category = best_shared(sample.curves, sample.category, settings, average)
        n_positives = sample.curves.n_positives
        usable = found.any(0) & (n_positives >= settings.min_positives)
        hopeless = self.hopeless(sample, settings)
        rows = []
        for strength in settings.shrinkage:
            weight = n_positives / np.maximum(n_positives + strength, 1)
            shrunk = np.where(usable, weight * own + (1 - weight) * category, category)
            shrunk = np.where(hopeless, np.maximum(shrunk, above_all(sample.curves)), shrunk)
            rows.append(capped(shrunk, sample.curves, settings))
        return Proposal(logits=np.stack(rows), own=usable)

    def goal(self, curves: Curves, settings: ThresholdSettings) -> Goal:
        """Return what a cut of one tag is worth; above 0, it is worth more than no tag."""
        return goal_of

    def average(self, curves: Curves, settings: ThresholdSettings) -> Average | None:
        """Return what one cut for several tags is worth; None for what the settings say."""
        return None

    def hopeless(self, sample: CutSample, settings: ThresholdSettings) -> Bools:
        """Return the tags that do not reach ``settings.fbr``, shape (n_tags,)."""
        return _hopeless(sample, settings)

    def written(self, settings: ThresholdSettings) -> str:
        """Return the goal."""
        return goal_text(settings)


class PluginF(Strategy):
    """The cut that each tag's probabilities lead to expect the highest F-beta of."""

    name = "plugin_f"
    title = "Expected F"
    optimises = "the F-beta of each tag by itself that its probabilities lead to expect"
    reads: ClassVar[tuple[str, ...]] = (*GOAL, "value", "min_positives", "max_rate")

    def propose(self, sample: CutSample, settings: ThresholdSettings) -> Proposal:
        """Return ``F* / (1 + beta^2)`` of each tag; F* is what its probabilities lead to expect.

        Right as far as the probabilities are calibrated. It reads no label of the tag itself, so
        rare tags do not overfit: what they borrow from others is in their calibration. Where rivals
        contest a tag, the threshold is the cut with the highest expected F-beta among what is left
        to it.

        References
        ----------
        Lipton, Elkan & Naryanaswamy (2014), "Optimal thresholding of classifiers to maximize F1
        measure".
        """
        curves = sample.curves
        best, cut = np.zeros(curves.n_tags), np.full(curves.n_tags, np.nan)
        for part in curves.parts():
            score = _expected_f(part, settings.beta)
            np.maximum.at(best, part.tag, score)
            if sample.contested:
                cut = np.fmax(cut, cut_at(part, score))  # a tag's pairs are all of one part
        plugged = cut if sample.contested else logits_of(best / (1 + settings.beta**2))
        category = best_shared(curves, sample.category, settings)
        logits = np.where((best > 0) & ~np.isnan(plugged), plugged, category)
        enough = curves.n_positives >= settings.min_positives
        return Proposal.of(capped(logits, curves, settings), own=enough)

    def measured(self, counts: Counts, n_images: int, settings: ThresholdSettings) -> Measured:
        """Return F-beta, which it raises whatever ``settings.objective`` says.

        Three arrays of shape (n_tags,).
        """
        return f_measured(counts, settings)

    def written(self, settings: ThresholdSettings) -> str:
        """Return the average of F-beta."""
        return f_text(settings.average, settings)


def _hopeless(sample: CutSample, settings: ThresholdSettings) -> Bools:
    """Return the tags whose cuts of the other folds score below ``settings.fbr`` on each fold."""
    if not settings.fbr:
        return without_own(sample)
    total: Counts | None = None
    for part, held in zip(sample.parts, sample.held, strict=True):
        cut = np.nan_to_num(best_cuts(part, settings), nan=np.inf)
        counts = held.counts(thresholds_from_logits(cut, part.floor))
        total = counts if total is None else total + counts
    if total is None:
        return without_own(sample)
    return np.asarray(np.nan_to_num(total.f_beta(settings.beta)) < settings.fbr)


def _expected_f(curves: Curves, beta: float) -> Floats:
    """Return the F-beta to expect of a cut at each pair; 0 where no threshold can lie."""
    always = curves.always
    ones = np.ones(len(curves.tag))
    own = ones if curves.weights is None else curves.weights.of_pair
    hits = curves.so_far(curves.believed.astype(np.float64)) + always.hits[curves.tag]
    listed = np.bincount(curves.tag, curves.believed * own, minlength=curves.n_tags)
    unlisted = curves.n_images - np.bincount(curves.tag, own, curves.n_tags) - always.predicted
    total = listed + np.maximum(unlisted, 0.0) * curves.floor + always.hits
    predicted = curves.so_far(ones) + always.predicted[curves.tag]
    score = f_score(hits, predicted, total[curves.tag], beta)
    return np.where(curves.is_cut, score, 0.0)
