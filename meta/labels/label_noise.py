"""Labels that are probably missing and labels that are probably wrong.

A pair is judged by a probability from models that did not see its label. A tag without the label
is probably missing where its probability is what labelled pairs of that tag have, and above one
half; a label is probably wrong where its probability is what unlabelled pairs have. Both are lists
to be looked at, the surest first, and change nothing by themselves.

Missing ones are ranked by probability, wrong ones by how far below the tag's labelled pairs they
lie in log-odds: on real images either found more planted errors among the first than the other.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import logit as logit_of

from tagstack.base_models.pairs import PairProba
from tagstack.meta.labels.truth import PairTruth, known_labels

Floats = NDArray[np.float64]

_HALF = 0.5  # below, the scores themselves hold the tag for less likely than not
_LEAST_LABELS = 5  # of a tag; with fewer, what its labelled pairs look like is not known


@dataclass(frozen=True, kw_only=True)
class SuspectPairs:
    """Pairs to look at, the most suspicious first.

    Parameters
    ----------
    image, tag : arrays of shape (n_suspects,), int64
    proba : array of shape (n_suspects,), float64, in [0, 1]
        That the tag holds.
    usual : array of shape (n_suspects,), float64, in [0, 1]
        Mean probability of the tag's labelled pairs.
    """

    image: NDArray[np.int64]
    tag: NDArray[np.int64]
    proba: Floats
    usual: Floats

    def __len__(self) -> int:
        return len(self.tag)


@dataclass(frozen=True, kw_only=True)
class LabelSuspects:
    """Both lists, and how many labels there are."""

    missing: SuspectPairs
    wrong: SuspectPairs
    n_labels: int


def label_suspects(
    proba: PairProba, labels: sparse.csr_array, unknown: sparse.csr_array
) -> LabelSuspects:
    """Return the pairs whose label and probability contradict each other.

    A tag with fewer than five labels has no missing ones; unknown pairs are on neither list.

    Parameters
    ----------
    proba : PairProba
        Calibrated, from models that did not see the labels of these images.
    labels, unknown : csr_arrays of shape (n_images, n_tags), bool

    References
    ----------
    Northcutt, Jiang & Chuang (2021), "Confident learning: estimating uncertainty in dataset
    labels" (per-class thresholds of self-confidence); Thyagarajan, Snorrason, Northcutt & Mueller
    (2022), "Identifying incorrect annotations in multi-label classification data".
    """
    labels = known_labels(labels, unknown)
    truth = PairTruth.of(proba.pairs, labels, unknown)
    of_labelled, of_others = _usual(proba, truth)
    pairs, value = proba.pairs, proba.proba.astype(np.float64)
    n_labelled = np.bincount(pairs.tag[truth.listed], minlength=pairs.n_tags) + truth.n_true
    enough = n_labelled >= _LEAST_LABELS
    candidate = truth.known & ~truth.listed & enough[pairs.tag]
    missing = np.flatnonzero(candidate & (value >= np.maximum(of_labelled, _HALF)[pairs.tag]))
    wrong = np.flatnonzero(truth.listed & (value <= of_others[pairs.tag]))
    image, tag = _unlisted(proba, labels)
    at = np.concatenate([value[wrong], proba.base[tag].astype(np.float64)])
    image = np.concatenate([pairs.image[wrong], image])
    tag = np.concatenate([pairs.tag[wrong], tag])
    kept = value[missing]
    return LabelSuspects(
        missing=_ranked(pairs.image[missing], pairs.tag[missing], kept, of_labelled, -kept),
        wrong=_ranked(image, tag, at, of_labelled, _log_odds(at) - _log_odds(of_labelled)[tag]),
        n_labels=int(labels.nnz),
    )


def _usual(proba: PairProba, truth: PairTruth) -> tuple[Floats, Floats]:
    """Return the mean probability of each tag's labelled pairs and of its other known pairs."""
    means = []
    for chosen, n_unlisted in (
        (truth.known & truth.listed, truth.n_true),
        (truth.known & ~truth.listed, truth.n_false),
    ):
        rows = np.flatnonzero(chosen & ~np.isnan(proba.proba))
        tag, n_tags = proba.pairs.tag[rows], proba.pairs.n_tags
        base = np.where(n_unlisted > 0, np.nan_to_num(proba.base) * n_unlisted, 0.0)
        total = np.bincount(tag, proba.proba[rows].astype(np.float64), n_tags) + base
        count = np.bincount(tag, minlength=n_tags) + n_unlisted
        means.append(total / np.maximum(count, 1))
    return means[0], means[1]


def _unlisted(
    proba: PairProba, labels: sparse.csr_array
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (image, tag) of the labels that no member found worth listing."""
    pairs = proba.pairs
    listed = (np.ones(len(pairs), bool), pairs.tag, pairs.indptr)
    held = sparse.csr_array(listed, shape=labels.shape)
    left = known_labels(labels, held).tocoo()
    image, tag = left.coords[0].astype(np.int64), left.coords[1].astype(np.int64)
    kept = ~np.isnan(proba.base[tag])
    return image[kept], tag[kept]


def _ranked(
    image: NDArray[np.integer],
    tag: NDArray[np.integer],
    proba: Floats,
    usual: Floats,
    key: Floats,
) -> SuspectPairs:
    """Return the pairs by rising key; of equals, the earlier image first."""
    order = np.lexsort((tag, image, key))
    of_tag = tag[order].astype(np.int64)
    return SuspectPairs(
        image=image[order].astype(np.int64), tag=of_tag, proba=proba[order], usual=usual[of_tag]
    )


def _log_odds(proba: Floats) -> Floats:
    return np.asarray(logit_of(np.clip(proba, 1e-7, 1 - 1e-7)), np.float64)
