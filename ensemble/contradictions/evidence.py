"""What the decoder works from: rules laid out for arrays, probabilities looked up by pair."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.ensemble.rules.binding import BoundRules
from tagstack.ensemble.rules.violations import membership

Ints = NDArray[np.int64]
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
        """Return, for all entries of ``items``' lists: the position in ``items``, and the value."""
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
        self.penalty = np.array([rule.penalty for rule in exclusives], np.float64)
        roles = np.zeros(n_tags, np.int64)
        for lists in (self.member, self.when, self.unless):
            roles += np.diff(lists.indptr)
        # Such a tag, once tagged, can only be lost to the one group it belongs to.
        self.lone = (roles == 1) & (np.diff(self.ancestors.indptr) == 0)
        self.switch = self._switches()

    def _switches(self) -> Bools:
        """Return the at-least-one rules of which a member can serve another rule as well.

        It may turn one off, or meet one that asks for a tag; such members are choices everywhere.
        """
        found = np.zeros(len(self.exclusives), bool)
        for number in np.flatnonzero(self.least):
            tags = np.array(self.exclusives[number].tags, np.int64)
            reach = {*tags.tolist(), *self.ancestors.expand(tags)[1].tolist()}
            for other, rule in enumerate(self.exclusives):
                useful = {*rule.unless, *(rule.tags if rule.at_least_one else ())}
                found[number] |= not reach.isdisjoint(useful if other != number else rule.unless)
        return found


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known about every tag of some images before the rules speak.

    Parameters
    ----------
    n_images, n_tags : int
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
    """

    n_images: int
    n_tags: int
    key: Ints
    proba: NDArray[np.float32]
    base: NDArray[np.float32]
    threshold: NDArray[np.float32]
    utility: bool
    worth: NDArray[np.float32] | None = None

    def proba_at(self, key: Ints) -> NDArray[np.float32]:
        """Return the probability at each key, listed or not."""
        place = np.searchsorted(self.key, key)
        listed = place < len(self.key)
        listed[listed] = self.key[place[listed]] == key[listed]
        proba = self.base[key % self.n_tags]
        proba[listed] = self.proba[place[listed]]
        return proba

    def tagged_at(self, key: Ints) -> Bools:
        """Return whether the tag at each key reaches its threshold."""
        return np.asarray(self.proba_at(key) >= self.threshold[key % self.n_tags])

    def tagged(self) -> Ints:
        """Return the keys of all tags that reach their thresholds, ascending."""
        listed = self.key[self.proba >= self.threshold[self.key % self.n_tags]]
        flooded = np.flatnonzero(self.base >= self.threshold)
        if not len(flooded):
            return listed
        everywhere = np.arange(self.n_images)[:, None] * self.n_tags + flooded
        return np.union1d(listed, everywhere[self.tagged_at(everywhere)])

    def weight_at(self, key: Ints) -> NDArray[np.float64]:
        """Return what keeping each tag gains, a multiple of 2**-30; 0 where nothing is known."""
        proba, threshold = self.proba_at(key), self.threshold[key % self.n_tags]
        gain = self._scale(proba) - self._scale(threshold)
        if self.worth is not None:
            gain = gain * self.worth[key % self.n_tags].astype(np.float64)
        known = np.isfinite(proba) & np.isfinite(threshold)
        gain = np.round(np.where(known, gain, 0.0) * UNIT) / UNIT
        # The tie term lets a tag just at its threshold be kept, and more tags rather than fewer.
        return np.where(proba >= threshold, np.maximum(gain, 0.0) + _TIE, np.minimum(gain, 0.0))

    def _scale(self, proba: NDArray[np.float32]) -> NDArray[np.float64]:
        if self.utility or self.worth is not None:
            return proba.astype(np.float64)
        inside = np.clip(proba.astype(np.float64), 1e-9, 1 - 1e-9)
        return np.asarray(np.log(inside / (1 - inside)))


def _lists(groups: Sequence[Sequence[int]], n_tags: int) -> Lists:
    matrix = membership(groups, n_tags)
    matrix.sort_indices()
    return Lists.from_matrix(matrix)
