"""Labels seen through sparse pairs: which listed pairs are true, and what the unlisted ones hold.

The (image, tag) pairs that no member scored above its floor are never listed. They still count:
most are negatives, a few are positives that every member missed.

A pair may be unknown: nobody said whether the tag holds. It is then neither positive nor negative
and has no say in any fit, whatever the labels hold there.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba, Pairs
from tagstack.configs.errors import TagstackError


@dataclass(frozen=True, kw_only=True)
class PairTruth:
    """What is known of listed pairs, and how many unlisted pairs of each tag are true and false.

    Parameters
    ----------
    listed : array of shape (n_pairs,), bool
        Whether the pair is labelled true; False where unknown.
    known : array of shape (n_pairs,), bool
    weight : array of shape (n_pairs,), floating, not negative
        How much the pair counts in a fit; 0 where unknown.
    n_true, n_false : arrays of shape (n_tags,), int64
        Of the unlisted pairs that are known; sums of weights, float64, where images weigh.
    """

    listed: NDArray[np.bool_]
    known: NDArray[np.bool_]
    weight: NDArray[np.floating]
    n_true: NDArray[Any]
    n_false: NDArray[Any]

    @classmethod
    def of(
        cls, pairs: Pairs, labels: sparse.csr_array, unknown: sparse.csr_array | None = None
    ) -> Self:
        """Return the truth of ``pairs`` from labels of shape (n_images, n_tags)."""
        if unknown is not None:
            labels = known_labels(labels, unknown)
        listed = pair_labels(pairs, labels)
        known = np.ones(len(pairs), bool) if unknown is None else ~pair_labels(pairs, unknown)
        n_unlisted, n_true = unlisted_counts(pairs, listed, labels)
        if unknown is not None:
            n_unlisted = n_unlisted - unlisted_counts(pairs, ~known, unknown)[1]
        return cls(
            listed=listed,
            known=known,
            weight=known.astype(np.float32),
            n_true=n_true,
            n_false=n_unlisted - n_true,
        )


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a fit may learn from: labels, what of them is unknown, and how much each pair counts.

    Parameters
    ----------
    labels : csr_array of shape (n_images, n_tags), bool
        Never true where unknown; `of` sees to that.
    unknown : csr_array of shape (n_images, n_tags), bool
    weight : array of shape (n_pairs,), float64, optional
        Of the listed pairs of the scores that the labels belong to; 1 each when not given.
    image_weight : array of shape (n_images,), float64, optional
        How much all pairs of an image count, listed or not; 1 each when not given.
    """

    labels: sparse.csr_array
    unknown: sparse.csr_array
    weight: NDArray[np.float64] | None = None
    image_weight: NDArray[np.float64] | None = None

    @classmethod
    def of(
        cls,
        labels: sparse.csr_array,
        unknown: sparse.csr_array | None = None,
        image_weight: NDArray[np.float64] | None = None,
    ) -> Self:
        """Return the evidence of labels; those at unknown pairs are dropped.

        Raises
        ------
        TagstackError
            If the two have different shapes.
        """
        if unknown is None:
            unknown = sparse.csr_array(labels.shape, dtype=bool)
        return cls(
            labels=known_labels(labels, unknown),
            unknown=canonical_mask(unknown),
            image_weight=image_weight,
        )

    def take(self, images: NDArray[np.intp], pairs: Pairs) -> "Evidence":
        """Return the evidence of the images at these indices; ``pairs`` are those of all images."""
        return Evidence(
            labels=self.labels[images],
            unknown=self.unknown[images],
            weight=None if self.weight is None else self.weight[pairs.rows(images)],
            image_weight=None if self.image_weight is None else self.image_weight[images],
        )

    def weighted(self, weight: NDArray[np.float64]) -> "Evidence":
        """Return the same labels with a weight for each listed pair."""
        return replace(self, weight=weight)

    def truth(self, pairs: Pairs) -> PairTruth:
        """Return the truth of the listed ``pairs`` of these images."""
        truth = PairTruth.of(pairs, self.labels, self.unknown if self.unknown.nnz else None)
        if self.weight is not None:
            truth = replace(truth, weight=truth.weight * self.weight)
        if self.image_weight is None:
            return truth
        n_true, n_false = self._unlisted_weights(pairs, truth)
        weight = truth.weight * self.image_weight[pairs.image]
        return replace(truth, weight=weight, n_true=n_true, n_false=n_false)

    def _unlisted_weights(
        self, pairs: Pairs, truth: PairTruth
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return what true and what false unlisted pairs of each tag weigh, (n_tags,) each."""
        own = self.image_weight
        assert own is not None
        of_pair = own[pairs.image]

        def listed(chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
            counts = np.bincount(pairs.tag[chosen], of_pair[chosen], pairs.n_tags)
            return counts.astype(np.float64)

        # What is left of a sum after all of it was taken out is rounding, not a pair.
        true = own @ self.labels.astype(np.float64) - listed(truth.listed)
        false = self.known_weight - listed(truth.known) - true
        # What is left of a sum after all of it was taken out is rounding, not a pair.
        return np.where(truth.n_true > 0, true, 0.0), np.where(truth.n_false > 0, false, 0.0)

    @cached_property
    def n_known(self) -> NDArray[np.int64]:
        """How many images have the tag known, true or not, shape (n_tags,), int64."""
        return np.asarray(self.labels.shape[0] - positives_per_tag(self.unknown), np.int64)

    @cached_property
    def known_weight(self) -> NDArray[np.number]:
        """What the images that have the tag known weigh together, shape (n_tags,)."""
        own = self.image_weight
        if own is None:
            return self.n_known
        return np.asarray(own.sum() - own @ self.unknown.astype(np.float64))


def canonical_mask(mask: sparse.csr_array) -> sparse.csr_array:
    """Return a boolean matrix with sorted indices and nothing stored that is False.

    Of the shape of ``mask``.
    """
    result = sparse.csr_array(mask.astype(bool))
    result.sum_duplicates()
    result.eliminate_zeros()
    return result


def known_labels(labels: sparse.csr_array, unknown: sparse.csr_array) -> sparse.csr_array:
    """Return the labels without those at unknown pairs.

    Raises
    ------
    TagstackError
        If the two have different shapes.
    """
    if labels.shape != unknown.shape:
        msg = f"unknown must have the labels' shape {labels.shape}, got {unknown.shape}."
        raise TagstackError(msg)
    labels, unknown = canonical_mask(labels), canonical_mask(unknown)
    return canonical_mask(labels > labels.multiply(unknown)) if unknown.nnz else labels


def without_unknown(proba: PairProba, unknown: sparse.csr_array) -> PairProba:
    """Return probabilities in which every unknown pair is listed with probability 0.

    With labels that are False there, such a pair ranks below all others and is never tagged: it
    counts neither as hit nor as false alarm, and average precision is as if it were not there.
    Tags without any probability stay without.

    Parameters
    ----------
    proba : PairProba
    unknown : csr_array of shape (n_images, n_tags), bool
    """
    return KnownPairs.of(proba.pairs, unknown).of_proba(proba)


@dataclass(frozen=True, kw_only=True)
class KnownPairs:
    """Listed pairs and the unknown ones among them, found once for many probabilities.

    Parameters
    ----------
    listed : Pairs
    pairs : Pairs
        Those, and every unknown pair.
    place : array of shape (n_listed,), int64, or None
        Where the listed lie among all; None where nothing is unknown.
    hidden : array of shape (n_unknown,), int64
        Where the unknown do.
    """

    listed: Pairs
    pairs: Pairs
    place: NDArray[np.int64] | None
    hidden: NDArray[np.int64]

    @classmethod
    def of(cls, listed: Pairs, unknown: sparse.csr_array) -> Self:
        """Return the pairs of some images with what is unknown of them, (n_images, n_tags)."""
        unknown = canonical_mask(unknown)
        if not unknown.nnz:
            return cls(listed=listed, pairs=listed, place=None, hidden=np.zeros(0, np.int64))
        added = unknown.tocoo().coords
        listed_keys = listed.keys()
        added_keys = _keys(added[0], added[1], listed.n_tags)
        keys = np.union1d(listed_keys, added_keys)
        counts = np.bincount(keys // listed.n_tags, minlength=listed.n_images)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        tag = (keys % listed.n_tags).astype(np.int32)
        return cls(
            listed=listed,
            pairs=Pairs(indptr=indptr, tag=tag, n_tags=listed.n_tags),
            place=np.searchsorted(keys, listed_keys),
            hidden=np.searchsorted(keys, added_keys),
        )

    def are(self, pairs: Pairs) -> bool:
        """Return whether these are the pairs that are listed here."""
        own = self.listed
        return pairs is own or (
            pairs.n_tags == own.n_tags
            and np.array_equal(pairs.indptr, own.indptr)
            and np.array_equal(pairs.tag, own.tag)
        )

    def of_proba(self, proba: PairProba) -> PairProba:
        """Return probabilities of the listed pairs as `without_unknown` does."""
        if self.place is None:
            return proba
        value = np.zeros(len(self.pairs), np.float32)
        value[self.place] = proba.proba
        value[self.hidden] = 0.0
        value[np.isnan(proba.base)[self.pairs.tag]] = np.nan
        return PairProba(pairs=self.pairs, proba=value, base=proba.base)


def pair_labels(pairs: Pairs, labels: sparse.csr_array) -> NDArray[np.bool_]:
    """Return whether each listed pair is labelled true.

    Parameters
    ----------
    pairs : Pairs
    labels : csr_array of shape (n_images, n_tags), bool

    Returns
    -------
    array of shape (n_pairs,), bool

    Raises
    ------
    TagstackError
        If the labels have another shape than the pairs.
    """
    expected = (pairs.n_images, pairs.n_tags)
    if labels.shape != expected:
        msg = f"labels must have shape {expected} to match the scores, got {labels.shape}."
        raise TagstackError(msg)
    listed = np.zeros(len(pairs), bool)
    for images, rows in pairs.blocks():
        true = labels[images].tocoo()
        held = true.data.astype(bool)
        true_keys = _keys(true.coords[0][held], true.coords[1][held], pairs.n_tags)
        image = pairs.image[rows] - np.int32(images.start)
        at, found = found_among(_keys(image, pairs.tag[rows], pairs.n_tags), true_keys)
        listed[rows.start + at[found]] = True
    return listed


def found_among(
    keys: NDArray[np.int64], wanted: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return where each wanted key would lie, and whether it is there; two of shape (n_wanted,).

    The keys are ascending, as those of listed pairs are: this takes a tenth of the time of a hash.
    """
    at = np.searchsorted(keys, wanted)
    found = np.zeros(len(wanted), bool)
    inside = at < len(keys)
    found[inside] = keys[at[inside]] == wanted[inside]
    return at, found


def positives_per_tag(labels: sparse.csr_array) -> NDArray[np.int64]:
    """Return how many images carry each tag, shape (n_tags,), int64."""
    counts = labels.astype(bool).sum(axis=0)
    return np.asarray(counts, dtype=np.int64).ravel()


def unlisted_counts(
    pairs: Pairs, listed: NDArray[np.bool_], labels: sparse.csr_array
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return how many unlisted pairs each tag has, and how many of them are true.

    Parameters
    ----------
    pairs : Pairs
    listed : array of shape (n_pairs,), bool
        What `pair_labels` returned for these pairs.
    labels : csr_array of shape (n_images, n_tags), bool

    Returns
    -------
    n_unlisted, n_true : arrays of shape (n_tags,), int64
    """
    n_listed = np.bincount(pairs.tag, minlength=pairs.n_tags)
    n_true_listed = np.bincount(pairs.tag[listed], minlength=pairs.n_tags)
    return pairs.n_images - n_listed, positives_per_tag(labels) - n_true_listed


def _keys(image: NDArray[np.integer], tag: NDArray[np.integer], n_tags: int) -> NDArray[np.int64]:
    keys: NDArray[np.int64] = image.astype(np.int64) * n_tags + tag
    return keys
