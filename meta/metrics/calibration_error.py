"""How far probabilities can be taken at their word: Brier, log loss, ECE, reliability.

Every pair counts, unlisted ones through their tag's base value and a weight. Tags for which a rung
has no probability are left out and counted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.meta.labels.truth import pair_labels, unlisted_counts
from tagstack.meta.metrics.counts import defined_mean

_SMALLEST = 1e-7  # a probability of exactly 0 or 1 that is wrong would make the log loss infinite


@dataclass(frozen=True, kw_only=True)
class Bins:
    """Equal-mass bins of probabilities, ascending within each class.

    Parameters
    ----------
    of : array of shape (n_bins,), int64
        Class (tag) of each bin.
    weight : array of shape (n_bins,), float64
        Number of pairs in the bin.
    proba : array of shape (n_bins,), float64, in [0, 1]
        Mean probability.
    true : array of shape (n_bins,), float64, in [0, 1]
        Share of true pairs.
    """

    of: NDArray[np.int64]
    weight: NDArray[np.float64]
    proba: NDArray[np.float64]
    true: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ProbabilityScores:
    """Scores of one rung's probabilities over its ``n_proba_tags`` tags; NaN where undefined.

    ``brier`` and ``log_loss`` are means over all pairs. ``classwise_ece`` is the mean over the
    ``n_ece_tags`` tags with enough positives that have a pair above the floor.
    """

    brier: float
    log_loss: float
    classwise_ece: float
    n_proba_tags: int
    n_ece_tags: int


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Equal probabilities of a tag pooled: ``weight`` pairs, of which ``true`` hold."""

    tag: NDArray[np.int64]
    proba: NDArray[np.float64]
    weight: NDArray[np.float64]
    true: NDArray[np.float64]


def probability_scores(
    blocks: Blocks,
    positives: NDArray[np.int64],
    *,
    n_bins: int,
    floor: float,
    min_positives: int,
) -> ProbabilityScores:
    """Return Brier score, log loss and classwise expected calibration error.

    Parameters
    ----------
    blocks : Blocks
        Of one rung, from `blocks_of`.
    positives : array of shape (n_tags,), int64
    n_bins : int
        Equal-mass bins per tag.
    floor : float, in [0, 1)
        Pairs below it do not enter the calibration error; they enter Brier and log loss.
    min_positives : int
        Tags with fewer positives do not enter the calibration error.

    References
    ----------
    Kumar, Liang & Ma (2019), "Verified uncertainty calibration" (equal-mass bins);
    Kull et al. (2019), "Beyond temperature scaling" (classwise calibration error).
    """
    per_tag = classwise_error(equal_mass_bins(blocks, n_bins=n_bins, floor=floor), len(positives))
    per_tag[positives < min_positives] = np.nan
    p = np.clip(blocks.proba, _SMALLEST, 1 - _SMALLEST)
    false = blocks.weight - blocks.true
    return ProbabilityScores(
        brier=_mean(blocks.true * (1 - blocks.proba) ** 2 + false * blocks.proba**2, blocks),
        log_loss=_mean(-blocks.true * np.log(p) - false * np.log1p(-p), blocks),
        classwise_ece=defined_mean(per_tag),
        n_proba_tags=len(np.unique(blocks.tag)),
        n_ece_tags=int((~np.isnan(per_tag)).sum()),
    )


def reliability(blocks: Blocks, *, n_bins: int, floor: float) -> Bins:
    """Return equal-mass bins over the pairs of all tags together, for a picture."""
    kept = blocks.proba >= floor
    everything = np.zeros(kept.sum(), np.int64)
    together = _pooled(everything, blocks.proba[kept], blocks.weight[kept], blocks.true[kept])
    return equal_mass_bins(together, n_bins=n_bins, floor=floor)


