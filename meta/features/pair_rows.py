"""Which pairs learners look at: candidates of every image, and those of them that say something."""

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.orders import falling_within
from tagstack.base_models.pairs import Pairs
from tagstack.meta.calibrators.calibration import MemberLogits

Floats = NDArray[np.float64]

_AT_ONCE = 2_000_000  # rows that a draw looks at together
_AT_RANDOM = 0.25  # part of the rows that is drawn whatever the pilot says: bounds the weights


def informative_rows(
    proba: NDArray[np.floating],
    true: NDArray[np.bool_],
    weight: NDArray[np.floating],
    n_rows: int,
    seed: int,
) -> tuple[NDArray[np.int64], Floats]:
    """Return about ``n_rows`` rows, ascending, and their new weights.

    Rows of weight 0 are left out. With as many rows as asked for or fewer, all others are kept
    with their weights.

    Parameters
    ----------
    proba : array of shape (n,), floating, in [0, 1]
        What a pilot model says, best one that was fitted on other images.
    true : array of shape (n,), bool
    weight : array of shape (n,), floating, not negative
    n_rows : int, positive
    seed : int
        Where the systematic draw starts.

    Returns
    -------
    rows : array of shape (n_kept,), int64
    weight : array of shape (n_kept,), float64, positive

    References
    ----------
    Fithian & Hastie (2014), "Local case-control sampling: efficient subsampling in imbalanced data
    sets"; here with weights by inverse chance (Horvitz & Thompson 1952) instead of an offset, and
    some rows at random (Hesterberg 1995, defensive mixtures).
    """
    if np.count_nonzero(weight) <= n_rows:
        counted = np.flatnonzero(weight > 0)
        return counted, weight[counted].astype(np.float64)
    pilot = _Pilot(proba, true, weight)
    factor = pilot.factor(n_rows)
    # Systematic: evenly spaced over the rows, so every image and every tag gives its share.
    place, reached = np.random.default_rng(seed).random(), 0.0
    rows, counts = [], []
    for block in pilot.blocks:
        chance = np.minimum(pilot.interest(block) * factor, 1.0)
        places = place + np.cumsum(chance)
        whole = np.floor(places)
        drawn = np.flatnonzero((np.diff(whole, prepend=reached) >= 1.0) | (chance >= 1.0))
        rows.append(block.start + drawn)
        counts.append(weight[block][drawn] / chance[drawn])
        place, reached = places[-1], whole[-1]
    return np.concatenate(rows), np.concatenate(counts)


class _Pilot:
    """What a pilot makes of rows, a few of them at a time."""

    def __init__(
        self,
        proba: NDArray[np.floating],
        true: NDArray[np.bool_],
        weight: NDArray[np.floating],
    ) -> None:
        self.proba, self.true, self.weight = proba, true, weight
        n = len(true)
        self.blocks = [slice(i, min(i + _AT_ONCE, n)) for i in range(0, n, _AT_ONCE)]
        surprise = sum(float(self._surprise(block).sum()) for block in self.blocks)
        total = sum(float(weight[block].sum(dtype=np.float64)) for block in self.blocks)
        self.foreseen = surprise / total + 1e-12
        # Of rows in one block it is kept: chances are scaled until they add up.
        self.only = self._interest(self.blocks[0]) if len(self.blocks) == 1 else None

    def interest(self, block: slice) -> Floats:
        """Return how much each row deserves to be drawn, shape (n_block,)."""
        return self._interest(block) if self.only is None else self.only

    def _interest(self, block: slice) -> Floats:
        foreseen = self.weight[block] * self.foreseen
        return (1 - _AT_RANDOM) * self._surprise(block) + _AT_RANDOM * foreseen

    def factor(self, n_rows: int) -> float:
        """Return what makes of interest chances, at most 1, that add up to about ``n_rows``."""
        factor = n_rows / self._total(1.0, np.inf)
        for _ in range(20):
            total = self._total(factor, 1.0)
            if total > 0.999 * n_rows:
                break
            factor *= n_rows / total
        return factor

    def _total(self, factor: float, most: float) -> float:
        return sum(
            float(np.minimum(self.interest(block) * factor, most).sum()) for block in self.blocks
        )

    def _surprise(self, block: slice) -> Floats:
        far = np.abs(self.true[block] - self.proba[block].astype(np.float64))
        return np.asarray(far * self.weight[block], np.float64)


def candidate_rows(
    members: MemberLogits, pairs: Pairs, *, per_image: int, min_logit: float
) -> NDArray[np.int64]:
    """Return the positions of the candidate pairs, ascending.

    Parameters
    ----------
    members : MemberLogits
        Calibrated logits of ``pairs``.
    pairs : Pairs
    per_image : int
        At most this many pairs of an image, the most plausible ones; of equals the lower tag.
    min_logit : float
        A pair is plausible if a member's calibrated logit reaches this.

    Returns
    -------
    array of shape (n_candidates,), int64
    """
    best = np.fmax.reduce(members.listed, axis=0)
    plausible = np.flatnonzero(best >= min_logit)
    image = pairs.image[plausible]
    order = plausible[falling_within(image, best[plausible])]
    first = np.searchsorted(pairs.image[order], pairs.image[order])
    return np.sort(order[np.arange(len(order)) - first < per_image])


def subset(pairs: Pairs, rows: NDArray[np.int64]) -> Pairs:
    """Return the pairs at the positions ``rows`` (ascending), images kept as they are."""
    counts = np.bincount(pairs.image[rows], minlength=pairs.n_images)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Pairs(indptr=indptr, tag=pairs.tag[rows], n_tags=pairs.n_tags)


def recall(rows: NDArray[np.int64], listed: NDArray[np.bool_], n_true: int) -> float:
    """Return the share of all ``n_true`` true pairs that are candidates; NaN without any."""
    return float(listed[rows].sum() / n_true) if n_true else float("nan")
