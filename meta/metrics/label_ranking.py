"""Scores of each image's ranking of tags: label-ranking average precision and coverage.

Unlisted pairs stand at their tag's base value; they are counted by a search in the sorted base
values, never spelled out. A pair without a probability ranks below every other.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.meta.metrics.counts import canonical, defined_mean
from tagstack.meta.metrics.left_out import is_left_out


@dataclass(frozen=True, kw_only=True)
class LabelRanking:
    """Ranking scores, averaged over the ``n_images`` images with at least one label.

    ``lrap`` lies in (0, 1]: of the tags ranked at or above a true tag, the share that is true.
    ``coverage`` is how many tags must be read from the top to meet every true one.
    """

    lrap: float
    coverage: float
    n_images: int


def label_ranking(proba: PairProba, labels: sparse.csr_array) -> LabelRanking:
    """Return label-ranking average precision and coverage; ties count as ranked above.

    Parameters
    ----------
    proba : PairProba
    labels : csr_array of shape (n_images, n_tags), bool

    References
    ----------
    Tsoumakas, Katakis & Vlahavas (2010), "Mining multi-label data".
    """
    labels = canonical(labels, (proba.pairs.n_images, proba.pairs.n_tags))
    base = _ranked(proba.base)
    ascending = np.sort(base)
    values = _ranked(proba.proba)
    precisions, depths = [], []
    for image in np.flatnonzero(np.diff(labels.indptr)):
        listed = slice(proba.pairs.indptr[image], proba.pairs.indptr[image + 1])
        tags = proba.pairs.tag[listed]
        true = labels.indices[labels.indptr[image] : labels.indptr[image + 1]]
        of_true = _values_of(true, tags, values[listed], base)
        rank = (
            _at_least(ascending, of_true)
            - _at_least(np.sort(base[tags]), of_true)
            + _at_least(np.sort(values[listed]), of_true)
        )
        precisions.append(np.mean(_at_least(np.sort(of_true), of_true) / rank))
        depths.append(rank.max())
    lrap, coverage = np.array(precisions, float), np.array(depths, float)
    return LabelRanking(
        lrap=defined_mean(lrap), coverage=defined_mean(coverage), n_images=len(lrap)
    )


def _ranked(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return values that rank no probability below all others, and what is left out nowhere."""
    nowhere = np.where(is_left_out(values), np.float32(-2), values)
    return np.where(np.isnan(values), np.float32(-1), nowhere)


def _values_of(
    true: NDArray[np.int32],
    tags: NDArray[np.int32],
    values: NDArray[np.float32],
    base: NDArray[np.float32],
) -> NDArray[np.float32]:
    if not len(tags):
        return base[true]
    at = np.minimum(np.searchsorted(tags, true), len(tags) - 1)
    return np.where(tags[at] == true, values[at], base[true])


def _at_least(ascending: NDArray[np.float32], values: NDArray[np.float32]) -> NDArray[np.intp]:
    return len(ascending) - np.searchsorted(ascending, values, side="left")
