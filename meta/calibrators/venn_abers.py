"""Inductive Venn-Abers predictors: two isotonic regressions merged into one probability.

One has the pair at hand added as false, the other as true; what they say of it is merged.

Logits are gathered into groups first, by how much a row of that logit can teach and never by its
label, so that all of a segment's regressions fit into one pass.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.meta.calibrators.protocol import Floats, How, Sample
from tagstack.meta.calibrators.segments import (
    Segments,
    block_means,
    bounded_logit,
    fit_pooled,
    isotonic_blocks,
)
from tagstack.meta.calibrators.step_maps import StepMaps

_GROUPS = 64  # of a segment; a finer grid moves probabilities by less than their spread p1 - p0
_ROWS_AT_ONCE = 4_000_000  # of augmented regressions: bounds memory, changes no result


def fit_venn_abers(sample: Sample, how: How) -> StepMaps:
    """Return the merged probabilities ``p1 / (1 - p0 + p1)`` of all tags as maps.

    References
    ----------
    Vovk, Petej & Fedorova (2015), "Large-scale probabilistic predictors with and without
    guarantees of validity".
    """
    return fit_pooled(sample, how, _fit)


def _fit(segments: Segments) -> StepMaps:
    grouped = _grouped(segments)
    false, true = (_augmented(grouped, label) for label in (0.0, 1.0))
    merged = true / (1.0 - false + true)
    return StepMaps(
        kind="venn_abers",
        map_of_tag=grouped.names,
        start=grouped.start,
        at=grouped.logit,
        value=bounded_logit(merged, grouped.mass[grouped.of]),
    )


def _grouped(segments: Segments) -> Segments:
    """Return the segments with at most so many points each."""
    start = segments.start
    counts = np.diff(start)
    rank = np.arange(len(segments.of)) - start[segments.of]
    proba = expit(segments.logit)
    teaches = segments.weight * (proba * (1 - proba) + 1e-12)
    total = np.bincount(segments.of, teaches, len(segments.names))
    before = np.cumsum(teaches) - teaches / 2
    first = np.concatenate([[0.0], np.cumsum(total)[:-1]])
    share = (before - first[segments.of]) / total[segments.of]
    by_mass = np.clip((share * _GROUPS).astype(np.int64), 0, _GROUPS - 1)
    group = np.where(counts[segments.of] <= _GROUPS, rank, by_mass)
    new = np.r_[True, (np.diff(segments.of) != 0) | (np.diff(group) != 0)][: len(group)]
    at = np.flatnonzero(new)
    weight = np.add.reduceat(segments.weight, at)
    return replace(
        segments,
        of=segments.of[at],
        logit=block_means(segments.logit, segments.weight, at),
        weight=weight,
        target=block_means(segments.target, segments.weight, at),
    )


def _augmented(segments: Segments, label: float) -> Floats:
    """Return each point's isotonic probability when one more row with ``label`` lies there."""
    start, result = segments.start, np.empty(len(segments.of))
    counts = np.diff(start)
    chunks = np.cumsum(counts**2) // _ROWS_AT_ONCE
    for chunk in np.unique(chunks):
        result[_points(start, chunks == chunk)] = _augmented_chunk(
            segments, np.flatnonzero(chunks == chunk), label
        )
    return result


def _points(start: NDArray[np.int64], chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.repeat(chosen, np.diff(start))


def _augmented_chunk(segments: Segments, chosen: NDArray[np.int64], label: float) -> Floats:
    start = segments.start
    size = np.diff(start)[chosen]
    # Point i of a segment of n points has a regression of its own over all n points.
    point = np.concatenate([np.arange(start[s], start[s + 1]) for s in chosen])
    n_points = np.repeat(size, size)
    run = np.repeat(np.arange(len(point)), n_points)
    first = np.repeat(np.cumsum(n_points) - n_points, n_points)
    row = np.repeat(start[segments.of[point]], n_points) + np.arange(len(run)) - first
    weight, target = segments.weight[row], segments.target[row]
    here = row == point[run]
    # Evidence borrowed from a wider pool makes the added row count that much less.
    extra = np.where(here, segments.own[segments.of[row]], 0.0)
    target = (weight * target + extra * label) / (weight + extra)
    blocks = isotonic_blocks(target, weight + extra, run)
    means = block_means(target, weight + extra, blocks)
    block_of = np.searchsorted(blocks, np.flatnonzero(here), side="right") - 1
    return means[block_of]
