"""What the table says of each threshold: the figure that its objective speaks of, with interval."""

import numpy as np
from scipy.special import ndtri

from tagstack.configs.decisions import ThresholdSettings
from tagstack.ensemble.thresholds.curves import Floats, Ints, gained
from tagstack.meta.metrics.counts import Counts
from tagstack.meta.metrics.intervals import f_interval, share_interval

Measured = tuple[Floats, Floats, Floats]
"""Estimate, low and high end, each of shape (n_tags,)."""


def goal_measured(counts: Counts, n_images: int, settings: ThresholdSettings) -> Measured:
    """Return utility an image where ``settings.objective`` says so, F-beta otherwise.

    Parameters
    ----------
    counts : Counts
        Of decided tags, arrays of shape (n_tags,), on images that the thresholds have not seen.
    n_images : int
    settings : ThresholdSettings
    """
    if settings.objective == "utility":
        return _utility(counts, n_images, settings)
    return f_measured(counts, settings)


def f_measured(counts: Counts, settings: ThresholdSettings) -> Measured:
    """Return F-beta of counts of shape (n_tags,)."""
    low, high = f_interval(counts, settings.beta, settings.confidence)
    return counts.f_beta(settings.beta), low, high


def share_measured(hits: Ints, trials: Ints, confidence: float) -> Measured:
    """Return the share of hits in trials, both of shape (n_tags,); NaN without a trial."""
    share = np.where(trials > 0, hits / np.maximum(trials, 1), np.nan)
    low, high = share_interval(hits, trials, confidence)
    return share, low, high


def _utility(counts: Counts, n_images: int, settings: ThresholdSettings) -> Measured:
    mean = gained(counts, settings) / n_images
    worth = settings.utility
    hit, wrong = worth.tp - worth.fn, worth.fp - worth.tn
    square = (counts.hits * hit**2 + (counts.predicted - counts.hits) * wrong**2) / n_images
    spread = float(ndtri((1 + settings.confidence) / 2)) * np.sqrt(
        np.maximum(square - mean**2, 0) / n_images
    )
    return mean, mean - spread, mean + spread
