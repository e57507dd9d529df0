"""What a cascade costs and loses for each least promise, on images whose labels are known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.ensemble.bundle.cascade import FrontierRow
from tagstack.meta.metrics.bootstrap import Weightings, difference
from tagstack.meta.metrics.counts import f_score

Floats = NDArray[np.float64]
_CONFIDENCE = 0.95
EVERYBODY = -1e30
"""A least promise that every image reaches."""


@dataclass(frozen=True, kw_only=True)
class Staged:
    """Images with what every stage would answer, and what each head promises of going on.

    Parameters
    ----------
    decided : tuple of n_stages sparse arrays of shape (n_images, n_tags), bool
        After the rules; the last stage is all taggers.
    promise : array of shape (n_stages - 1, n_images), float64
    seconds : array of shape (n_stages,), float64
        Of an image that ends at each stage.
    labels, unknown : sparse arrays of shape (n_images, n_tags), bool
    groups : array of shape (n_images,), int64
    """

    decided: tuple[sparse.csr_array, ...]
    promise: Floats
    seconds: Floats
    labels: sparse.csr_array
    unknown: sparse.csr_array
    groups: NDArray[np.int64]

    def ends(self, least: float) -> NDArray[np.int64]:
        """Return the stage at which each image ends, shape (n_images,)."""
        ends = self.promise < least
        return np.where(ends.any(axis=0), ends.argmax(axis=0), len(self.promise))

    def cost(self, ends: NDArray[np.int64]) -> float:
        """Return the share of the whole cost that images which end so have."""
        return float(self.seconds[ends].mean() / self.seconds[-1])

    def tags(self, ends: NDArray[np.int64]) -> sparse.csr_array:
        """Return what images that end so are given, shape (n_images, n_tags), bool."""
        stacked = sparse.vstack([own.tocsr() for own in self.decided], format="csr")
        return sparse.csr_array(stacked[ends * len(ends) + np.arange(len(ends))])

    def least_for(self, share: float) -> float:
        """Return the least promise that costs at most a share; infinite if none does."""
        levels = np.unique(self.promise)
        low, high = 0, len(levels)  # levels[high] costs little enough, or nothing does
        while low < high:
            middle = (low + high) // 2
            if self.cost(self.ends(float(levels[middle]))) <= share:
                high = middle
            else:
                low = middle + 1
        return float(levels[low]) if low < len(levels) else self.nobody

    @property
    def nobody(self) -> float:
        """A least promise that no image reaches."""
        return float(np.nextafter(self.promise.max(), np.inf))


class CascadeJudging:
    """Scores of decisions on the same resamples of the images' groups."""

    def __init__(self, staged: Staged, *, resamples: int, seed: int) -> None:
        weightings = Weightings(staged.groups, resamples=resamples, seed=seed)
        self._weights = np.concatenate(list(weightings.blocks()), axis=1)
        self._labels, self._unknown = staged.labels, staged.unknown
        self._positives = self._weighted(staged.labels)

    def __call__(self, decided: sparse.csr_array) -> tuple[Floats, Floats]:
        """Return micro-F1 and macro-F1 of the images and of each resample, (1 + n_resamples,)."""
        known = decided.astype(np.int8) - decided.multiply(self._unknown).astype(np.int8)
        hits = self._weighted(known.multiply(self._labels))
        given, true = self._weighted(known), self._positives
        by_tag = np.where(true > 0, f_score(hits, given, true, 1.0), np.nan)
        macro = np.nanmean(by_tag[true[:, 0] > 0], axis=0)
        return f_score(hits.sum(axis=0), given.sum(axis=0), true.sum(axis=0), 1.0), macro

    def _weighted(self, pairs: sparse.csr_array) -> Floats:
        return np.asarray(pairs.T.astype(np.float32) @ self._weights, np.float64)


def frontier(staged: Staged, *, points: int, resamples: int, seed: int) -> tuple[FrontierRow, ...]:
    """Return the cascade's rows, the cheapest first, the last with all taggers everywhere."""
    judging = CascadeJudging(staged, resamples=resamples, seed=seed)
    least_cost = staged.cost(staged.ends(staged.nobody))
    shares = np.linspace(least_cost, 1.0, points)[:-1]
    levels = [
        staged.nobody,
        *(staged.least_for(float(share)) for share in shares[1:]),
        EVERYBODY,
    ]
    unique = sorted(set(levels), reverse=True)
    return frontier_rows(staged, judging, unique)


def frontier_rows(
    staged: Staged, judging: CascadeJudging, levels: Sequence[float]
) -> tuple[FrontierRow, ...]:
    """Return what each least promise gives."""
    whole = judging(staged.decided[-1])
    rows = []
    for least in levels:
        ends = staged.ends(least)
        micro, macro = judging(staged.tags(ends))
        lost = [
            difference(all_, own, _CONFIDENCE)
            for all_, own in zip(whole, (micro, macro), strict=True)
        ]
        n_stages = len(staged.decided)
        rows.append(
            FrontierRow(
                least_promise=least,
                cost=staged.cost(ends),
                ended=tuple((np.bincount(ends, minlength=n_stages) / len(ends)).tolist()),
                micro_f=float(micro[0]),
                macro_f=float(macro[0]),
                micro_loss=lost[0].value,
                micro_low=lost[0].low,
                micro_high=lost[0].high,
                macro_loss=lost[1].value,
                macro_low=lost[1].low,
                macro_high=lost[1].high,
            )
        )
    return tuple(rows)
