"""What every learner builds on: calibrated members, the shrunken logistic, tag statistics.

Fitted on labelled images, applied to any; applying is a pure function of each single image.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit as logit_of

from tagstack.base_models.pairs import Level1Scores
from tagstack.configs.stack import StackSettings
from tagstack.meta.calibrators.calibration import (
    MemberCalibration,
    MemberLogits,
)
from tagstack.meta.features.pair_features import pair_table
from tagstack.meta.features.pair_rows import candidate_rows, subset
from tagstack.meta.features.pair_table import PairTable
from tagstack.meta.features.tag_statistics import TagStatistics
from tagstack.meta.labels.relations import TagRelations
from tagstack.meta.learners.shrunken_logistic import ShrunkenLogistic

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """Chosen precisions of the two hierarchical fits."""

    calibration: float
    logistic: float


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Images seen through the groundwork.

    Parameters
    ----------
    members : MemberLogits
        Calibrated.
    listed, base : arrays of shape (n_pairs,) and (n_tags,), floating
        The shrunken logistic's logits.
    rows : array of shape (n_candidates,), int64
        Positions of the candidate pairs, ascending.
    table : PairTable
        Features of the candidate pairs.
    """

    members: MemberLogits
    listed: NDArray[np.floating]
    base: Floats
    rows: NDArray[np.int64]
    table: PairTable


@dataclass(frozen=True, kw_only=True)
class Groundwork:
    """Fitted calibration, shrunken logistic and statistics."""

    calibration: MemberCalibration
    logistic: ShrunkenLogistic
    statistics: TagStatistics

    def apply(
        self, scores: Level1Scores, relations: TagRelations, settings: StackSettings
    ) -> Ground:
        """Return the calibrated logits, candidates and features of ``scores``."""
        members = self.calibration.apply(scores)
        listed, base = self.logistic.apply(members, scores.pairs)
        rows = candidate_rows(
            members,
            scores.pairs,
            per_image=settings.candidates_per_image,
            min_logit=float(logit_of(settings.candidate_proba)),
        )
        table = pair_table(
            subset(scores.pairs, rows),
            members.listed[:, rows].astype(np.float64),
            scores.members,
            listed[rows],
            self.statistics,
            relations,
        )
        return Ground(members=members, listed=listed, base=base, rows=rows, table=table)
