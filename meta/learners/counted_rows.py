"""The rows of a pair table that a tree learner is fitted on: those that count."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tagstack.meta.features import PairTable


@dataclass(frozen=True, kw_only=True)
class CountedRows:
    """Training rows of weight above 0.

    Parameters
    ----------
    values : array of shape (n_rows, n_columns), float32
    logit : array of shape (n_rows,), float64
        Where trees may start from.
    true : array of shape (n_rows,), bool
    weight : array of shape (n_rows,), float64, positive, or None
        None where every row counts alike, so that such a fit is the unweighted one.
    """

    values: NDArray[np.float32]
    logit: NDArray[np.float64]
    true: NDArray[np.bool_]
    weight: NDArray[np.float64] | None


def counted_rows(
    table: PairTable, true: NDArray[np.bool_], weight: NDArray[np.float64] | None
) -> CountedRows:
    """Return the rows of ``table`` with a weight above 0.

    Parameters
    ----------
    table : PairTable
    true : array of shape (n_pairs,), bool
    weight : array of shape (n_pairs,), float64, optional
    """
    if weight is None or (weight == 1.0).all():
        return CountedRows(values=table.values, logit=table.logit, true=true, weight=None)
    kept = np.flatnonzero(weight > 0)
    alike = bool((weight[kept] == 1.0).all())
    return CountedRows(
        values=table.values[kept],
        logit=table.logit[kept],
        true=true[kept],
        weight=None if alike else weight[kept],
    )
