"""A rung's score in every fold, what pulls on it, and how sure a lead between two is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NORMAL_95 = 1.959964
_NOISE = 1e-12  # influences that cancel leave rounding errors behind


@dataclass(frozen=True, kw_only=True)
class FoldScore:
    """One rung's score.

    Parameters
    ----------
    values : array of shape (n_folds,), float64
        NaN where a fold has no positive.
    influence : array of shape (n_groups,), float64
        How much the mean over folds rises with the weight of each group of images.
    """

    values: Floats
    influence: Floats

    @classmethod
    def average(cls, scores: Sequence["FoldScore"]) -> "FoldScore":
        """Return the mean of several scores of one rung."""
        return cls(
            values=np.mean([score.values for score in scores], axis=0),
            influence=np.mean([score.influence for score in scores], axis=0),
        )

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Folds that have a value, shape (n_folds,), bool."""
        return ~np.isnan(self.values)

    @property
    def mean(self) -> float:
        """Mean over the usable folds; NaN without any."""
        usable = self.values[self.usable]
        return float(usable.mean()) if len(usable) else float("nan")

    @property
    def error(self) -> float:
        """Standard error of the mean; infinite where fewer than two groups hold positives."""
        return standard_error(self.influence)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A rung's two average precisions, the objective, and the scores that this is the mean of."""

    macro_ap: FoldScore
    micro_ap: FoldScore
    objective: FoldScore
    parts: Mapping[str, FoldScore]


@dataclass(frozen=True, kw_only=True)
class Lead:
    """How far one rung is ahead of another on the same images.

    Parameters
    ----------
    value : float
    error : float
        Standard error; infinite where too few groups of images say anything.
    """

    value: float
    error: float

    @classmethod
    def of(cls, ahead: FoldScore, behind: FoldScore) -> "Lead":
        """Return the lead of one score over another of the same scorer."""
        return cls(
            value=ahead.mean - behind.mean,
            error=standard_error(ahead.influence - behind.influence, ahead.influence),
        )

    def clear(self, standard_errors: float) -> bool:
        """Whether the lead is more than this many of its standard errors."""
        return self.value > standard_errors * self.error

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, by the normal approximation."""
        reach = _NORMAL_95 * self.error
        return self.value - reach, self.value + reach


def standard_error(influence: Floats, support: Floats | None = None) -> float:
    """Return the standard error of a score from its groups' influences.

    Parameters
    ----------
    influence : array of shape (n_groups,), float64
    support : array of shape (n_groups,), float64, optional
        Not 0 for the groups that are counted; ``influence`` itself by default.
    """
    n = int((np.abs(influence if support is None else support) > _NOISE).sum())
    if n < 2:
        return float("inf")
    return float(np.sqrt(n / (n - 1) * (influence**2).sum()))
