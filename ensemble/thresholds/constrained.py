"""Thresholds that hold precision or recall to a target, or make the two equal.

A tag whose own images cannot show that it reaches the target takes the threshold at which its
category does, and is called pooled; if not even that exists, the strictest (or laxest) there is.
"""

import numpy as np
from scipy.special import logit

from tagstack.configs.decisions import ThresholdSettings
from tagstack.ensemble.thresholds.curves import GRID, Bools, Counts
from tagstack.ensemble.thresholds.cuts import Sample, above_all, edge, first_best, logits_of, pooled
from tagstack.ensemble.thresholds.intervals import Bound, lower_bound
from tagstack.ensemble.thresholds.proposals import Proposal


def precision_at_least(sample: Sample, settings: ThresholdSettings) -> Proposal:
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


def recall_at_least(sample: Sample, settings: ThresholdSettings) -> Proposal:
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


def p_equals_r(sample: Sample, settings: ThresholdSettings) -> Proposal:
    """Return the cuts at which a tag is predicted as often as it is true: precision = recall.

    With ``average = "micro"`` one threshold does so for all tags together, as taggers publish it.
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


def _precise(counts: Counts, settings: ThresholdSettings, bound: Bound) -> Bools:
    low = lower_bound(counts.hits, counts.predicted, settings.confidence, bound)
    return np.asarray((low >= settings.precision) & (counts.predicted > 0))


def _complete(counts: Counts, settings: ThresholdSettings) -> Bools:
    low = lower_bound(counts.hits, counts.positives, settings.confidence, settings.bound)
    return np.asarray((low >= settings.recall) & (counts.positives > 0))
