"""What the table says of each threshold: the figure that its objective speaks of, with interval."""

import numpy as np
from scipy.special import ndtri

from tagstack.configs.decisions import ThresholdSettings
from tagstack.ensemble.thresholds.curves import Counts, Floats, Ints, gained
from tagstack.meta.metrics.intervals import f_interval, share_interval

Measured = tuple[Floats, Floats, Floats]
"""Estimate, low and high end, each of shape (n_tags,)."""


def measured(counts: Counts, n_images: int, settings: ThresholdSettings) -> Measured:
    """Return precision, recall, utility an image or F-beta, whichever the objective is about.

    Parameters
    ----------
    counts : Counts
        Of decided tags, arrays of shape (n_tags,), on images that the thresholds have not seen.
    n_images : int
    settings : ThresholdSettings
    """
    if settings.strategy == "precision_at_least":
        return _share(counts.hits, counts.predicted, settings.confidence)
    if settings.strategy == "recall_at_least":
        return _share(counts.hits, counts.positives, settings.confidence)
    if settings.objective == "utility" and settings.strategy not in ("plugin_f", "joint_f"):
        return _utility(counts, n_images, settings)
    low, high = f_interval(counts, settings.beta, settings.confidence)
    return counts.f_beta(settings.beta), low, high


def _share(hits: Ints, trials: Ints, confidence: float) -> Measured:
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
