"""Tags that are given because of the company they usually keep, though they do not hold.

For tags a and b: of the images where b does not hold, is b given more often where a does? One image
of each group counts, so that a series of pictures is one piece of evidence.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.meta.metrics.counts import canonical, column_counts
from tagstack.meta.metrics.intervals import share_interval

_FEWEST = 3  # two wrong tags in company can be one mistake made twice


@dataclass(frozen=True, kw_only=True)
class Companion:
    """``tag`` is given where ``company`` holds and it does not.

    ``rate`` is the share of the ``n_images`` images with ``company`` and without ``tag`` on which
    it is given (``n_wrong`` of them), ``usual`` that of all images without it, ``ratio`` the one
    over the other, with an interval for ``rate`` alone.
    """

    company: str
    tag: str
    n_wrong: int
    n_images: int
    rate: float
    usual: float
    ratio: float
    low: float
    high: float
    q_value: float


@dataclass(frozen=True, kw_only=True)
class Companions:
    """What was found.

    Parameters
    ----------
    found : tuple of Companion
        The largest ratio first.
    n_tested : int
        Pairs of tags over which the false discovery rate holds, those that cannot be sure
        included.
    """

    found: tuple[Companion, ...]
    n_tested: int


def companions_of(
    decided: sparse.csr_array,
    labels: sparse.csr_array,
    unknown: sparse.csr_array,
    groups: NDArray[np.integer],
    vocabulary: Vocabulary,
    *,
    confidence: float,
    false_discovery_rate: float,
) -> Companions:
    """Return the pairs of tags of which one is surely given because of the other.

    The cost follows the wrong and the true tags of each image, not the pairs of the vocabulary.

    Parameters
    ----------
    decided, labels, unknown : csr_array of shape (n_images, n_tags), bool
    groups : array of shape (n_images,), integer
    vocabulary : Vocabulary
    confidence : float, in (0.5, 1)
    false_discovery_rate : float, in (0, 1)

    References
    ----------
    Fisher's exact test, one-sided; Benjamini & Hochberg (1995).
    """
    from scipy.stats import hypergeom

    first = np.unique(groups, return_index=True)[1]
    shape = (len(first), len(vocabulary))
    true = canonical(labels[first], shape).astype(np.int32)
    open_ = canonical(unknown[first], shape).astype(np.int32)
    given = canonical(decided[first], shape).astype(np.int32)
    wrong = _positive(given - given.multiply(true) - given.multiply(open_))
    together = sparse.coo_array(true.T @ wrong)
    n_true, n_wrong = column_counts(canonical(true)), column_counts(canonical(wrong))
    able = n_wrong >= _FEWEST
    n_tested = int(able.sum() * (n_true >= _FEWEST).sum())
    enough = (together.data >= _FEWEST) & (together.row != together.col)
    company, tag, both = together.row[enough], together.col[enough], together.data[enough]
    if not len(both):
        return Companions(found=(), n_tested=n_tested)
    holding = sparse.csr_array(true.T @ (true + open_))
    n_free = len(first) - n_true - column_counts(canonical(open_))  # images without the tag
    n_with = n_true[company] - holding[company, tag]
    p_value = hypergeom.sf(both - 1, n_free[tag], n_wrong[tag], n_with)
    q_value = _adjusted(p_value, n_tested)
    rate, usual = both / n_with, n_wrong[tag] / n_free[tag]
    low, high = share_interval(both.astype(np.int64), n_with.astype(np.int64), confidence)
    sure = np.flatnonzero((q_value <= false_discovery_rate) & (rate > usual))
    order = sure[np.lexsort((tag[sure], company[sure], -(rate / usual)[sure]))]
    found = tuple(
        Companion(
            company=vocabulary.tags[company[i]],
            tag=vocabulary.tags[tag[i]],
            n_wrong=int(both[i]),
            n_images=int(n_with[i]),
            rate=float(rate[i]),
            usual=float(usual[i]),
            ratio=float(rate[i] / usual[i]),
            low=float(low[i] / usual[i]),
            high=float(high[i] / usual[i]),
            q_value=float(q_value[i]),
        )
        for i in order.tolist()
    )
    return Companions(found=found, n_tested=n_tested)


def _positive(matrix: sparse.csr_array) -> sparse.csr_array:
    result = sparse.csr_array(matrix)
    result.eliminate_zeros()
    return result


def _adjusted(p_value: NDArray[np.float64], n_tested: int) -> NDArray[np.float64]:
    """Return q-values where all other of ``n_tested`` tests have a p-value of 1."""
    order = np.argsort(p_value)
    raised = p_value[order] * max(n_tested, len(order)) / np.arange(1, len(order) + 1)
    result = np.empty(len(order))
    result[order] = np.minimum(np.minimum.accumulate(raised[::-1])[::-1], 1)
    return result
