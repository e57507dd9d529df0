"""Rows of a sample gathered by tag, by category or together, equal logits as one point.

Isotonic regressions of all segments run as one: segments stand so far apart on the axis of the
targets that none ever merges with the next.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.special import logit as logit_of

from tagstack.base_models.orders import falling_within
from tagstack.meta.calibrators.protocol import Floats, How, Sample
from tagstack.meta.calibrators.step_maps import StepMaps

_APART = 2.0  # targets lie in [0, 1]


@dataclass(frozen=True, kw_only=True)
class Segments:
    """Distinct logits of each segment, ascending.

    Parameters
    ----------
    names : array of shape (n_segments,), int64
        The tag or category, ascending; those without rows are not there.
    of : array of shape (n_points,), int64
        Segment of each point, counted from 0.
    logit, weight, target : arrays of shape (n_points,), float64
        ``target`` is the share of true rows, later drawn towards what a wider pool says.
    own : array of shape (n_segments,), float64, in [0, 1]
        How much of the target is the segment's own evidence.
    """

    names: NDArray[np.int64]
    of: NDArray[np.int64]
    logit: Floats
    weight: Floats
    target: Floats
    own: Floats

    @property
    def start(self) -> NDArray[np.int64]:
        """First point of each segment, and the end, shape (n_segments + 1,)."""
        return np.searchsorted(self.of, np.arange(len(self.names) + 1)).astype(np.int64)

    @property
    def mass(self) -> Floats:
        """Total weight of each segment. Shape (n_segments,)."""
        total = np.bincount(self.of, weights=self.weight, minlength=len(self.names))
        return total.astype(np.float64)


Fit = Callable[[Segments], StepMaps]


def segments_of(sample: Sample, segment: NDArray[np.int64]) -> Segments:
    """Return the sample's rows by ``segment``, one number for each row."""
    order = falling_within(segment, -sample.logit)
    number, logit = segment[order], sample.logit[order]
    new = np.r_[True, (number[1:] != number[:-1]) | (logit[1:] != logit[:-1])][: len(order)]
    first = np.flatnonzero(new)
    weight = np.add.reduceat(sample.weight[order], first)
    true = np.add.reduceat((sample.weight * sample.true)[order], first)
    names, of = np.unique(number[first], return_inverse=True)
    return Segments(
        names=names,
        of=of.astype(np.int64),
        logit=logit[first],
        weight=weight,
        target=true / weight,
        own=np.ones(len(names)),
    )


def fit_pooled(sample: Sample, how: How, fit: Fit) -> StepMaps:
    """Return the maps of all tags under the pool that ``how`` asks for.

    A tag without rows has its category's map (all tags' under ``pool = "tag"``).
    """
    n_tags, of_row = len(sample.category), sample.category[sample.tag]
    everything = fit(segments_of(sample, np.zeros(len(sample.tag), np.int64)))
    everything = replace(everything, map_of_tag=np.zeros(n_tags, np.int64))
    if how.pool == "tag":
        return _over(everything, fit(segments_of(sample, sample.tag)), np.arange(n_tags))
    by_category = segments_of(sample, of_row)
    if how.pool == "hierarchical":
        by_category = _drawn(by_category, everything, np.zeros(len(by_category.names)), how)
    wider = _over(everything, _fitted(fit, by_category), sample.category)
    if how.pool == "category":
        return wider
    by_tag = segments_of(sample, sample.tag)
    by_tag = _drawn(by_tag, wider, wider.map_of_tag[by_tag.names], how)
    return _over(wider, _fitted(fit, by_tag), np.arange(n_tags))


def _fitted(fit: Fit, segments: Segments) -> StepMaps | None:
    return fit(segments) if len(segments.names) else None


def isotonic_blocks(target: Floats, weight: Floats, of: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where the blocks of the isotonic regressions of all segments begin.

    Shape (n_blocks,), ascending.
    """
    from scipy.optimize import isotonic_regression

    found = isotonic_regression(target + _APART * of, weights=weight)
    return np.asarray(found.blocks[:-1], np.int64)


def block_means(target: Floats, weight: Floats, blocks: NDArray[np.int64]) -> Floats:
    """Return the weighted mean target of each block. Shape (n_blocks,)."""
    means: Floats = np.add.reduceat(weight * target, blocks) / np.add.reduceat(weight, blocks)
    return means


def bounded_logit(proba: Floats, mass: Floats) -> Floats:
    """Return logits of probabilities no surer than ``mass`` rows can make anybody.

    Of the shape of ``proba``.
    """
    edge = 0.5 / (mass + 1.0)
    return np.asarray(logit_of(np.clip(proba, edge, 1.0 - edge)), np.float64)


def _drawn(
    segments: Segments, wider: StepMaps, number: NDArray[np.int64] | Floats, how: How
) -> Segments:
    """Return the segments with their targets drawn towards a wider pool's maps.

    ``how.strength`` counts like so many true (or false, whichever are fewer) rows of the wider
    pool, spread over the segment's own logits: what is rarer is what a fit rests on.
    """
    true = np.bincount(segments.of, segments.weight * segments.target, len(segments.names))
    rarer = np.minimum(true, segments.mass - true)
    own = rarer / (rarer + how.strength) if np.isfinite(how.strength) else np.zeros(len(rarer))
    said = wider.look_up(np.asarray(number, np.int64)[segments.of], segments.logit)
    share = own[segments.of]
    drawn = replace(segments, target=share * segments.target + (1 - share) * expit(said), own=own)
    return _only(drawn, own > 0)


def _only(segments: Segments, chosen: NDArray[np.bool_]) -> Segments:
    """Return some of the segments; the others have nothing to say and take the wider map."""
    kept = chosen[segments.of]
    number = np.cumsum(chosen) - 1
    return Segments(
        names=segments.names[chosen],
        of=number[segments.of[kept]],
        logit=segments.logit[kept],
        weight=segments.weight[kept],
        target=segments.target[kept],
        own=segments.own[chosen],
    )


def _over(wider: StepMaps, fitted: StepMaps | None, user: NDArray[np.int64]) -> StepMaps:
    """Return ``fitted`` where it has a map of the tag's ``user`` number, else ``wider``."""
    if fitted is None:
        return wider
    names = fitted.map_of_tag  # the numbers its maps are for
    place = np.searchsorted(names, user)
    found = np.append(names, -1)[place] == user
    return StepMaps(
        kind=fitted.kind,
        map_of_tag=np.where(found, len(wider.start) - 1 + place, wider.map_of_tag),
        start=np.concatenate([wider.start, fitted.start[1:] + wider.start[-1]]),
        at=np.concatenate([wider.at, fitted.at]),
        value=np.concatenate([wider.value, fitted.value]),
    )
