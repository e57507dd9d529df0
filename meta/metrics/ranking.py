"""Rankings of pairs and their average precision, by scikit-learn's definition.

Many rankings are sorted at once: tag by tag, fold by fold, or all pairs together. Equal
probabilities form one step of the curve, so that the order of rows never decides. All unlisted
pairs of a tag share its base value and therefore enter as one such step; nothing dense is ever
made. What else needs a sorted ranking builds on `curve_of`: `influence` (how much each row moves
the score), `fold_scores`. Many weightings of the images at once are `weighted_ranking`'s.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.compilation import can_compile
from tagstack.base_models.orders import sorted_by
from tagstack.base_models.pairs import PairProba
from tagstack.meta.labels.truth import pair_labels, unlisted_counts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_COMPILED = 20_000  # rows from which on loading compiled code pays
_DENSE = 4_000_000  # pairs of a table without gaps that are sorted together: 200 MB

Number = TypeVar("Number", np.int64, np.float64)


def average_precision(proba: PairProba, labels: sparse.csr_array) -> NDArray[np.float64]:
    """Return each tag's average precision over all images.

    Parameters
    ----------
    proba : PairProba
    labels : csr_array of shape (n_images, n_tags), bool

    Returns
    -------
    array of shape (n_tags,), float64, in [0, 1]
        NaN for a tag without positives or without probabilities.

    Raises
    ------
    TagstackError
        If the labels have another shape than the probabilities.
    """
    return area_of(rankings_of(proba, labels))


def micro_average_precision(proba: PairProba, labels: sparse.csr_array) -> float:
    """Return the average precision of all (image, tag) pairs ranked together.

    Tags without probabilities (NaN base) are left out, positives included. NaN where no pair
    is positive.

    Raises
    ------
    TagstackError
        If the labels have another shape than the probabilities.
    """
    return float(area_of(rankings_of(proba, labels).together())[0])


def known_average_precision(
    proba: NDArray[np.float32], labels: NDArray[np.bool_], known: NDArray[np.bool_]
) -> Floats:
    """Return each tag's average precision over its known pairs, of tables without pairs left out.

    Parameters
    ----------
    proba : array of shape (n_images, n_tags), float32, in [0, 1]
    labels, known : array of shape (n_images, n_tags), bool

    Returns
    -------
    array of shape (n_tags,), float64, in [0, 1]
        NaN for a tag without known positives.
    """
    n_images, n_tags = known.shape
    width = max(1, _DENSE // max(n_images, 1))
    parts = [np.empty(0)]
    for first in range(0, n_tags, width):
        own = slice(first, first + width)
        image, tag = np.nonzero(known[:, own])
        value, true = proba[:, own][image, tag], labels[:, own][image, tag].astype(np.int64)
        n_own = min(width, n_tags - first)
        parts.append(area_of(Rankings.of(tag, value, np.ones_like(true), true, n_own)))
    return np.concatenate(parts)


def falling_order(value: NDArray[np.float32]) -> Ints:
    """Return the order of non-negative values from the highest; equal ones in their own order.

    Shape (n_rows,).
    """
    if worth_compiling(len(value)):
        from tagstack.meta.metrics.compiled_rankings import falling

        return falling(value)
    # The bits of a non-negative float order like the float; adding 0.0 turns -0.0 to 0.0.
    return sorted_by(np.arange(len(value)), ~(value + np.float32(0.0)).view(np.uint32))


@dataclass(frozen=True, kw_only=True)
class Rankings:
    """Rows of several rankings.

    Parameters
    ----------
    key : array of shape (n_rows,), int64, in [0, n_keys)
        The ranking that a row stands in.
    value : array of shape (n_rows,), float32, not negative
        By which rows are ranked; equal values form one step.
    count, true : arrays of shape (n_rows,), int64
        How many pairs the row stands for, and how many of them are true.
    n_true : array of shape (n_keys,), int64
        True pairs of the ranking; those that no row holds are never found.
    falling : array of shape (n_rows,), int64, optional
        What `falling_order` says of the values: rankings that differ in their keys can share it.
    """

    key: Ints
    value: NDArray[np.float32]
    count: Ints
    true: Ints
    n_true: Ints
    falling: Ints | None = None

    @classmethod
    def of(
        cls, key: Ints, value: NDArray[np.float32], count: Ints, true: Ints, n_keys: int
    ) -> "Rankings":
        """Return rankings in which every true pair is held by some row."""
        n_true = np.zeros(n_keys, np.int64)
        np.add.at(n_true, key, true)
        return cls(key=key, value=value, count=count, true=true, n_true=n_true)

    def together(self) -> "Rankings":
        """Return all rows as one ranking."""
        return replace(self, key=np.zeros_like(self.key), n_true=self.n_true.sum(keepdims=True))

    def descending(self) -> Ints:
        """Return the order by ranking, then by falling value. Shape (n_rows,)."""
        return sorted_by(self.by_value(), self.key.astype(np.uint32))

    def by_value(self) -> Ints:
        """Return the order by falling value alone. Shape (n_rows,)."""
        return falling_order(self.value) if self.falling is None else self.falling


def rankings_of(proba: PairProba, labels: sparse.csr_array) -> Rankings:
    """Return each tag's ranking of all images; tags without probabilities rank nothing.

    Parameters
    ----------
    proba : PairProba
    labels : csr_array of shape (n_images, n_tags), bool
    """
    listed = pair_labels(proba.pairs, labels)
    n_unlisted, n_true = unlisted_counts(proba.pairs, listed, labels)
    n_tags = proba.pairs.n_tags
    tag = np.concatenate([proba.pairs.tag, np.arange(n_tags)]).astype(np.int64)
    value = np.concatenate([proba.proba, proba.base])
    count = np.concatenate([np.ones(len(listed), np.int64), n_unlisted])
    true = np.concatenate([listed.astype(np.int64), n_true])
    kept = ~np.isnan(proba.base)[tag] & (count > 0)
    return Rankings.of(tag[kept], value[kept], count[kept], true[kept], n_tags)


def area_of(rankings: Rankings) -> Floats:
    """Return the average precision of each ranking, shape (n_keys,); NaN without true pairs."""
    if worth_compiling(len(rankings.key)):
        from tagstack.meta.metrics.compiled_rankings import areas

        r = rankings
        return areas(r.by_value(), r.key, r.value, r.count, r.true, r.n_true)
    return curve_of(rankings).area


def worth_compiling(n_rows: int) -> bool:
    """Return whether compiled code ranks so many rows: numba works, and loading it pays."""
    return n_rows >= _COMPILED and can_compile()


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Steps of equal value, sorted by ranking and falling value.

    Parameters
    ----------
    key : array of shape (n_steps,), int64
        The ranking of each step.
    true : array of shape (n_steps,), int64
        True pairs at just this value.
    n_above : array of shape (n_steps,), int64
        Pairs met down to this step.
    precision : array of shape (n_steps,), float64
        Share of them that is true.
    step : array of shape (n_rows,), int64
        The step of each row.
    area : array of shape (n_keys,), float64
        Average precision; NaN without true pairs.
    """

    key: Ints
    true: Ints
    n_above: Ints
    precision: Floats
    step: Ints
    area: Floats


