"""The groundwork fitted without each fold, and on all images.

Pairs are read a few at a time, and what a fit needs of them is added up: memory does not grow with
the images. Rows that are close enough are merged, the others drawn; see `Tally`, `drawn_rows`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators.calibration import (
    MemberCalibration,
    category_numbers,
    floors,
    member_how,
)
from tagstack.meta.calibrators.newton import MANY
from tagstack.meta.calibrators.protocol import Sample
from tagstack.meta.calibrators.registry import fit_maps
from tagstack.meta.calibrators.tally import Tally
from tagstack.meta.features.tag_statistics import MemberSums, tag_statistics
from tagstack.meta.labels.truth import Evidence, PairTruth
from tagstack.meta.learners.shrunken_logistic import (
    ShrunkenLogistic,
    drawn_rows,
    filled_in,
    fit_on_rows,
    rows_of,
)
from tagstack.meta.stack.groundwork import Groundwork, Strengths

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ROUNDING = 1e-6  # far below the weight of one image


def fit_groundwork(
    scores: Level1Scores, evidence: Evidence, strengths: Strengths, settings: StackSettings
) -> Groundwork:
    """Return the groundwork fitted on these images.

    Parameters
    ----------
    scores : Level1Scores
    evidence : Evidence
    strengths : Strengths
    settings : StackSettings
        Its calibrator and what that pools.
    """
    alike = np.zeros(scores.n_images, np.int64)
    return fit_groundworks(scores, evidence, alike, [None], strengths, settings)[0]


def fit_groundworks(
    scores: Level1Scores,
    evidence: Evidence,
    folds: Ints,
    left_out: Sequence[int | None],
    strengths: Strengths,
    settings: StackSettings,
    spill: Spill = IN_MEMORY,
) -> list[Groundwork]:
    """Return the groundwork fitted without each of some folds; None leaves nothing out.

    Parameters
    ----------
    scores : Level1Scores
    evidence : Evidence
    folds : array of shape (n_images,), int64
    left_out : sequence of int or None
    strengths : Strengths
    settings : StackSettings
    spill : Spill, optional
        Where columns of all pairs lie meanwhile.
    """
    work = FoldedPairs(scores, evidence, folds, spill)
    how = member_how(settings, strengths.calibration)
    samples = (work.samples(member, left_out) for member in range(len(scores.members)))
    maps = [[fit_maps(sample, how) for sample in of_member] for of_member in samples]
    return [
        work.fitted(fold, MemberCalibration(maps=own), strengths)
        for fold, own in zip(left_out, zip(*maps, strict=True), strict=True)
    ]


class FoldedPairs:
    """Labelled images in folds, and what is known of their pairs.

    Parameters
    ----------
    scores : Level1Scores
    evidence : Evidence
    folds : array of shape (n_images,), int64
    spill : Spill
    """

    def __init__(self, scores: Level1Scores, evidence: Evidence, folds: Ints, spill: Spill) -> None:
        self.scores, self.evidence, self.folds, self.spill = scores, evidence, folds, spill
        self.pairs, self.truth = scores.pairs, evidence.truth(scores.pairs)
        self.category = category_numbers(scores.vocabulary)
        self.n_folds = int(folds.max(initial=0)) + 1
        self._count()

    def samples(self, member: int, left_out: Sequence[int | None]) -> Iterator[Sample]:
        """Yield what a member's calibration is fitted on without each fold."""
        base = floors(self.scores)[member]
        few = len(self.pairs) <= MANY
        tally = None if few else self._tally(member)
        for fold in left_out:
            rows = self._rows_as_they_are(member, fold) if tally is None else tally.rows(fold)
            unlisted = self.unlisted(fold)
            yield Sample.of_rows(rows, base, unlisted, self.category, merged=not few)

    def fitted(
        self, left_out: int | None, calibration: MemberCalibration, strengths: Strengths
    ) -> Groundwork:
        """Return the groundwork of all folds but one, on members calibrated without it."""
        logit, tag, category = self.scores.logit, self.pairs.tag, self.category
        base, sums = calibration.base(self.scores), MemberSums(len(logit), self.pairs.n_tags)

        def members(rows: Ints) -> Floats:
            return calibration.listed(logit[:, rows], tag[rows])

        logistic = self.logistic(left_out, members, base, strengths.logistic, sums)
        evidence = replace(self.evidence, weight=None)
        if left_out is not None:
            evidence = evidence.take(np.flatnonzero(self.folds != left_out), self.pairs)
        unlisted = self.unlisted(left_out)
        return Groundwork(
            calibration=calibration,
            logistic=logistic,
            statistics=tag_statistics(sums, base, unlisted, evidence, category),
        )

    def logistic(
        self,
        left_out: int | None,
        members: Callable[[Ints], Floats],
        base: Floats,
        strength: float,
        sums: MemberSums | None = None,
    ) -> ShrunkenLogistic:
        """Return the shrunken logistic of all folds but one.

        Parameters
        ----------
        left_out : int or None
        members : callable
            Takes listed pairs, returns the members' logits of them, (n_members, n_pairs).
        base : array of shape (n_members, n_tags), float64
        strength : float
        sums : MemberSums, optional
            What members say is added to it on the way.
        """
        tag, truth = self.pairs.tag, self.truth
        pilot, weight = (self.spill.empty(len(tag), np.float32) for _ in range(2))
        for block, rows in self._blocks(left_out):
            said = members(rows)
            if sums is not None:
                sums.add(said, tag[rows], truth.listed[rows], truth.weight[rows])
            pilot[block] = weight[block] = 0.0
            pilot[rows] = expit(filled_in(said).mean(axis=0))
            weight[rows] = truth.weight[rows]
            self.spill.let_go()
        rows, counts = drawn_rows(pilot, truth.listed, weight)
        n_true, n_false = self.unlisted(left_out)
        drawn = PairTruth(
            listed=truth.listed[rows],
            known=truth.known[rows],
            weight=counts,
            n_true=n_true,
            n_false=n_false,
        )
        filled = filled_in(members(rows))
        return fit_on_rows(rows_of(filled, base, tag[rows], drawn, self.category), strength)

    def unlisted(self, left_out: int | None) -> tuple[Ints, Ints]:
        """Return how many unlisted pairs of each tag are true and how many false, (n_tags,).

        Sums of weights where images weigh.
        """
        kept = np.arange(self.n_folds) != (-1 if left_out is None else left_out)
        n_true, n_false = self._n_true[kept].sum(axis=0), self._n_false[kept].sum(axis=0)
        return n_true, n_false

    def _count(self) -> None:
        """Count each fold's unlisted pairs by tag."""
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
        self._n_true = _unlisted(labels - true)
        self._n_false = _unlisted(n_images - listed - (hidden - unknown) - self._n_true)

    def _by_fold(self, labels: sparse.csr_array) -> Ints:
        """Return how many images of each fold carry each tag, shape (n_folds, n_tags)."""
        image, tag = labels.nonzero()
        size, weight = self.n_folds * self.pairs.n_tags, self.evidence.image_weight
        own = None if weight is None else weight[image]
        counts = np.bincount(self.folds[image] * self.pairs.n_tags + tag, own, size)
        return counts.reshape(self.n_folds, -1)

    def _blocks(self, left_out: int | None) -> Iterator[tuple[slice, Ints]]:
        """Yield pairs, a few at a time, and which of them are not of one fold."""
        for _, block in self.pairs.blocks():
            fold = self.folds[self.pairs.image[block]]
            kept = fold != (-1 if left_out is None else left_out)
            yield block, block.start + np.flatnonzero(kept)

    def _rows_as_they_are(
        self, member: int, left_out: int | None
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.floating], NDArray[np.int32]]:
        """Return logit, label, weight and tag of all pairs but those of one fold."""
        rows = np.concatenate([rows for _, rows in self._blocks(left_out)])
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
