"""What the decoder works from: rules laid out for arrays, probabilities looked up by pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.ensemble.rules.bound_rules import BoundRules, membership

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

UNIT = 2.0**20
"""Gains and penalties are whole multiples of its inverse, so that sums are exact."""

_TIE = 2.0**-30


@dataclass(frozen=True, kw_only=True)
class Lists:
    """A list of integers for each of many items, back to back (the index half of a CSR matrix)."""

    indptr: Ints
    values: Ints

    @classmethod
    def from_matrix(cls, matrix: sparse.csr_array) -> "Lists":
        """Return the columns of each row."""
        return cls(indptr=matrix.indptr.astype(np.int64), values=matrix.indices.astype(np.int64))

    def expand(self, items: Ints) -> tuple[Ints, Ints]:
        """Return, for all entries of ``items``' lists: the position in ``items``, and the value.

        Two arrays of shape (n_entries,).
        """
        starts = self.indptr[items]
        counts = self.indptr[items + 1] - starts
        source = np.repeat(np.arange(len(items)), counts)
        before = np.cumsum(counts) - counts
        return source, self.values[np.arange(len(source)) + (starts - before)[source]]


class RuleLists:
    """Bound rules laid out for the reduction."""

    def __init__(self, rules: BoundRules) -> None:
        n_tags, exclusives = rules.n_tags, rules.exclusives
        self.n_tags = n_tags
        self.exclusives = exclusives
        self.ancestors = Lists.from_matrix(rules.ancestors)
        self.member = _lists([rule.tags for rule in exclusives], n_tags)
        self.when = _lists([rule.when for rule in exclusives], n_tags)
        self.unless = _lists([rule.unless for rule in exclusives], n_tags)
        self.n_when = np.array([len(rule.when) for rule in exclusives], np.int64)
        self.least = np.array([rule.at_least_one for rule in exclusives], bool)
        penalty = np.array([rule.penalty for rule in exclusives], np.float64)
        self.penalty = np.round(penalty * UNIT) / UNIT
        roles = np.zeros(n_tags, np.int64)
        for lists in (self.member, self.when, self.unless):
            roles += np.diff(lists.indptr)
        # Such a tag, once tagged, can only be lost to the one group it belongs to.
        self.lone = (roles == 1) & (np.diff(self.ancestors.indptr) == 0)
        # What may be kept below its threshold.
        self.wanted = np.zeros(n_tags, bool)
        self.wanted[self.ancestors.values] = True
        for number in np.flatnonzero(self.least):
            self.wanted[list(exclusives[number].tags)] = True
        self.switch = self._switches()

    def _switches(self) -> Bools:
        """Return the at-least-one rules of which a member can serve another rule as well.

        It may turn one off, or imply what one asks for; such members are choices wherever the
        rule could apply, met or not.
        """
        off: dict[int, set[int]] = {}
        asked: dict[int, set[int]] = {}
        for number, rule in enumerate(self.exclusives):
            for tag in rule.unless:
                off.setdefault(tag, set()).add(number)
            for tag in rule.tags if rule.at_least_one else ():
                asked.setdefault(tag, set()).add(number)
        found = np.zeros(len(self.exclusives), bool)
        for number in np.flatnonzero(self.least).tolist():
            tags = np.array(self.exclusives[number].tags, np.int64)
            above = self.ancestors.expand(tags)[1].tolist()
            reach = {*tags.tolist(), *above}
            found[number] = not reach.isdisjoint(off) or any(
                asked[tag] - {number} for tag in asked.keys() & reach
            )
        return found


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known about every tag of some images before the rules speak.

    Parameters
    ----------
    n_images, n_tags : int
    start : array of shape (n_images + 1,), int64
        The pairs of image ``i`` are ``start[i]:start[i + 1]``.
    key : array of shape (n_pairs,), int64, ascending
        ``image * n_tags + tag`` of each listed pair.
    proba : array of shape (n_pairs,), float32
    base : array of shape (n_tags,), float32
        Probability of the pairs not listed; NaN where there is none.
    threshold : array of shape (n_tags,), float32
        Infinite for a tag that is never tagged for its own sake.
    utility : bool
        Whether a tag gains ``proba - threshold`` instead of the difference of their logits.
    worth : array of shape (n_tags,), float32, optional
        A tag gains ``worth * (proba - threshold)``, whatever ``utility`` says.
    asking : tuple of int
        At-least-one rules that ask for a tag even where none of theirs could be kept; any other
        asks for nothing there, since nobody scored what it asks for.
    offered : tuple of int
        Keys that may be kept though nothing else asks for them.
    """

    n_images: int
    n_tags: int
    start: Ints
    key: Ints
    proba: NDArray[np.float32]
    base: NDArray[np.float32]
    threshold: NDArray[np.float32]
    utility: bool
    worth: NDArray[np.float32] | None = None
    asking: tuple[int, ...] = ()
    offered: tuple[int, ...] = ()

    def proba_at(self, key: Ints) -> NDArray[np.float32]:
        """Return the probability at each key, listed or not. Of the shape of ``key``."""
        place = np.searchsorted(self.key, key)
        listed = place < len(self.key)
        listed[listed] = self.key[place[listed]] == key[listed]
        proba = self.base[key % self.n_tags]
        proba[listed] = self.proba[place[listed]]
        return proba

    def tagged_at(self, key: Ints) -> Bools:
        """Return whether the tag at each key reaches its threshold. Of the shape of ``key``."""
        return np.asarray(self.proba_at(key) >= self.threshold[key % self.n_tags])

    def tagged(self) -> Ints:
        """Return the keys of all tags that reach their thresholds, ascending. Shape (n_tagged,)."""
        listed = self.key[self.proba >= self.threshold[self.key % self.n_tags]]
        flooded = np.flatnonzero(self.base >= self.threshold)
        if not len(flooded):
            return listed
        everywhere = np.arange(self.n_images)[:, None] * self.n_tags + flooded
        return merged(listed, everywhere[self.tagged_at(everywhere)])

    def weight_at(self, key: Ints) -> Floats:
        """Return what keeping each tag gains, a multiple of 2**-30; 0 where nothing is known.

        Of the shape of ``key``.
        """
        return np.nan_to_num(self._weight(self.proba_at(key), key % self.n_tags), nan=0.0)

    def listed_weight(self) -> Floats:
        """Return :meth:`weight_at` of the listed pairs, but NaN where nothing is known.

        Shape (n_pairs,).
        """
        return self._weight(self.proba, self.key % self.n_tags)

    def base_weight(self) -> Floats:
        """Return :meth:`weight_at` of each tag where it is not listed, NaN as above.

        Shape (n_tags,).
        """
        return self._weight(self.base, np.arange(self.n_tags))

    def _weight(self, proba: NDArray[np.float32], tag: Ints) -> Floats:
        threshold = self.threshold[tag]
        gain = self._scale(proba) - self._threshold_scale[tag]
        if self.worth is not None:
            gain *= self.worth[tag]
        gain = np.round(gain * UNIT) / UNIT
        # The tie term lets a tag just at its threshold be kept, and more tags rather than fewer.
        weight = np.where(proba >= threshold, np.maximum(gain, 0.0) + _TIE, np.minimum(gain, 0.0))
        endless = np.isinf(threshold)
        weight[endless] = np.where(proba[endless] >= threshold[endless], _TIE, np.nan)
        return weight

    @cached_property
    def _threshold_scale(self) -> Floats:
        return self._scale(self.threshold)

    def _scale(self, proba: NDArray[np.float32]) -> Floats:
        if self.utility or self.worth is not None:
            return proba.astype(np.float64)
        inside = np.clip(proba.astype(np.float64), 1e-9, 1 - 1e-9)
        return np.asarray(np.log(inside / (1 - inside)))


def merged(keys: Ints, more: Ints) -> Ints:
    """Return the keys of two arrays, each once, ascending. Shape (n_merged,).

    For nearly sorted keys a sort is several times faster than ``np.union1d``, which hashes.
    """
    both = np.concatenate([keys, more])
    both.sort(kind="stable")
    fresh = np.ones(len(both), bool)
    np.not_equal(both[1:], both[:-1], out=fresh[1:])
    return both[fresh]


def _lists(groups: Sequence[Sequence[int]], n_tags: int) -> Lists:
    matrix = membership(groups, n_tags)
    matrix.sort_indices()
    return Lists.from_matrix(matrix)
