"""Tags that are given because of the company they usually keep, though they do not hold.

For tags a and b: of the images where b does not hold, is b given more often where a does? One image
of each group counts, so that a series of pictures is one piece of evidence. The stack is asked, and
each of its taggers: what the stack adds for company, a tagger may have told it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.vocabulary import Vocabulary
from tagstack.meta.metrics.counts import canonical, column_counts
from tagstack.meta.metrics.intervals import share_interval

STACK = "stack"


@dataclass(frozen=True, kw_only=True)
class Companion:
    """``tag`` is given where ``company`` holds and it does not.

    ``by`` is who gives it: the stack, or a tagger alone. ``rate`` is the share of the ``n_images``
    images with ``company`` and without ``tag`` on which it is given (``n_wrong`` of them),
    ``usual`` that of all images without it, ``ratio`` the one over the other, with an interval for
    ``rate`` alone.
    """

    by: str
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
        Of the stack first, the largest ratio first.
    n_tested : int
        Pairs of tags, of all who were asked, over which the false discovery rate holds; those
        that cannot be sure included.
    """

    found: tuple[Companion, ...]
    n_tested: int


def companions_of(
    decided: Mapping[str, sparse.csr_array],
    labels: sparse.csr_array,
    unknown: sparse.csr_array,
    groups: NDArray[np.integer],
    vocabulary: Vocabulary,
    *,
    fewest_wrong: int,
    confidence: float,
    false_discovery_rate: float,
) -> Companions:
    """Return the pairs of tags of which one is surely given because of the other.

    The cost follows the wrong and the true tags of each image, not the pairs of the vocabulary.

    Parameters
    ----------
    decided : mapping of name to csr_array of shape (n_images, n_tags), bool
        Who gives which tags.
    labels, unknown : csr_array of shape (n_images, n_tags), bool
    groups : array of shape (n_images,), integer
    vocabulary : Vocabulary
    fewest_wrong : int
        Images on which a tag must be given wrongly in company.
    confidence : float, in (0.5, 1)
    false_discovery_rate : float, in (0, 1)
        Over all who are asked together.

    References
    ----------
    Fisher's exact test, one-sided; Benjamini & Hochberg (1995).
    """
    first = np.unique(groups, return_index=True)[1]
    shape = (len(first), len(vocabulary))
    true, open_ = (canonical(own[first], shape).astype(np.int32) for own in (labels, unknown))
    met = {
        name: _Meetings.of(canonical(own[first], shape).astype(np.int32), true, open_, fewest_wrong)
        for name, own in decided.items()
    }
    n_tested = sum(own.n_tested for own in met.values())
    p_value = np.concatenate([own.p_value for own in met.values()])
    q_value, begin, found = _adjusted(p_value, n_tested), 0, []
    for name, own in met.items():
        own_q = q_value[begin : begin + len(own.p_value)]
        begin += len(own.p_value)
        found += own.companions(name, vocabulary, own_q, confidence, false_discovery_rate)
    return Companions(found=tuple(found), n_tested=n_tested)


@dataclass(frozen=True, kw_only=True)
class _Meetings:
    """Pairs of tags that met often enough, one entry each, and how many could have."""

    company: NDArray[np.int64]
    tag: NDArray[np.int64]
    n_wrong: NDArray[np.int64]
    n_images: NDArray[np.int64]
    usual: NDArray[np.float64]
    p_value: NDArray[np.float64]
    n_tested: int

    @classmethod
    def of(
        cls, given: sparse.csr_array, true: sparse.csr_array, open_: sparse.csr_array, fewest: int
    ) -> "_Meetings":
        from scipy.stats import hypergeom

        wrong = _positive(given - given.multiply(true) - given.multiply(open_))
        together = sparse.coo_array(true.T @ wrong)
        n_true, n_wrong = (column_counts(canonical(own)) for own in (true, wrong))
        enough = (together.data >= fewest) & (together.row != together.col)
        company, tag, both = (
            own[enough].astype(np.int64) for own in (together.row, together.col, together.data)
        )
        n_free = true.shape[0] - n_true - column_counts(canonical(open_))  # without the tag
        n_with = n_true[company] - _entries(true, sparse.csr_array(true + open_), company, tag)
        return cls(
            company=company,
            tag=tag,
            n_wrong=both,
            n_images=n_with,
            usual=n_wrong[tag] / n_free[tag],
            p_value=hypergeom.sf(both - 1, n_free[tag], n_wrong[tag], n_with),
            n_tested=int((n_wrong >= fewest).sum() * (n_true >= fewest).sum()),
        )

    def companions(
        self,
        by: str,
        vocabulary: Vocabulary,
        q_value: NDArray[np.float64],
        confidence: float,
        false_discovery_rate: float,
    ) -> list[Companion]:
        """Return the sure ones, the largest ratio first."""
        rate = self.n_wrong / self.n_images
        ratio = rate / self.usual
        low, high = share_interval(self.n_wrong, self.n_images, confidence)
        sure = np.flatnonzero((q_value <= false_discovery_rate) & (ratio > 1))
        order = sure[np.lexsort((self.tag[sure], self.company[sure], -ratio[sure]))]
        return [
            Companion(
                by=by,
                company=vocabulary.tags[self.company[i]],
                tag=vocabulary.tags[self.tag[i]],
                n_wrong=int(self.n_wrong[i]),
                n_images=int(self.n_images[i]),
                rate=float(rate[i]),
                usual=float(self.usual[i]),
                ratio=float(ratio[i]),
                low=float(low[i] / self.usual[i]),
                high=float(high[i] / self.usual[i]),
                q_value=float(q_value[i]),
            )
            for i in order.tolist()
        ]


def _entries(
    left: sparse.csr_array,
    right: sparse.csr_array,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return entries of ``left.T @ right`` at some places, shape (n_places,)."""
    if not len(rows):
        return np.zeros(0, np.int64)
    return np.asarray(sparse.csr_array(left.T @ right)[rows, columns], np.int64).ravel()


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
