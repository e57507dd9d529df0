"""What a threshold is chosen to raise: F-beta or a utility, over counts of any shape.

A goal is defined for every cut of every tag at once; NaN where it is undefined (F-beta of a tag
without positives).
"""

import numpy as np

from tagstack.configs.decisions import ThresholdSettings
from tagstack.ensemble.thresholds.curves import Counts, Floats


def goal_of(counts: Counts, settings: ThresholdSettings) -> Floats:
    """Return what each entry of ``counts`` is worth under the objective of ``settings``.

    F-beta in [0, 1], or the utility gained over tagging nothing, summed over images.
    """
    if settings.objective == "utility":
        return gained(counts, settings)
    return counts.f_beta(settings.beta)


def average_goal(counts: Counts, settings: ThresholdSettings, axis: int = 0) -> Floats:
    """Return the goal over the tags on ``axis``: macro or micro F-beta, or all utility gained.

    Tags without positives are left out of macro F-beta.
    """
    if settings.objective == "utility":
        return np.asarray(np.sum(gained(counts, settings), axis=axis))
    return average_f(counts, settings, axis)


def average_f(counts: Counts, settings: ThresholdSettings, axis: int = 0) -> Floats:
    """Return macro or micro F-beta over the tags on ``axis``, tags without positives left out."""
    if settings.average == "macro":
        scores = counts.f_beta(settings.beta)
        n_defined = np.maximum((~np.isnan(scores)).sum(axis=axis), 1)
        return np.asarray(np.nansum(scores, axis=axis) / n_defined)
    return np.asarray(np.nan_to_num(counts.total(axis).f_beta(settings.beta)))


def gained(counts: Counts, settings: ThresholdSettings) -> Floats:
    """Return the utility gained over tagging nothing: what hits bring less what errors cost."""
    worth = settings.utility
    hits = counts.hits * (worth.tp - worth.fn)
    return np.asarray(hits + (counts.predicted - counts.hits) * (worth.fp - worth.tn), np.float64)


def break_even(settings: ThresholdSettings) -> float:
    """Return the probability at which tagging and not tagging are worth the same, in (0, 1).

    References
    ----------
    Elkan (2001), "The foundations of cost-sensitive learning".
    """
    worth = settings.utility
    return (worth.tn - worth.fp) / ((worth.tn - worth.fp) + (worth.tp - worth.fn))
