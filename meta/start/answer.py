"""An answer without labels: the taggers' own thresholds put on one scale, and their mean.

The mean lies between that of log-odds, which asks all taggers, and that of odds, which believes
whoever is sure: a tag that one of them learnt well and the others hardly saw is not denied.

A published threshold is mostly one number for all tags, and too high for rare ones: where a
network is unsure, as it is of what it seldom saw, F1 is best at half of the F1 that can be had
(Lipton, Elkan & Naryanaswamy 2014, "Optimal thresholding of classifiers to maximize F1 measure").
So each threshold is lowered by the logarithm of how rare the tag is, times a constant. Thresholds
that were published tag by tag know all this, and stay.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.configs.start import StartSettings
from tagstack.meta.start.published import Published

Floats = NDArray[np.float64]

# A pair that no tagger scored is never tagged: its logit stays below that of a half.
_BELOW = 1e-3
_FARTHEST = 30.0  # odds stay finite; nobody is surer than that
# A lowered threshold stays this far above what stands for "too small to be stored".
_ABOVE_FLOOR = 0.5
_FLOORS = 4  # kinds of floors whose answer is kept
# Of a tag that no tagger knows: their files never give it.
_NOBODY = -30.0


@dataclass(frozen=True, kw_only=True)
class StartAnswer:
    """What is needed to tag an image without labels; a pure function of the image's scores.

    A pair's logit is the weighted mean of ``(logit - zero) / spread`` over the members that know
    the tag, partly as log-odds and partly as odds, less ``cut``; at 0 and above, the tag is given.

    Parameters
    ----------
    zero : array of shape (n_members, n_tags), float64
        Where a member is taken to say yes, in its own logits; NaN where it does not know the tag.
    spread : array of shape (n_members, n_tags), float64, above 0
        How far a member's logits spread, relative to the other members'.
    weight : array of shape (n_members,), float64, above 0
    cut : array of shape (n_tags,), float64
    odds_share : float, in [0, 1]
        Of the mean of the odds; the rest has that of the log-odds.
    odds_lead : float
        What the former is lowered by, with many members of equal weight; nothing with one.
    """

    zero: Floats
    spread: Floats
    weight: Floats
    cut: Floats
    odds_share: float = 0.0
    odds_lead: float = 0.0

    def apply(self, scores: Level1Scores, spill: Spill = IN_MEMORY) -> tuple[Floats, Floats]:
        """Return logits, shapes (n_pairs,) of listed pairs and (n_tags,) of the unlisted by tag.

        ``spill`` says where the former lie.
        """
        listed = spill.empty(len(scores.pairs), np.float64)
        for _, rows in scores.pairs.blocks():
            tag = scores.pairs.tag[rows]
            listed[rows] = self._mean(scores.logit[:, rows], tag) - self.cut[tag]
            spill.let_go()
        base = self._mean_floor(scores.floor)
        return listed, np.minimum(base - self.cut, -_BELOW)

    def without_member(self, member: int) -> "StartAnswer":
        """Return the same answer where the member at this position says nothing.

        Tags that only this member knows are left to whoever stands in for it, and are hardly given.
        """
        kept = np.arange(len(self.weight)) != member
        zero = self.zero[kept]
        orphaned = np.isnan(zero).all(axis=0)
        zero[:, orphaned] = 0.0
        return replace(self, zero=zero, spread=self.spread[kept], weight=self.weight[kept])

    def with_silent_member(self) -> "StartAnswer":
        """Return the same answer for scores with one member more, which has no say in it."""
        return replace(
            self,
            zero=np.pad(self.zero, ((0, 1), (0, 0)), constant_values=np.nan),
            spread=np.pad(self.spread, ((0, 1), (0, 0)), constant_values=1.0),
            weight=np.append(self.weight, self.weight.mean()),
        )

    def _mean(self, logit: NDArray[np.float32], tag: NDArray[np.int32]) -> Floats:
        total, odds, weight, square = (np.zeros(len(tag)) for _ in range(4))
        for own, values in enumerate(logit):
            moved = (values - self.zero[own, tag]) / self.spread[own, tag]
            silent = np.isnan(moved)
            counts = self.weight[own] * ~silent
            known = np.where(silent, 0.0, moved)
            total += counts * known
            odds += counts * np.exp(np.clip(known, -_FARTHEST, _FARTHEST))
            weight += counts
            square += counts**2
        some = weight > 0
        weight = np.where(some, weight, 1.0)
        mean, of_odds = total / weight, np.log(np.where(some, odds, 1.0) / weight)
        lead = self.odds_lead * (1 - square / weight**2)
        mixed = mean + self.odds_share * (of_odds - lead - mean)
        return np.where(some, mixed, _NOBODY)

    def _mean_floor(self, floor: NDArray[np.float32]) -> Floats:
        seen = self._seen
        key = floor.tobytes()
        if key not in seen:
            tags = np.arange(len(self.cut), dtype=np.int32)
            found = self._mean(np.repeat(floor[:, None], len(tags), axis=1), tags)
            if len(seen) >= _FLOORS:
                return found
            seen[key] = found
        return seen[key]

    @cached_property
    def _seen(self) -> dict[bytes, Floats]:
        """What `_mean_floor` answered: taggers that stay open have the same floors every time."""
        return {}


def published_answer(
    published: Published, floor: NDArray[np.float32], settings: StartSettings
) -> StartAnswer:
    """Return the answer that published thresholds and counts give, every member alike.

    Parameters
    ----------
    published : Published
    floor : array of shape (n_members,), float32
        Logit of what a member scored below its store's floor.
    settings : StartSettings
    """
    rarity = np.nan_to_num(published.rarity, nan=0.0)
    lower = settings.rarity * rarity * ~published.by_tag[:, None]
    least = np.minimum(published.threshold, floor[:, None].astype(np.float64) + _ABOVE_FLOOR)
    zero = np.maximum(published.threshold - lower, least)
    return StartAnswer(
        zero=zero,
        spread=np.ones(zero.shape),
        weight=np.full(len(zero), 1 / len(zero)),
        cut=np.zeros(zero.shape[1]),
        odds_share=settings.odds_share,
        odds_lead=settings.odds_lead,
    )
