"""The groundwork fitted without each fold, and on all images.

Pairs are read a few at a time, and what a fit needs of them is added up: memory does not grow with
the images. Rows that are close enough are merged, the others drawn; see `Tally`, `drawn_rows`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.base_models.pairs import Level1Scores
from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators.calibration import MemberCalibration, member_how
from tagstack.meta.calibrators.folded_pairs import FoldedPairs
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
    work = GroundworkPairs(scores, evidence, folds, spill)
    how = member_how(settings, strengths.calibration)
    calibrations = work.calibrations(left_out, how)[0]
    return [
        work.fitted(fold, own, strengths) for fold, own in zip(left_out, calibrations, strict=True)
    ]


class GroundworkPairs(FoldedPairs):
    """Labelled images in folds, and what groundworks are fitted on."""

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
        left_out, members, sums
            As for `drawn`.
        base : array of shape (n_members, n_tags), float64
        strength : float
        """
        rows, drawn = self.drawn(left_out, members, sums)
        filled = filled_in(members(rows))
        return fit_on_rows(
            rows_of(filled, base, self.pairs.tag[rows], drawn, self.category), strength
        )

    def drawn(
        self,
        left_out: int | None,
        members: Callable[[Ints], Floats],
        sums: MemberSums | None = None,
    ) -> tuple[Ints, PairTruth]:
        """Return the listed pairs that a logistic of all folds but one looks at, and their truth.

        Parameters
        ----------
        left_out : int or None
        members : callable
            Takes listed pairs, returns the members' logits of them, (n_members, n_pairs).
        sums : MemberSums, optional
            What members say is added to it on the way.
        """
        tag, truth = self.pairs.tag, self.truth
        pilot, weight = (self.spill.empty(len(tag), np.float32) for _ in range(2))
        for block, rows in self.blocks(left_out):
            said = members(rows)
            if sums is not None:
                sums.add(said, tag[rows], truth.listed[rows], truth.weight[rows])
            pilot[block] = weight[block] = 0.0
            pilot[rows] = expit(filled_in(said).mean(axis=0))
            weight[rows] = truth.weight[rows]
            self.spill.let_go()
        rows, counts = drawn_rows(pilot, truth.listed, weight)
        n_true, n_false = self.unlisted(left_out)
        return rows, PairTruth(
            listed=truth.listed[rows],
            known=truth.known[rows],
            weight=counts,
            n_true=n_true,
            n_false=n_false,
        )
