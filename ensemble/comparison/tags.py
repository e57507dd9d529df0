"""One row per tag for the reference and its rival, and their precision-recall curves."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.orders import falling_within
from tagstack.base_models.pairs import PairProba
from tagstack.base_models.vocabulary import Vocabulary
from tagstack.configs.comparing import CompareSettings
from tagstack.ensemble.comparison.resamples import Resamples
from tagstack.ensemble.comparison.results import Curves, TagTable
from tagstack.ensemble.comparison.rungs import Rung
from tagstack.meta.metrics.calibration_error import blocks_of
from tagstack.meta.metrics.counts import count_by_tag, f_beta, precision, recall
from tagstack.meta.metrics.ranking import so_far
from tagstack.meta.metrics.tag_tests import TagTests


def tag_table(
    ours: Rung,
    rival: Rung,
    labels: sparse.csr_array,
    vocabulary: Vocabulary,
    tests: TagTests,
    found: Resamples,
    settings: CompareSettings,
) -> TagTable:
    """Return each tag's scores of the reference and its rival, with the difference's interval."""
    counts = count_by_tag(ours.decided, labels)
    theirs = count_by_tag(rival.decided, labels)
    n_tags = len(vocabulary)
    thresholds = np.full(n_tags, np.nan) if ours.thresholds is None else ours.thresholds
    return TagTable(
        tag=vocabulary.tags,
        category=vocabulary.categories,
        positives=counts.positives,
        decided=counts.predicted,
        right=counts.hits,
        threshold=thresholds.astype(np.float64),
        precision=precision(counts),
        recall=recall(counts),
        f=f_beta(counts, settings.beta),
        ap=found.tag_ap[ours.name],
        rival_precision=precision(theirs),
        rival_recall=recall(theirs),
        rival_f=f_beta(theirs, settings.beta),
        rival_ap=found.tag_ap[rival.name],
        difference=tests.difference,
        difference_low=tests.low,
        difference_high=tests.high,
        p_value=tests.p_value,
        q_value=tests.q_value,
        verdict=tests.verdict,
    )


def curves_of(proba: PairProba, labels: sparse.csr_array, n_points: int) -> Curves:
    """Return every tag's precision-recall curve, thinned for drawing.

    At most ``n_points`` points lie where a positive is met, spread evenly over the positives.
    Between them precision only falls; there a point follows wherever the number of images met
    has doubled.

    Parameters
    ----------
    proba : PairProba
    labels : csr_array of shape (n_images, n_tags), bool
    n_points : int
    """
    blocks = blocks_of(proba, labels)
    order = falling_within(blocks.tag, blocks.proba)
    tag, value = blocks.tag[order], blocks.proba[order]
    found, met = so_far(blocks.true[order], tag), so_far(blocks.weight[order], tag)
    positives = np.bincount(blocks.tag, blocks.true, minlength=proba.pairs.n_tags)
    steps = np.flatnonzero(blocks.true[order] > 0)
    doubled = np.diff(np.floor(np.log2(met)), prepend=-1) != 0
    between = np.flatnonzero(doubled & (positives[tag] > 0))
    kept = np.union1d(steps[_thinned(tag[steps], n_points)], between)
    indptr = np.searchsorted(tag[kept], np.arange(proba.pairs.n_tags + 1))
    return Curves(
        indptr=indptr.astype(np.int64),
        recall=found[kept] / positives[tag[kept]],
        precision=found[kept] / met[kept],
        proba=value[kept],
    )


def _thinned(tag: NDArray[np.int64], n_points: int) -> NDArray[np.intp]:
    """Return positions of at most ``n_points`` rows of each tag, first and last included."""
    counts = np.bincount(tag)
    number = np.arange(len(tag)) - np.repeat(np.cumsum(counts) - counts, counts)
    size = np.repeat(counts, counts)
    # A row is kept when it is the first to reach one of n_points evenly spaced places.
    place = np.floor(number * (n_points - 1) / np.maximum(size - 1, 1)).astype(np.int64)
    before = np.floor((number - 1) * (n_points - 1) / np.maximum(size - 1, 1)).astype(np.int64)
    return np.flatnonzero((size <= n_points) | (number == 0) | (place != before))
