"""Scores of decided tags: precision, recall, F-beta, MCC, Hamming, subset accuracy.

All of them, plain and closed under what tags imply, from the counts of `counts`. A value that is
undefined is NaN, is left out of its average, and the number of values that remain is part of the
result. Scores of rankings live in `ranking` and `label_ranking`, of probabilities in
`calibration_error`; what each is called, in `scores`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.meta.labels.truth import known_labels
from tagstack.meta.metrics.counts import (
    canonical,
    column_counts,
    count_by_image,
    count_by_tag,
    defined_mean,
    f_beta,
    matthews,
    precision,
    recall,
)


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
    macro, sample = tags.take(tags.positives > 0), images.take(images.positives > 0)
    total, weight = tags.total(), macro.positives
    n_left_out = np.zeros(n_tags, np.int64)
    if unknown is not None:
        n_left_out = column_counts(canonical(unknown, labels.shape))
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
        tags_per_image=_share(int(total.predicted), n_images),
        true_tags_per_image=_share(int(total.positives), n_images),
        n_macro_tags=len(macro.positives),
        n_macro_precision_tags=int((macro.predicted > 0).sum()),
        n_sample_images=len(sample.positives),
        n_sample_precision_images=int((sample.predicted > 0).sum()),
    )


def _weighted_mean(values: NDArray[np.float64], weight: NDArray[np.int64]) -> float:
    defined = ~np.isnan(values)
    return _share((values[defined] * weight[defined]).sum(), weight[defined].sum())


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


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
    total, labelled = counts.total(), counts.take(counts.positives > 0)
    return HierarchicalScores(
        precision=float(precision(total)),
        recall=float(recall(total)),
        f=float(f_beta(total, beta)),
        sample_precision=defined_mean(precision(labelled)),
        sample_recall=defined_mean(recall(labelled)),
        sample_f=defined_mean(f_beta(labelled, beta)),
        n_sample_images=len(labelled.positives),
        n_sample_precision_images=int((labelled.predicted > 0).sum()),
    )
