"""Pairs counted: what was decided, what is true, and both; precision, recall, F-beta and MCC.

Everything is counted on sparse matrices, so cost follows the decided and the true pairs. One rule
keeps rungs comparable: which tags and images an average runs over depends on the labels alone, not
on what a rung decided. A value that is undefined is NaN.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.configs.errors import TagstackError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Pairs counted along one axis (per tag, per image, per threshold) or summed (shape ``()``).

    Parameters
    ----------
    hits : array of shape (n,), int64
        Decided and true.
    predicted : array of shape (n,), int64
        Decided.
    positives : array of shape (n,), int64
        True. The three may also broadcast to one shape, or be weighted sums, float64.
    """

    hits: Ints
    predicted: Ints
    positives: Ints

    def f_beta(self, beta: float) -> Floats:
        """Return F-beta; NaN where there is no positive. See `f_score`.

        Of the counts' shape.
        """
        found = f_score(self.hits, self.predicted, self.positives, beta)
        return np.where(np.broadcast_to(self.positives == 0, np.shape(found)), np.nan, found)

    def total(self) -> "Counts":
        """Return the counts summed over the first axis."""
        return Counts(
            hits=self.hits.sum(axis=0),
            predicted=self.predicted.sum(axis=0),
            positives=self.positives.sum(axis=0),
        )

    def take(self, chosen: NDArray[np.generic]) -> "Counts":
        """Return the rows of some tags or images, given as indices or as a mask."""
        return Counts(
            hits=self.hits[chosen],
            predicted=self.predicted[chosen],
            positives=self.positives[chosen],
        )

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            hits=self.hits + other.hits,
            predicted=self.predicted + other.predicted,
            positives=self.positives + other.positives,
        )

    @property
    def errors(self) -> Ints:
        """Pairs that are wrongly decided or missed. Of the counts' shape."""
        return self.predicted + self.positives - 2 * self.hits


def f_score(
    hits: NDArray[np.number],
    predicted: NDArray[np.number],
    positives: NDArray[np.number],
    beta: float,
) -> Floats:
    """Return F-beta, ``(1 + b2) TP / (PP + b2 P)``; NaN where nothing is true or decided.

    Parameters
    ----------
    hits, predicted, positives : arrays that broadcast to one shape, not negative
        Counted, weighted or expected.
    beta : float
        Weight of recall against precision, above 0; 1 weighs both the same.
    """
    squared = beta * beta
    return ratio((1 + squared) * hits, predicted + squared * positives)


def precision(counts: Counts) -> Floats:
    """Return the share of the decided pairs that is true; NaN where nothing was decided.

    One entry for each of ``counts``, of their shape.
    """
    return ratio(counts.hits, counts.predicted)


def recall(counts: Counts) -> Floats:
    """Return the share of the true pairs that was decided; NaN where nothing is true.

    One entry for each of ``counts``, of their shape.
    """
    return ratio(counts.hits, counts.positives)


def f_beta(counts: Counts, beta: float) -> Floats:
    """Return `f_score` of counts: 0, not NaN, where something is decided and nothing true.

    One entry for each of ``counts``, of their shape.
    """
    return f_score(counts.hits, counts.predicted, counts.positives, beta)


def matthews(counts: Counts, n_rows: int | Ints) -> Floats:
    """Return Matthews' correlation of decisions and labels over ``n_rows`` images (or pairs).

    One entry for each of ``counts``, of their shape.

    NaN where the labels are constant; 0 where only the decisions are, as for any guess.
    """
    hits, predicted, positives = (
        np.asarray(values, float) for values in (counts.hits, counts.predicted, counts.positives)
    )
    covariance = n_rows * hits - predicted * positives
    spread = np.sqrt(predicted * (n_rows - predicted)) * np.sqrt(positives * (n_rows - positives))
    result = np.divide(covariance, spread, out=np.zeros(spread.shape), where=spread > 0)
    return np.where((positives > 0) & (positives < n_rows), result, np.nan)


def ratio(part: NDArray[np.number], whole: NDArray[np.number]) -> Floats:
    """Return ``part / whole``, NaN where the whole is not above 0.

    Of the shape that both broadcast to.
    """
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    part, whole = np.broadcast_arrays(part, whole)
    result: Floats = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def defined_mean(values: Floats) -> float:
    """Return the mean of the values that are not NaN, or NaN when there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def canonical(matrix: sparse.csr_array, shape: tuple[int, int] | None = None) -> sparse.csr_array:
    """Return a bool CSR copy with sorted indices, no duplicates and no stored False.

    Raises
    ------
    TagstackError
        If ``shape`` is given and the matrix has another one.
    """
    if shape is not None and matrix.shape != shape:
        msg = f"A matrix must have shape (n_images, n_tags) = {shape}, got {matrix.shape}."
        raise TagstackError(msg)
    result = sparse.csr_array(matrix, dtype=bool, copy=True)
    result.sum_duplicates()
    result.eliminate_zeros()
    return result


def count_by_tag(decided: sparse.csr_array, labels: sparse.csr_array) -> Counts:
    """Return the counts of each tag, arrays of shape (n_tags,), int64.

    Parameters
    ----------
    decided, labels : csr_array of shape (n_images, n_tags), bool
    """
    decided, labels = canonical(decided, labels.shape), canonical(labels)
    return Counts(
        hits=column_counts(canonical(decided.multiply(labels))),
        predicted=column_counts(decided),
        positives=column_counts(labels),
    )


def count_by_image(decided: sparse.csr_array, labels: sparse.csr_array) -> Counts:
    """Return the counts of each image, arrays of shape (n_images,), int64; see `count_by_tag`."""
    decided, labels = canonical(decided, labels.shape), canonical(labels)
    hits = canonical(decided.multiply(labels))
    return Counts(
        hits=_row_counts(hits), predicted=_row_counts(decided), positives=_row_counts(labels)
    )


def column_counts(matrix: sparse.csr_array) -> Ints:
    """Return how many entries each column of a canonical matrix has, shape (n_tags,), int64."""
    return np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(np.int64)


def _row_counts(matrix: sparse.csr_array) -> Ints:
    return np.asarray(np.diff(matrix.indptr), np.int64)
