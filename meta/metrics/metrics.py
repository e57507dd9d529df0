"""Scores of decided tags: precision, recall, F-beta, MCC, Hamming, subset accuracy, contradictions.

Everything is counted on sparse matrices, so cost follows the decided and the true pairs. One rule
keeps rungs comparable: which tags and images an average runs over depends on the labels alone, not
on what a rung decided. A value that is undefined is NaN, is left out of its average, and the number
of values that remain is part of the result. Ranking scores live in
``tagstack.meta.metrics.ranking`` and ``tagstack.meta.metrics.label_ranking``, scores of
probabilities in ``calibration_error``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.configs.errors import TagstackError
from tagstack.meta.labels.truth import known_labels


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Pairs counted along one axis (per tag, per image) or summed (shape ``()``).

    Parameters
    ----------
    right : array of shape (n,), int64
        Decided and true.
    decided : array of shape (n,), int64
    true : array of shape (n,), int64
    """

    right: NDArray[np.int64]
    decided: NDArray[np.int64]
    true: NDArray[np.int64]

    def total(self) -> "Counts":
        """Return the counts summed over the axis."""
        return Counts(right=self.right.sum(), decided=self.decided.sum(), true=self.true.sum())

    def only(self, chosen: NDArray[np.bool_]) -> "Counts":
        """Return the counts of the chosen tags or images."""
        return Counts(
            right=self.right[chosen], decided=self.decided[chosen], true=self.true[chosen]
        )

    @property
    def errors(self) -> NDArray[np.int64]:
        """Pairs that are wrongly decided or missed."""
        return self.decided + self.true - 2 * self.right


@dataclass(frozen=True, kw_only=True)
class DecisionScores:
    """Scores of one rung's decided tags; NaN where undefined.

    ``macro_*`` average over the ``n_macro_tags`` tags with at least one positive, ``sample_*`` over
    the ``n_sample_images`` images with at least one label. Precision is undefined for a tag (an
    image) with nothing decided: ``n_macro_precision_tags`` and ``n_sample_precision_images`` say
    how many remain.
    """

    micro_precision: float
    micro_recall: float
    micro_f: float
    macro_precision: float
    macro_recall: float
    macro_f: float
    weighted_precision: float
    weighted_recall: float
    weighted_f: float
    sample_precision: float
    sample_recall: float
    sample_f: float
    micro_mcc: float
    macro_mcc: float
    hamming_loss: float
    subset_accuracy: float
    tags_per_image: float
    true_tags_per_image: float
    n_macro_tags: int
    n_macro_precision_tags: int
    n_sample_images: int
    n_sample_precision_images: int


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
    """Return right, decided and true pairs of each tag.

    Parameters
    ----------
    decided, labels : csr_array of shape (n_images, n_tags), bool
    """
    decided, labels = canonical(decided, labels.shape), canonical(labels)
    n_tags = labels.shape[1]
    return Counts(
        right=_column_counts(canonical(decided.multiply(labels)), n_tags),
        decided=_column_counts(decided, n_tags),
        true=_column_counts(labels, n_tags),
    )


def count_by_image(decided: sparse.csr_array, labels: sparse.csr_array) -> Counts:
    """Return right, decided and true pairs of each image; arguments as in `count_by_tag`."""
    decided, labels = canonical(decided, labels.shape), canonical(labels)
    right = canonical(decided.multiply(labels))
    return Counts(right=_row_counts(right), decided=_row_counts(decided), true=_row_counts(labels))


def precision(counts: Counts) -> NDArray[np.float64]:
    """Return the share of the decided pairs that is true; NaN where nothing was decided."""
    return _ratio(counts.right, counts.decided)


def recall(counts: Counts) -> NDArray[np.float64]:
    """Return the share of the true pairs that was decided; NaN where nothing is true."""
    return _ratio(counts.right, counts.true)


def f_beta(counts: Counts, beta: float) -> NDArray[np.float64]:
    """Return F-beta, ``(1 + b2) TP / (b2 P + PP)``; NaN where nothing is true or decided.

    Parameters
    ----------
    counts : Counts
    beta : float
        Weight of recall against precision, above 0; 1 weighs both the same.
    """
    squared = beta * beta
    return _ratio((1 + squared) * counts.right, squared * counts.true + counts.decided)


def matthews(counts: Counts, n_rows: int | NDArray[np.int64]) -> NDArray[np.float64]:
    """Return Matthews' correlation of decisions and labels over ``n_rows`` images (or pairs).

    NaN where the labels are constant; 0 where only the decisions are, as for any guess.
    """
    right, decided, true = (
        np.asarray(values, float) for values in (counts.right, counts.decided, counts.true)
    )
    covariance = n_rows * right - decided * true
    spread = np.sqrt(decided * (n_rows - decided)) * np.sqrt(true * (n_rows - true))
    result = np.divide(covariance, spread, out=np.zeros(spread.shape), where=spread > 0)
    return np.where((true > 0) & (true < n_rows), result, np.nan)


