"""Thresholds of few labels, held by what the start gave before there was any.

A threshold fitted on two positives is a guess. What the start knows of the tag, how often it comes,
needs no label: the cut that gives a tag on as many images as the start does is a threshold of any
rung. Fitted thresholds are drawn towards it, the less the more positives a tag has.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.orders import middle_after_first
from tagstack.base_models.pairs import PairProba
from tagstack.ensemble.thresholds.curves import Bools, Sorted
from tagstack.ensemble.thresholds.cuts import logits_of


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
    value: NDArray[np.float32],
    positives: NDArray[np.int64],
    ordered: Sorted,
    anchor: Anchor,
    tags: Bools,
) -> NDArray[np.float32]:
    """Return thresholds drawn towards those that give each tag as often as the start does.

    Of the shape of ``value``.

    Parameters
    ----------
    value : array of shape (n_tags,), float32
        Fitted on the same pairs.
    positives : array of shape (n_tags,), int64
        Images with the tag.
    ordered : Sorted
        Probabilities out of fold, of the images that the anchor's rates are of.
    anchor : Anchor
    tags : array of shape (n_tags,), bool
        The only tags that are drawn: a target that is held, such as a precision, is none of the
        start's; a certified threshold keeps its promise, one given by hand its hand.
    """
    curves = ordered.curves
    own = positives / np.maximum(positives + anchor.positives, 1e-9)
    own = np.ones(len(own)) if anchor.positives == 0 else own
    reached = middle_after_first(
        curves.starts, anchor.rates, lambda rows: logits_of(curves.proba[rows])
    )
    cuts = np.where(np.isnan(anchor.own_cuts), expit(reached), anchor.own_cuts)
    # Tags that the start gives nowhere here, or that nobody is to get, have nothing to draw to.
    free = np.isnan(cuts) | np.isinf(value) | (own == 1) | ~tags
    drawn = own * logits_of(value) + (1 - own) * logits_of(cuts)
    above = np.nextafter(curves.floor, np.float32(1))  # an unlisted pair is never tagged
    return np.maximum(np.where(free, value, expit(drawn)).astype(np.float32), above)
