"""Thresholds of few labels, held by what the start gave before there was any.

A threshold fitted on two positives is a guess. What the start knows of the tag, how often it comes,
needs no label: the cut that gives a tag on as many images as the start does is a threshold of any
rung. Fitted thresholds are drawn towards it, the less the more positives a tag has.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.pairs import PairProba
from tagstack.ensemble.thresholds.curves import Bools, Sorted
from tagstack.ensemble.thresholds.cuts import logits_of
from tagstack.ensemble.thresholds.table import Thresholds

_OWN = ("tuned", "pooled")  # a certified threshold keeps its promise, a fixed one its hand


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """What the start knows of a rung's tags, and how long it counts.

    Parameters
    ----------
    rates : array of shape (n_tags,), integer
        On how many of the images that thresholds are fitted on the start gives each tag.
    own_cuts : array of shape (n_tags,), float64
        Where the start gives a tag; NaN for tags that another rung serves.
    positives : float
        Positives at which a tag's own threshold counts as much as the start's.
    """

    rates: NDArray[np.int64]
    own_cuts: NDArray[np.float64]
    positives: float


def start_rates(start: PairProba, cuts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return on how many images the start gives each tag, shape (n_tags,).

    Parameters
    ----------
    start : PairProba
        The start's calibrated probabilities of the fit images.
    cuts : array of shape (n_tags,), float64
        Where it gives a tag, in the same probabilities.
    """
    kept = start.proba >= cuts[start.pairs.tag]
    return np.bincount(start.pairs.tag[kept], minlength=start.pairs.n_tags)


def anchored(
    thresholds: Thresholds, ordered: Sorted, anchor: Anchor, tags: Bools | None = None
) -> Thresholds:
    """Return thresholds drawn towards those that give each tag as often as the start does.

    Parameters
    ----------
    thresholds : Thresholds
        Fitted on the same pairs.
    ordered : Sorted
        Probabilities out of fold, of the images that the anchor's rates are of.
    anchor : Anchor
    tags : array of shape (n_tags,), bool, optional
        The only tags that are drawn: a target that is held, such as a precision, is none of the
        start's.
    """
    cuts = np.where(np.isnan(anchor.own_cuts), _cuts(ordered, anchor.rates), anchor.own_cuts)
    own = thresholds.positives / np.maximum(thresholds.positives + anchor.positives, 1e-9)
    own = np.ones(len(own)) if anchor.positives == 0 else own
    # Tags that the start gives nowhere here, or that nobody is to get, have nothing to draw to.
    free = np.isnan(cuts) | np.isinf(thresholds.value) | (own == 1)
    free |= np.array([state not in _OWN for state in thresholds.state])
    if tags is not None:
        free |= ~tags
    drawn = own * logits_of(thresholds.value) + (1 - own) * logits_of(cuts)
    value = np.where(free, thresholds.value, expit(drawn)).astype(np.float32)
    above = np.nextafter(ordered.curves.floor, np.float32(1))  # an unlisted pair is never tagged
    return replace(thresholds, value=np.maximum(value, above).astype(np.float32))


def _cuts(ordered: Sorted, count: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return for each tag the probability that its ``count`` most probable pairs reach.

    It lies in the middle, on the logit scale, between the last that reaches it and the next, at the
    last where there is no next, and at NaN where a tag has fewer pairs or none is wanted.
    """
    starts = ordered.curves.starts
    possible = (count > 0) & (count <= np.diff(starts))
    last = (starts[:-1] + count - 1)[possible]
    after = np.minimum(last + 1, starts[1:][possible] - 1)
    cuts = np.full(len(count), np.nan)
    cuts[possible] = expit(logits_of(ordered.curves.proba[np.stack([last, after])]).mean(axis=0))
    return cuts