def curve_of(rankings: Rankings) -> Curve:
    """Return the precision-recall steps of each ranking."""
    order = rankings.descending()
    key, value = rankings.key[order], rankings.value[order]
    new = np.r_[True, (key[1:] != key[:-1]) | (value[1:] != value[:-1])][: len(key)]
    step = np.empty(len(key), np.int64)
    step[order] = np.cumsum(new) - 1
    starts = np.flatnonzero(new)
    true = summed(rankings.true[order], starts)
    key = key[starts]
    n_above = so_far(summed(rankings.count[order], starts), key)
    precision = so_far(true, key) / np.maximum(n_above, 1)
    size = len(rankings.n_true)
    area = np.bincount(key, weights=true * precision, minlength=size)
    relative = np.where(rankings.n_true > 0, area / np.maximum(rankings.n_true, 1), np.nan)
    return Curve(key=key, true=true, n_above=n_above, precision=precision, step=step, area=relative)


def summed(values: Ints, starts: Ints) -> Ints:
    """Return the sum of the rows from each start to the next. Of the shape of ``starts``."""
    return np.add.reduceat(values, starts) if len(starts) else values


def running(values: NDArray[Number], begins: NDArray[np.intp]) -> NDArray[Number]:
    """Return the running sum that starts anew at each beginning; the first begins at 0.

    Of the shape of ``values``.
    """
    total = np.cumsum(values)
    if len(begins) > 1:
        before = total[begins] - values[begins]
        total -= np.repeat(before, np.diff(np.append(begins, len(values))))
    return total


def so_far(values: NDArray[Number], key: Ints) -> NDArray[Number]:
    """Return the running sum that starts anew with each ranking; ``key`` is sorted.

    Of the shape of ``values``.
    """
    return running(values, np.flatnonzero(np.r_[True, key[1:] != key[:-1]][: len(key)]))


def from_here(values: Floats, key: Ints) -> Floats:
    """Return the sum from each step to the end of its ranking. Of the shape of ``values``."""
    return so_far(values[::-1], key[::-1])[::-1]
