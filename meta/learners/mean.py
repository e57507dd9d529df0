"""Averages of the members: the simplest rungs of the ladder, which every learner must beat."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.special import logit as logit_of

from tagstack.base_models.pairs import Level1Scores
from tagstack.meta.calibrators.calibration import MemberLogits

Floats = NDArray[np.float64]

_MARGIN = 1e-7  # keeps the logit of a mean probability finite


def raw_members(scores: Level1Scores) -> MemberLogits:
    """Return the members' own logits, uncalibrated; NaN where a member abstains."""
    floor = np.broadcast_to(scores.floor[:, None].astype(np.float64), scores.knows.shape)
    return MemberLogits(listed=scores.logit, base=np.where(scores.knows, floor, np.nan))


def mean_logit(logit: NDArray[np.floating], weights: Floats | None = None) -> Floats:
    """Return the logit of the (weighted) mean probability of the members that know the tag.

    Parameters
    ----------
    logit : array of shape (n_members, n), floating
        NaN where a member abstains: its weight goes to the others.
    weights : array of shape (n_members,), float64, optional
        All equal when not given. Where only members of weight 0 know the tag, all count alike.

    Returns
    -------
    array of shape (n,), float64
        NaN where no member knows the tag.
    """
    weights = np.ones(len(logit)) if weights is None else weights
    logit = np.asarray(logit, np.float64)
    known = ~np.isnan(logit)
    weight = np.where(known, weights[:, None], 0.0)
    weight = np.where(weight.sum(axis=0) > 0, weight, known)
    proba = np.where(known, expit(logit), 0.0)
    total = weight.sum(axis=0)
    mean = (weight * proba).sum(axis=0) / np.where(total > 0, total, np.nan)
    return np.asarray(logit_of(np.clip(mean, _MARGIN, 1 - _MARGIN)), np.float64)
