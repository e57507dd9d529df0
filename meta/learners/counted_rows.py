"""The rows of a pair table that a tree learner is fitted on: those that count and say something."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tagstack.meta.features.pair_rows import informative_rows
from tagstack.meta.features.pair_table import PairTable


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
    share : float, in (0, 1]
        Of the rows that count, how many are here; the others are counted up in the weights.
    """

    values: NDArray[np.float32]
    logit: NDArray[np.float64]
    true: NDArray[np.bool_]
    weight: NDArray[np.float64] | None
    share: float


def counted_rows(
    table: PairTable,
    true: NDArray[np.bool_],
    weight: NDArray[np.float64] | None,
    *,
    max_rows: int,
    seed: int,
) -> CountedRows:
    """Return the rows of ``table`` with a weight above 0, thinned where there are too many.

    Where there is none, one false row without any value stands for them: the libraries refuse to
    learn nothing from nothing.

    Parameters
    ----------
    table : PairTable
    true : array of shape (n_pairs,), bool
    weight : array of shape (n_pairs,), float64, optional
    max_rows : int, positive
        About how many are kept; see `tagstack.meta.features.pair_features`. The pilot is the
        shrunken logistic, whose logits were made out of fold.
    seed : int
    """
    given = np.ones(len(true)) if weight is None else weight
    kept, counts = informative_rows(expit(table.logit), true, given, max_rows, seed)
    if not len(kept):
        return _nothing(len(table.names))
    everything = len(kept) == len(true)
    return CountedRows(
        values=table.values if everything else table.values_at(kept),
        logit=table.logit[kept],
        true=true[kept],
        weight=None if (counts == 1.0).all() else counts,
        share=len(kept) / max(int(np.count_nonzero(given)), 1),
    )


def _nothing(n_columns: int) -> CountedRows:
    return CountedRows(
        values=np.full((1, n_columns), np.nan, np.float32),
        logit=np.zeros(1),
        true=np.zeros(1, bool),
        weight=None,
        share=1.0,
    )
