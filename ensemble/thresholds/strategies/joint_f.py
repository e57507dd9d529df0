"""Thresholds of all tags chosen together for the F-beta that the decoder leaves.

Where rules make tags compete, what one tag gains another loses, and no tag's threshold is right by
itself. F-beta of all tags is linearised at the tags decided so far: one more tagged pair of tag
``j`` changes it by ``worth_j * (p - t_j)``, where a hit of a rare tag is worth more to macro F-beta
than one of a frequent tag, and all are worth the same to micro F-beta. The decoder keeps the legal
tags with the largest sum of that, and the next round starts from them. No label is read: hits are
what the probabilities lead to expect, so nothing overfits as long as they are calibrated.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from tagstack.base_models.pairs import PairProba
from tagstack.configs.decisions import ThresholdSettings
from tagstack.ensemble.thresholds.curves import Bools, Floats
from tagstack.ensemble.thresholds.cuts import logits_of
from tagstack.ensemble.thresholds.deciding import Cutting, Values
from tagstack.ensemble.thresholds.objective_texts import f_text
from tagstack.ensemble.thresholds.strategies.per_tag import PluginF
from tagstack.ensemble.thresholds.strategies.strategy import Decide

_STEP = 0.5  # of the way to the linearisation's answer; whole steps went back and forth
_FEW = 2.0  # a tag hardly expected at all must not be worth more than one expected this often
_WIDEST = 1e3  # ratio of the worths of two tags to the median's, at most


class JointF(PluginF):
    """Thresholds that raise macro and micro F-beta of what is decided, all tags' together.

    References
    ----------
    Narasimhan et al. (2015), "Optimizing non-decomposable performance measures: a tale of two
    classes", for the iteration; Lipton et al. (2014) for the threshold at ``F / (1 + beta^2)``.
    """

    name = "joint_f"
    title = "F together"
    optimises = "macro and micro F-beta of what the rules leave, all tags together"
    reads = (*PluginF.reads, "macro_share", "joint_rounds", "fbr")
    proposes_by = PluginF.reads
    refits = False
    needs_decoder = True
    label_free = True  # but of tags without any probability, which no image is given

    def jointly(
        self,
        proba: PairProba,
        start: Values,
        tags: Bools,
        n_positive_tags: int,
        settings: ThresholdSettings,
        decide: Decide,
        image_weight: Floats | None = None,
    ) -> Cutting:
        """Return thresholds and worths of ``tags``, starting from `PluginF`'s."""
        expected = _Expected(proba, image_weight)
        steepness: Floats | None = None
        cutting = Cutting(value=start)
        best, highest = cutting, -np.inf
        for _ in range(settings.joint_rounds + 1):
            slopes = expected.slopes(decide(cutting), tags, n_positive_tags, settings)
            if slopes.score > highest:
                best, highest = cutting, slopes.score
            steepness = (
                slopes.steepness if steepness is None else _between(steepness, slopes.steepness)
            )
            moved = _moved(cutting.value, slopes.threshold, expected.least)
            value = np.where(tags, moved, start).astype(np.float32)
            cutting = Cutting(value=value, worth=_worth(value, steepness, tags))
        return best if best.worth is not None else cutting

    def written(self, settings: ThresholdSettings) -> str:
        """Return F-beta, and which average where it raises one alone."""
        if 0 < settings.macro_share < 1:
            return f"F{settings.beta:g}"
        return f_text("macro" if settings.macro_share else "micro", settings)


@dataclass(frozen=True, kw_only=True)
class _Slopes:
    """Macro and micro F-beta and how one more pair of each tag changes them."""

    score: float
    threshold: Floats
    steepness: Floats


class _Expected:
    """What the probabilities lead to expect of decided tags."""

    def __init__(self, proba: PairProba, image_weight: Floats | None) -> None:
        pairs = proba.pairs
        base = np.nan_to_num(proba.base.astype(np.float64))
        self.proba = proba
        self.weight = np.ones(pairs.n_images) if image_weight is None else image_weight
        listed, believed = np.zeros(pairs.n_tags), np.zeros(pairs.n_tags)
        for images, rows in pairs.blocks():
            own = np.repeat(
                self.weight[images], np.diff(pairs.indptr[images.start : images.stop + 1])
            )
            np.add.at(listed, pairs.tag[rows], own)
            np.add.at(believed, pairs.tag[rows], self._believed(rows) * own)
        self.mass = believed + (self.weight.sum() - listed) * base
        self.least = np.nextafter(base.astype(np.float32), np.float32(2))

    def _believed(self, rows: slice | NDArray[np.int64]) -> Floats:
        return np.nan_to_num(self.proba.proba[rows].astype(np.float64))

    def slopes(
        self, decided: sparse.csr_array, tags: Bools, n_positive: int, settings: ThresholdSettings
    ) -> _Slopes:
        b2, share = settings.beta**2, settings.macro_share
        n_tags, image = (
            len(self.mass),
            np.repeat(np.arange(len(self.weight)), np.diff(decided.indptr)),
        )
        place, listed = self.proba.pairs.find(decided.indptr, decided.indices)
        own, tag = self.weight[image], decided.indices
        hits = np.bincount(tag[listed], self._believed(place[listed]) * own[listed], n_tags)
        weight = np.bincount(tag, own, n_tags) + b2 * self.mass
        f_beta = (1 + b2) * hits / np.maximum(weight, 1e-9)
        together = (1 + b2) * hits[tags].sum() / max(weight[tags].sum(), 1e-9)
        own = share / max(n_positive, 1) / np.maximum(weight, _FEW)
        shared = (1 - share) / max(weight[tags].sum(), _FEW)
        return _Slopes(
            score=share * f_beta[tags].sum() / max(n_positive, 1) + (1 - share) * together,
            threshold=(own * f_beta + shared * together) / (own + shared) / (1 + b2),
            steepness=own + shared,
        )


def _moved(value: Values, goal: Floats, least: Values) -> Values:
    """Return thresholds a step nearer to their goals, on the logit scale."""
    logits = (1 - _STEP) * logits_of(value) + _STEP * logits_of(goal)
    return np.asarray(np.maximum(expit(logits).astype(np.float32), least))


def _between(one: Floats, other: Floats) -> Floats:
    return np.asarray(np.exp((1 - _STEP) * np.log(one) + _STEP * np.log(other)))


def _worth(value: Values, steepness: Floats, tags: Bools) -> Values:
    """Return worths in the unit of log-odds: as steep as these at the median tag's threshold.

    Other tags are as steep as log-odds at their own thresholds.
    """
    inside = np.clip(value.astype(np.float64), 1e-3, 1 - 1e-3)
    unit = 1 / (inside * (1 - inside))
    scale = float(np.median((steepness / unit)[tags]))
    worth = np.where(tags, np.clip(steepness / scale, 1 / _WIDEST, _WIDEST), unit)
    return worth.astype(np.float32)
