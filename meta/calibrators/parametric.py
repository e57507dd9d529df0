"""Platt, beta and temperature calibration: logistic regressions on functions of the logit.

All are fitted for every tag at once by batched Newton steps. Coefficients that would make a map
fall are held at a small positive slope while the others are fitted again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.meta.calibrators.newton import TIGHT, fit_hierarchy
from tagstack.meta.calibrators.protocol import Floats, How, Sample, Tags
from tagstack.meta.calibrators.tag_rows import TagRows, tag_rows

# A member that is noise on a tag would get slope zero or less: its ranking would be lost or
# turned round by a handful of labels.
_MIN_SLOPE = 0.05
_MOST = 1e11  # a strength that is one map for all tags, and not yet a fixed coefficient


@dataclass(frozen=True)
class _Form:
    """Columns beside the constant, and whether there is a constant."""

    columns: Callable[[Floats], list[Floats]]
    n_columns: int
    constant: bool


def _itself(logit: Floats) -> list[Floats]:
    return [logit]


def _log_odds_apart(logit: Floats) -> list[Floats]:
    """Return ``log p`` and ``-log(1 - p)``, whose sum is the logit."""
    return [-np.logaddexp(0.0, -logit), np.logaddexp(0.0, logit)]


_FORMS = {
    "platt": _Form(_itself, 1, constant=True),
    "temperature": _Form(_itself, 1, constant=False),
    "beta": _Form(_log_odds_apart, 2, constant=True),
}


@dataclass(frozen=True, kw_only=True)
class ParametricMaps:
    """``intercept + slopes * columns(logit)`` for each tag.

    Parameters
    ----------
    kind : {"platt", "temperature", "beta"}
    theta : array of shape (n_tags, 1 + n_columns), float64
        The intercept, 0 for temperature, and the positive slopes.
    """

    kind: str
    theta: Floats

    def apply(self, tag: Tags, logit: NDArray[np.floating]) -> Floats:
        """Return the calibrated logits of (tag, logit) rows; NaN stays NaN.

        Of the shape of ``logit``.
        """
        result: Floats = self.theta[tag, 0].copy()
        columns = _FORMS[self.kind].columns(np.asarray(logit, np.float64))
        for i, column in enumerate(columns, 1):
            result += self.theta[tag, i] * column
        return result

    @property
    def n_coefficients(self) -> int:
        """How many coefficients a tag has."""
        return 1 + _FORMS[self.kind].n_columns

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return the coefficients. Of the shape of ``theta``."""
        return {"theta": self.theta}


def fit_parametric(sample: Sample, how: How) -> ParametricMaps:
    """Return the maximum-a-posteriori maps; the prior's centre is the identity.

    References
    ----------
    Platt (1999), "Probabilistic outputs for support vector machines"; Kull, Silva Filho & Flach
    (2017), "Beta calibration"; Guo, Pleiss, Sun & Weinberger (2017), "On calibration of modern
    neural networks" (temperature).
    """
    form, rows = _FORMS[how.kind], _rows(sample, how.kind)
    prior = np.array([0.0] + [1.0] * form.n_columns)
    least = np.array([-np.inf] + [_MIN_SLOPE] * form.n_columns)
    precision = np.full(len(prior), min(how.strength, _MOST))
    if not form.constant:
        precision[0] = TIGHT
    theta = fit_hierarchy(rows, prior, precision, pool=how.pool, least=least)
    return ParametricMaps(kind=how.kind, theta=theta)


def _rows(sample: Sample, kind: str) -> TagRows:
    """Return the sample's rows in the columns of this kind; sorted once for all strengths."""
    if kind not in sample.prepared:
        columns = np.stack(_FORMS[kind].columns(sample.logit))
        sample.prepared[kind] = tag_rows(
            columns,
            sample.true,
            sample.weight,
            sample.tag,
            sample.category,
            merged=sample.merged,
        )
    return sample.prepared[kind]
