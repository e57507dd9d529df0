"""Isotonic calibration: the rising step function that fits best, given by its blocks."""

import numpy as np

from tagstack.meta.calibrators.protocol import How, Sample
from tagstack.meta.calibrators.segments import (
    Segments,
    block_means,
    bounded_logit,
    fit_pooled,
    isotonic_blocks,
)
from tagstack.meta.calibrators.step_maps import StepMaps


def fit_isotonic(sample: Sample, how: How) -> StepMaps:
    """Return the isotonic maps of all tags.

    References
    ----------
    Zadrozny & Elkan (2002), "Transforming classifier scores into accurate multiclass probability
    estimates".
    """
    return fit_pooled(sample, how, _fit)


def _fit(segments: Segments) -> StepMaps:
    blocks = isotonic_blocks(segments.target, segments.weight, segments.of)
    proba = block_means(segments.target, segments.weight, blocks)
    of = segments.of[blocks]
    value = bounded_logit(proba, segments.mass[of])
    ends = np.append(blocks[1:], len(segments.of)) - 1
    # A block is flat from its first logit to its last; a block of one logit is one point.
    wide = ends > blocks
    at = np.concatenate([segments.logit[blocks], segments.logit[ends[wide]]])
    number = np.concatenate([of, of[wide]])
    order = np.lexsort((at, number))
    counts = np.bincount(number, minlength=len(segments.names))
    return StepMaps(
        kind="isotonic",
        map_of_tag=segments.names,
        start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        at=at[order],
        value=np.concatenate([value, value[wide]])[order],
    )
