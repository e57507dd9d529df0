"""How far further taggers could better an image's tags, told before they have looked.

A pair's margin is the log-odds of its probability less those of its threshold. The margin that all
taggers together will give is taken to lie round the one at hand, normally, with a variance that
grows with how far the last tagger moved it: taggers that disagree will be moved again. So each
pair has a chance to change sides, and an image an expected number of pairs that do. That number,
how many of its tags are expected to be wrong or missed already, and how far the last tagger moved
them are the *signs* from which a linear fit tells what going on is worth.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.ensemble.thresholds.cuts import logits_of

Floats = NDArray[np.float64]
_FARTHEST = 15.0  # log-odds; nothing is surer
_NEAR = 3.0  # pairs that are fitted on: what lies farther from its threshold hardly ever changes
_LEAST = 1e-4  # of a variance, which divides
_RIDGE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Margins:
    """Margins of the listed pairs of some images, and what unlisted pairs of a tag have.

    Parameters
    ----------
    pairs : Pairs
    listed : array of shape (n_pairs,), float64
    base : array of shape (n_tags,), float64
    proba : array of shape (n_pairs,), float64, in [0, 1]
    """

    pairs: Pairs
    listed: Floats
    base: Floats
    proba: Floats

    @classmethod
    def of(cls, proba: PairProba, thresholds: NDArray[np.float32]) -> "Margins":
        """Return the margins of probabilities; no probability and no threshold count as never."""
        cuts = np.where(np.isfinite(thresholds), thresholds, 1.0).astype(np.float64)
        return cls(
            pairs=proba.pairs,
            listed=_margin(proba.proba, cuts[proba.pairs.tag]),
            base=_margin(proba.base, cuts),
            proba=np.nan_to_num(proba.proba.astype(np.float64), nan=0.0),
        )

    def at(self, pairs: Pairs) -> Floats:
        """Return the margins of other listed pairs of the same images, shape (n_pairs,)."""
        own, wanted = self.pairs.keys(), pairs.keys()
        found = self.base[pairs.tag].copy()
        _, here, there = np.intersect1d(own, wanted, assume_unique=True, return_indices=True)
        found[there] = self.listed[here]
        return found


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """What is expected of the taggers that have not looked yet.

    Parameters
    ----------
    variance : float, above 0
        Of the last margin round one that the last tagger did not move, in squared log-odds.
    disagreement : float, at least 0
        What each squared log-odd adds that it did.
    """

    variance: float
    disagreement: float

    @classmethod
    def fitted(cls, now: Margins, before: Margins | None, last: Margins) -> "Doubt":
        """Return it for images that all taggers have scored, from probabilities out of fold."""
        from scipy.optimize import nnls  # only fitting needs it

        near = np.abs(now.listed) < _NEAR
        moved = _moved(now, before)[near] ** 2
        missed = (last.at(now.pairs) - now.listed)[near] ** 2
        if not near.any():
            return cls(variance=1.0, disagreement=0.0)
        design = np.column_stack([np.ones(len(moved)), moved])
        (variance, disagreement), _ = nnls(design if moved.any() else design * [1, 0], missed)
        return cls(variance=max(float(variance), _LEAST), disagreement=float(disagreement))

    def signs(self, now: Margins, before: Margins | None) -> Floats:
        """Return what is known of each image before the next tagger, shape (n_images, n_signs).

        A one, the pairs expected to change sides, the tags given, those of them expected to be
        wrong, the tags expected to be missed, and how far the last tagger moved probabilities.
        """
        moved = _moved(now, before)
        variance = self.variance + self.disagreement * moved**2
        changing = ndtr(-np.abs(now.listed) / np.sqrt(variance))
        given = now.listed >= 0
        wrong, missed = np.where(given, 1 - now.proba, 0.0), np.where(given, 0.0, now.proba)
        known = [
            np.bincount(now.pairs.image, values, minlength=now.pairs.n_images)
            for values in (changing, given, wrong, missed, _changed(now, before))
        ]
        return np.column_stack([np.ones(now.pairs.n_images), *known])


SIGNS = 6
"""How many numbers `Doubt.signs` gives for an image."""


def linear_worth(signs: Floats, gain: Floats) -> Floats:
    """Return weights of signs, shape (n_signs,), that tell a gain, by least squares.

    Signs on their own scales, held a little to nothing: alike signs share their weight.
    """
    scale = np.maximum(np.abs(signs).mean(axis=0), _LEAST)
    design = signs / scale
    held = _RIDGE * len(design) * np.eye(design.shape[1])
    held[0, 0] = 0.0
    weights = np.linalg.solve(
        design.T @ design + held + _LEAST * np.eye(len(held)), design.T @ gain
    )
    return np.asarray(weights / scale, np.float64)


def _margin(proba: NDArray[np.float32], cuts: Floats) -> Floats:
    values = np.nan_to_num(proba.astype(np.float64), nan=0.0)
    margin = logits_of(values) - logits_of(cuts)
    return np.asarray(np.clip(margin, -_FARTHEST, _FARTHEST), np.float64)


def _moved(now: Margins, before: Margins | None) -> Floats:
    return np.zeros(len(now.listed)) if before is None else now.listed - before.at(now.pairs)


def _changed(now: Margins, before: Margins | None) -> Floats:
    """Return how far each pair's probability lies from what the head before said."""
    if before is None:
        return np.zeros(len(now.listed))
    cuts = logits_of(np.clip(now.proba, 1e-6, 1 - 1e-6)) - now.listed
    return np.asarray(np.abs(now.proba - expit(before.at(now.pairs) + cuts)), np.float64)