def classwise_error(bins: Bins, n_tags: int) -> NDArray[np.float64]:
    """Return each tag's expected calibration error, shape (n_tags,), NaN without a bin."""
    gap = np.bincount(bins.of, bins.weight * np.abs(bins.proba - bins.true), minlength=n_tags)
    weight = np.bincount(bins.of, bins.weight, minlength=n_tags)
    result: NDArray[np.float64] = np.full(n_tags, np.nan)
    return np.divide(gap, weight, out=result, where=weight > 0)


def blocks_of(proba: PairProba, labels: sparse.csr_array) -> Blocks:
    """Return every pair with a probability, equal probabilities of a tag pooled.

    Rows are sorted by tag, then probability, so that nothing depends on the order of images.
    """
    pairs = proba.pairs
    true = pair_labels(pairs, labels)
    n_unlisted, n_unlisted_true = unlisted_counts(pairs, true, labels)
    tag = np.concatenate([pairs.tag, np.arange(pairs.n_tags)]).astype(np.int64)
    value = np.concatenate([proba.proba, proba.base]).astype(np.float64)
    weight = np.concatenate([np.ones(len(pairs)), n_unlisted])
    holds = np.concatenate([true, n_unlisted_true]).astype(np.float64)
    return _pooled(tag, value, weight, holds)


def equal_mass_bins(blocks: Blocks, *, n_bins: int, floor: float) -> Bins:
    """Return up to ``n_bins`` bins of equal mass per tag; equal probabilities share a bin.

    Parameters
    ----------
    blocks : Blocks
        Sorted and pooled; rows below ``floor`` are left out.
    n_bins : int
    floor : float, in [0, 1)
    """
    kept = blocks.proba >= floor
    tag, value = blocks.tag[kept], blocks.proba[kept]
    weight, true = blocks.weight[kept], blocks.true[kept]
    if not len(tag):
        empty = np.zeros(0)
        return Bins(of=np.zeros(0, np.int64), weight=empty, proba=empty, true=empty)
    begins = np.concatenate([[True], tag[1:] != tag[:-1]])
    at = np.flatnonzero(begins)
    before = np.cumsum(weight) - weight
    inside = before - np.repeat(before[at], np.diff(np.append(at, len(tag))))
    total = np.repeat(np.add.reduceat(weight, at), np.diff(np.append(at, len(tag))))
    number = np.minimum((inside + weight / 2) / total * n_bins, n_bins - 1).astype(np.int64)
    first = np.flatnonzero(begins | (np.diff(number, prepend=-1) != 0))
    mass = np.add.reduceat(weight, first)
    return Bins(
        of=tag[first],
        weight=mass,
        proba=np.add.reduceat(weight * value, first) / mass,
        true=np.add.reduceat(true, first) / mass,
    )


def _pooled(
    tag: NDArray[np.int64],
    value: NDArray[np.float64],
    weight: NDArray[np.float64],
    true: NDArray[np.float64],
) -> Blocks:
    kept = np.flatnonzero((weight > 0) & (value >= 0))  # neither NaN nor left out
    order = kept[np.argsort(_ascending(tag[kept], value[kept]))]
    tag, value, weight, true = tag[order], value[order], weight[order], true[order]
    if not len(tag):
        return Blocks(tag=tag, proba=value, weight=weight, true=true)
    new = (tag[1:] != tag[:-1]) | (value[1:] != value[:-1])
    first = np.concatenate([[0], np.flatnonzero(new) + 1])
    return Blocks(
        tag=tag[first],
        proba=value[first],
        weight=np.add.reduceat(weight, first),
        true=np.add.reduceat(true, first),
    )


def _ascending(tag: NDArray[np.int64], value: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return integers that sort by tag, then by value: a non-negative float's bits sort like it."""
    bits = (value.astype(np.float32) + np.float32(0)).view(np.uint32).astype(np.uint64)
    return (tag.astype(np.uint64) << np.uint64(32)) | bits


def _mean(loss: NDArray[np.float64], blocks: Blocks) -> float:
    total = blocks.weight.sum()
    return float(loss.sum() / total) if total else float("nan")
