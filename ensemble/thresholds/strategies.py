"""How thresholds are chosen from curves. A strategy is one function in ``STRATEGIES``.

A strategy returns one or more candidates, rows of thresholds for all tags; cross-validation picks
among them. ``joint_f`` starts from ``plugin_f`` and goes on in
:mod:`~tagstack.ensemble.thresholds.joint`; ``mcut`` and ``rcut`` cut each image's own list, so what
they give a tag is only the least that it must reach anywhere.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import logit

from tagstack.configs.decisions import Strategy, ThresholdSettings
from tagstack.ensemble.thresholds.curves import GRID, Bools, Counts, Floats, break_even
from tagstack.ensemble.thresholds.cuts import (
    Proposal,
    Sample,
    above_all,
    best_cuts,
    best_shared,
    capped,
    cut_at,
    edge,
    first_best,
    logits_of,
    pooled,
    thresholds_from_logits,
)
from tagstack.meta.metrics.intervals import Bound, lower_bound


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


def fixed(sample: Sample, settings: ThresholdSettings) -> Proposal:
    """Return ``settings.value`` for every tag."""
    return Proposal.of(np.full(sample.curves.n_tags, logit(settings.value)), own=_none(sample))


def one_threshold(sample: Sample, settings: ThresholdSettings) -> Proposal:
    """Return the one threshold that is best over all tags."""
    together = np.zeros(sample.curves.n_tags, np.intp)
    return Proposal.of(best_shared(sample.curves, together, settings), own=_none(sample))


def by_category(sample: Sample, settings: ThresholdSettings) -> Proposal:
    """Return the threshold that is best over the tags of each category."""
    shared = best_shared(sample.curves, sample.category, settings)
    return Proposal.of(shared, own=_none(sample))


def scut(sample: Sample, settings: ThresholdSettings) -> Proposal:
    """Return each tag's best cut, averaged over folds and shrunk to its category's threshold.

    One candidate per entry of ``settings.shrinkage``: with ``n`` positives and strength ``k`` the
    tag's own cut weighs ``n / (n + k)``. A tag that does worse than ``settings.fbr`` on left-out
    folds is cut at the highest score seen.

    References
    ----------
    Yang (2001), "A study of thresholding strategies for text categorization".
    Fan & Lin (2007), "A study on threshold selection for multi-label classification".
    """
    parts = sample.parts if settings.cv else (sample.curves,)
    cuts = np.stack([best_cuts(part, settings) for part in parts])
    found = ~np.isnan(cuts)
    own = np.where(found, cuts, 0).sum(0) / np.maximum(found.sum(0), 1)
    category = best_shared(sample.curves, sample.category, settings)
    n_positives = sample.curves.n_positives
    usable = found.any(0) & (n_positives >= settings.min_positives)
    hopeless = _hopeless(sample, settings)
    rows = []
    for strength in settings.shrinkage:
        weight = n_positives / np.maximum(n_positives + strength, 1)
        shrunk = np.where(usable, weight * own + (1 - weight) * category, category)
        shrunk = np.where(hopeless, np.maximum(shrunk, above_all(sample.curves)), shrunk)
        rows.append(capped(shrunk, sample.curves, settings))
    return Proposal(logits=np.stack(rows), own=usable)


def plugin_f(sample: Sample, settings: ThresholdSettings) -> Proposal:
    """Return ``F* / (1 + beta^2)`` of each tag, where F* is what its probabilities lead to expect.

    Right as far as the probabilities are calibrated. It reads no label of the tag itself, so rare
    tags do not overfit: what they borrow from others is in their calibration. Where rivals contest
    a tag, the threshold is the cut with the highest expected F-beta among what is left to it.

    References
    ----------
    Lipton, Elkan & Naryanaswamy (2014), "Optimal thresholding of classifiers to maximize F1
    measure".
    """
    curves = sample.curves
    score = _expected_f(sample, settings.beta)
    best = np.zeros(curves.n_tags)
    np.maximum.at(best, curves.tag, score)
    plugged = logits_of(best / (1 + settings.beta**2))
    if sample.contested:
        plugged = cut_at(curves, score)
    category = best_shared(curves, sample.category, settings)
    logits = np.where((best > 0) & ~np.isnan(plugged), plugged, category)
    enough = curves.n_positives >= settings.min_positives
    return Proposal.of(capped(logits, curves, settings), own=enough)


def expected_utility(sample: Sample, settings: ThresholdSettings) -> Proposal:
    """Return the probability at which tagging starts to pay, the same for every tag."""
    level = logit(break_even(settings))
    return Proposal.of(np.full(sample.curves.n_tags, level), own=_none(sample))


def per_image(sample: Sample, settings: ThresholdSettings) -> Proposal:
    """Return no limit of the tag's own: the image's cut decides."""
    return Proposal.of(np.full(sample.curves.n_tags, -np.inf), own=_none(sample))


STRATEGIES: dict[Strategy, Callable[[Sample, ThresholdSettings], Proposal]] = {
    "fixed": fixed,
    "one_threshold": one_threshold,
    "category": by_category,
    "scut": scut,
    "plugin_f": plugin_f,
    "joint_f": plugin_f,
    "expected_utility": expected_utility,
    "precision_at_least": precision_at_least,
    "recall_at_least": recall_at_least,
    "p_equals_r": p_equals_r,
    "mcut": per_image,
    "rcut": per_image,
}

PER_IMAGE: frozenset[Strategy] = frozenset({"mcut", "rcut"})

__all__ = ["PER_IMAGE", "STRATEGIES", "Sample", "thresholds_from_logits"]


def _none(sample: Sample) -> Bools:
    return np.zeros(sample.curves.n_tags, bool)


def _hopeless(sample: Sample, settings: ThresholdSettings) -> Bools:
    """Return the tags whose cuts of the other folds score below ``settings.fbr`` on each fold."""
    if not settings.fbr:
        return _none(sample)
    total: Counts | None = None
    for part, held in zip(sample.parts, sample.held, strict=True):
        cut = np.nan_to_num(best_cuts(part, settings), nan=np.inf)
        counts = held.counts(thresholds_from_logits(cut, part.floor))
        total = counts if total is None else total + counts
    if total is None:
        return _none(sample)
    return np.asarray(np.nan_to_num(total.f_beta(settings.beta)) < settings.fbr)


def _expected_f(sample: Sample, beta: float) -> Floats:
    """Return the F-beta to expect of a cut at each pair; 0 where no threshold can lie."""
    curves = sample.curves
    mass = np.cumsum(curves.believed, dtype=np.float64)
    start = curves.starts[curves.tag]
    hits = mass - np.concatenate([[0.0], mass])[start] + curves.sure_hits[curves.tag]
    listed = np.bincount(curves.tag, curves.believed, minlength=curves.n_tags)
    unlisted = sample.n_images - np.diff(curves.starts) - curves.sure
    total = listed + unlisted * curves.floor + curves.sure_hits
    predicted = np.arange(1, len(hits) + 1) - start + curves.sure[curves.tag]
    score = (1 + beta**2) * hits / (predicted + beta**2 * total[curves.tag])
    return np.where(curves.is_cut, score, 0.0)
