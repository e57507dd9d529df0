"""Precision and recall over a hierarchy: a tag stands for everything that it implies too.

Deciding ``dog`` where ``cat`` is true is then less wrong than deciding ``tree``: both imply
``animal``. Where labels and decisions are closed already, the scores equal the plain micro ones.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from tagstack.ensemble.comparison.metrics import (
    canonical,
    count_by_image,
    defined_mean,
    f_beta,
    precision,
    recall,
)
from tagstack.meta.truth import known_labels


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
