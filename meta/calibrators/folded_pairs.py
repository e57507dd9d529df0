"""Labelled pairs in folds, counted once for the calibrations without each of them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.meta.calibrators.calibration import MemberCalibration, category_numbers, floors
from tagstack.meta.calibrators.protocol import How, Sample, TagMaps
from tagstack.meta.calibrators.registry import fit_maps
from tagstack.meta.calibrators.tag_rows import MANY
from tagstack.meta.calibrators.tally import Tally
from tagstack.meta.labels.truth import Evidence

Ints = NDArray[np.int64]
_ROUNDING = 1e-6  # far below the weight of one image


class FoldedPairs:
    """Labelled images in folds, and what is known of their pairs.

    Parameters
    ----------
    scores : Level1Scores
    evidence : Evidence
    folds : array of shape (n_images,), int64
    spill : Spill
    """

    def __init__(
        self, scores: Level1Scores, evidence: Evidence, folds: Ints, spill: Spill = IN_MEMORY
    ) -> None:
        self.scores, self.evidence, self.folds, self.spill = scores, evidence, folds, spill
        self.pairs, self.truth = scores.pairs, evidence.truth(scores.pairs)
        self.category = category_numbers(scores.vocabulary)
        self.n_folds = int(folds.max(initial=0)) + 1
        self._n_true, self._n_false = self._counted()

    def samples(self, member: int, left_out: Sequence[int | None]) -> Iterator[Sample]:
        """Yield what a member's calibration is fitted on without each fold."""
        base = floors(self.scores)[member]
        few = len(self.pairs) <= MANY
        tally = None if few else self._tally(member)
        for fold in left_out:
            rows = self._rows_as_they_are(member, fold) if tally is None else tally.rows(fold)
            unlisted = self.unlisted(fold)
            yield Sample.of_rows(rows, base, unlisted, self.category, merged=not few)

    def calibrations(
        self, left_out: Sequence[int | None], *hows: How
    ) -> tuple[list[MemberCalibration], ...]:
        """Return, for each way, the members' calibration without each of some folds.

        None leaves nothing out.
        """
        found: tuple[list[list[TagMaps]], ...] = tuple([] for _ in hows)
        for member in range(len(self.scores.members)):
            folds = [
                [fit_maps(sample, how) for how in hows] for sample in self.samples(member, left_out)
            ]
            for own, maps in zip(found, zip(*folds, strict=True), strict=True):
                own.append(list(maps))
        return tuple(
            [MemberCalibration(maps=maps) for maps in zip(*own, strict=True)] for own in found
        )

    def unlisted(self, left_out: int | None) -> tuple[Ints, Ints]:
        """Return how many unlisted pairs of each tag are true and how many false, (n_tags,).

        Sums of weights where images weigh.
        """
        kept = np.arange(self.n_folds) != (-1 if left_out is None else left_out)
        n_true, n_false = self._n_true[kept].sum(axis=0), self._n_false[kept].sum(axis=0)
        return n_true, n_false

    def _counted(self) -> tuple[Ints, Ints]:
        """Return each fold's unlisted pairs that are true and false, shape (n_folds, n_tags)."""
        weight = self.evidence.image_weight
        listed, true, unknown = (
            np.zeros((self.n_folds, self.pairs.n_tags), np.int64 if weight is None else np.float64)
            for _ in "ltu"
        )
        for _, rows in self.pairs.blocks():
            image = self.pairs.image[rows]
            key = self.folds[image] * self.pairs.n_tags + self.pairs.tag[rows]
            for count, chosen in (
                (listed, slice(None)),
                (true, self.truth.listed[rows]),
                (unknown, ~self.truth.known[rows]),
            ):
                own = None if weight is None else weight[image[chosen]]
                count += np.bincount(key[chosen], own, count.size).reshape(count.shape)
        labels, hidden = self._by_fold(self.evidence.labels), self._by_fold(self.evidence.unknown)
        n_images = np.bincount(self.folds, weight, self.n_folds)[:, None]
        n_true = _unlisted(labels - true)
        return n_true, _unlisted(n_images - listed - (hidden - unknown) - n_true)

    def _by_fold(self, labels: sparse.csr_array) -> Ints:
        """Return how many images of each fold carry each tag, shape (n_folds, n_tags)."""
        image, tag = labels.nonzero()
        size, weight = self.n_folds * self.pairs.n_tags, self.evidence.image_weight
        own = None if weight is None else weight[image]
        counts = np.bincount(self.folds[image] * self.pairs.n_tags + tag, own, size)
        return counts.reshape(self.n_folds, -1)

    def blocks(self, left_out: int | None) -> Iterator[tuple[slice, Ints]]:
        """Yield pairs, a few at a time, and which of them are not of one fold, shape (n_kept,)."""
        for _, block in self.pairs.blocks():
            fold = self.folds[self.pairs.image[block]]
            kept = fold != (-1 if left_out is None else left_out)
            yield block, block.start + np.flatnonzero(kept)

    def _rows_as_they_are(
        self, member: int, left_out: int | None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.floating], NDArray[np.int32]]:
        """Return logit, label, weight and tag of all pairs but those of one fold."""
        rows = np.concatenate([rows for _, rows in self.blocks(left_out)])
        logit = self.scores.logit[member, rows].astype(np.float64)
        return logit, self.truth.listed[rows], self.truth.weight[rows], self.pairs.tag[rows]

    def _tally(self, member: int) -> Tally:
        """Return a member's pairs counted together where their logits are close."""
        logit = self.scores.logit[member]
        low, high = float(np.fmin.reduce(logit)), float(np.fmax.reduce(logit))
        tally = Tally(low, high, self.pairs.n_tags) if low <= high else Tally(0, 0, 1)
        for _, block in self.pairs.blocks():
            rows = block.start + np.flatnonzero(
                (self.truth.weight[block] > 0) & ~np.isnan(logit[block])
            )
            tally.add(
                logit[rows].astype(np.float64),
                self.truth.listed[rows],
                self.truth.weight[rows].astype(np.float64),
                self.pairs.tag[rows].astype(np.int64),
                self.folds[self.pairs.image[rows]],
            )
            self.spill.let_go()
        return tally


def _unlisted(count: NDArray[Any]) -> Ints:
    """Return what is left of a count; of sums of weights, what is left by rounding is nothing."""
    return np.asarray(np.where(count > _ROUNDING, count, 0))