def decision_scores(
    decided: sparse.csr_array,
    labels: sparse.csr_array,
    *,
    beta: float,
    unknown: sparse.csr_array | None = None,
) -> DecisionScores:
    """Return all scores of decided tags against labels.

    Parameters
    ----------
    decided, labels : csr_array of shape (n_images, n_tags), bool
    beta : float
        Weight of recall in F-beta.
    unknown : csr_array of shape (n_images, n_tags), bool, optional
        Pairs that are no negatives either; nothing is decided or true there.

    Raises
    ------
    TagstackError
        If the shapes differ.
    """
    n_images, n_tags = labels.shape
    tags, images = count_by_tag(decided, labels), count_by_image(decided, labels)
    macro, sample = tags.only(tags.true > 0), images.only(images.true > 0)
    total, weight = tags.total(), macro.true
    n_left_out = np.zeros(n_tags, np.int64)
    if unknown is not None:
        n_left_out = _column_counts(canonical(unknown, labels.shape), n_tags)
    n_pairs = n_images * n_tags - int(n_left_out.sum())
    return DecisionScores(
        micro_precision=float(precision(total)),
        micro_recall=float(recall(total)),
        micro_f=float(f_beta(total, beta)),
        macro_precision=defined_mean(precision(macro)),
        macro_recall=defined_mean(recall(macro)),
        macro_f=defined_mean(f_beta(macro, beta)),
        weighted_precision=_weighted_mean(precision(macro), weight),
        weighted_recall=_weighted_mean(recall(macro), weight),
        weighted_f=_weighted_mean(f_beta(macro, beta), weight),
        sample_precision=defined_mean(precision(sample)),
        sample_recall=defined_mean(recall(sample)),
        sample_f=defined_mean(f_beta(sample, beta)),
        micro_mcc=float(matthews(total, n_pairs)),
        macro_mcc=defined_mean(matthews(tags, n_images - n_left_out)),
        hamming_loss=_share(int(tags.errors.sum()), n_pairs),
        subset_accuracy=_share(int((images.errors == 0).sum()), n_images),
        tags_per_image=_share(int(total.decided), n_images),
        true_tags_per_image=_share(int(total.true), n_images),
        n_macro_tags=len(macro.true),
        n_macro_precision_tags=int((macro.decided > 0).sum()),
        n_sample_images=len(sample.true),
        n_sample_precision_images=int((sample.decided > 0).sum()),
    )


def defined_mean(values: NDArray[np.float64]) -> float:
    """Return the mean of the values that are not NaN, or NaN when there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _weighted_mean(values: NDArray[np.float64], weight: NDArray[np.int64]) -> float:
    defined = ~np.isnan(values)
    return _share((values[defined] * weight[defined]).sum(), weight[defined].sum())


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _ratio(part: NDArray[np.number], whole: NDArray[np.number]) -> NDArray[np.float64]:
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    result: NDArray[np.float64] = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _column_counts(matrix: sparse.csr_array, n_tags: int) -> NDArray[np.int64]:
    return np.bincount(matrix.indices, minlength=n_tags).astype(np.int64)


def _row_counts(matrix: sparse.csr_array) -> NDArray[np.int64]:
    return np.asarray(np.diff(matrix.indptr), np.int64)


@dataclass(frozen=True, kw_only=True)
class HierarchicalScores:
    """Scores of decisions closed under what tags imply; NaN where undefined or without rules.

    ``precision``, ``recall`` and ``f`` sum over all pairs; ``sample_*`` are means over the
    ``n_sample_images`` images with a label, of which ``n_sample_precision_images`` have a decision.
    """

    precision: float
    recall: float
    f: float
    sample_precision: float
    sample_recall: float
    sample_f: float
    n_sample_images: int
    n_sample_precision_images: int


def closed(tags: sparse.csr_array, ancestors: sparse.csr_array) -> sparse.csr_array:
    """Return tags with everything that they imply.

    Parameters
    ----------
    tags : csr_array of shape (n_images, n_tags), bool
    ancestors : csr_array of shape (n_tags, n_tags), bool
        ``ancestors[tag, other]``: the tag implies the other, directly or not.
    """
    counted = canonical(tags).astype(np.int32)
    return canonical(sparse.csr_array(counted + counted @ ancestors.astype(np.int32)))


def hierarchical_scores(
    decided: sparse.csr_array,
    labels: sparse.csr_array,
    ancestors: sparse.csr_array,
    *,
    beta: float,
    unknown: sparse.csr_array | None = None,
) -> HierarchicalScores:
    """Return hierarchical precision, recall and F-beta.

    Parameters
    ----------
    decided, labels : csr_array of shape (n_images, n_tags), bool
    ancestors : csr_array of shape (n_tags, n_tags), bool
    beta : float
        Weight of recall.
    unknown : csr_array of shape (n_images, n_tags), bool, optional
        Pairs that count neither for nor against, implied ones included.

    References
    ----------
    Kiritchenko, Matwin, Nock & Famili (2006), "Learning and evaluation in the presence of class
    hierarchies".
    """
    ours, true = closed(decided, ancestors), closed(labels, ancestors)
    if unknown is not None:
        ours, true = known_labels(ours, unknown), known_labels(true, unknown)
    counts = count_by_image(ours, true)
    total, labelled = counts.total(), counts.only(counts.true > 0)
    return HierarchicalScores(
        precision=float(precision(total)),
        recall=float(recall(total)),
        f=float(f_beta(total, beta)),
        sample_precision=defined_mean(precision(labelled)),
        sample_recall=defined_mean(recall(labelled)),
        sample_f=defined_mean(f_beta(labelled, beta)),
        n_sample_images=len(labelled.true),
        n_sample_precision_images=int((labelled.decided > 0).sum()),
    )
