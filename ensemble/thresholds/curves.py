"""What every possible threshold of every tag would do, from one sort of the listed pairs.

No array here is images by tags: cost and memory follow the listed pairs.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit, logit

from tagstack.base_models.orders import AT_ONCE, falling_within, whole_segments
from tagstack.base_models.pairs import PairProba
from tagstack.configs.decisions import ThresholdSettings
from tagstack.meta.labels.truth import pair_labels
from tagstack.meta.metrics.counts import Counts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

GRID: Floats = expit(np.linspace(logit(0.005), logit(0.995), 192)).astype(np.float32).astype(float)
"""Thresholds tried where one is shared by many tags: even on the logit scale, 0.055 apart."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Pairs by tag, most probable first, with their labels.

    Parameters
    ----------
    tag : array of shape (n_pairs,), int64, ascending
    proba : array of shape (n_pairs,), float32, falling within a tag
    label : array of shape (n_pairs,), bool
    image : array of shape (n_pairs,), int64
    n_positives : array of shape (n_tags,), int64
        Images with the tag, those included whose pair is not listed.
    floor : array of shape (n_tags,), float32
        A threshold must lie above this, or the tag would be predicted for every image.
    sure_hits, sure : array of shape (n_tags,), int64
        Images that get the tag at any threshold, since a tag of theirs implies it: those where
        it is true, and all.
    believed : array of shape (n_pairs,), float32
        Probability that each pair is true; ``proba`` is less where rivals contest the pair.
    n_images : float
        Behind the curves; what they weigh together, where they weigh.
    weights : Weights or None
        What images count; 1 each for None.
    """

    tag: Ints
    proba: NDArray[np.float32]
    label: Bools
    image: Ints
    n_positives: Ints
    floor: NDArray[np.float32]
    sure_hits: Ints
    sure: Ints
    believed: NDArray[np.float32]
    n_images: float
    weights: "Weights | None" = None

    @property
    def n_tags(self) -> int:
        """Size of the vocabulary."""
        return len(self.n_positives)

    @cached_property
    def starts(self) -> Ints:
        """First position of each tag's pairs and the end of the last, shape (n_tags + 1,)."""
        return np.searchsorted(self.tag, np.arange(self.n_tags + 1))

    def parts(self) -> Iterator["Curves"]:
        """Yield the curves of some tags after the other, all tags' together, a few pairs at once.

        Each knows all tags, and has the pairs of its own.
        """
        if len(self.tag) <= AT_ONCE:
            yield self
            return
        for some in whole_segments(self.tag, AT_ONCE):
            own = self.weights
            yield replace(
                self,
                tag=self.tag[some],
                proba=self.proba[some],
                label=self.label[some],
                image=self.image[some],
                believed=self.believed[some],
                weights=None if own is None else replace(own, of_pair=own.of_pair[some]),
            )

    @property
    def always(self) -> Counts:
        """What every threshold gives, and all that is true; arrays of shape (n_tags,)."""
        if self.weights is not None:
            return self.weights.always
        return Counts(hits=self.sure_hits, predicted=self.sure, positives=self.n_positives)

    def counts(self, thresholds: NDArray[np.float32]) -> Counts:
        """Return what one threshold per tag would do."""
        passed, always = self.proba >= thresholds[self.tag], self.always
        return Counts(
            hits=always.hits + self._summed(self.tag, passed & self.label, self.n_tags),
            predicted=always.predicted + self._summed(self.tag, passed, self.n_tags),
            positives=always.positives,
        )

    def grid_counts(self, row: Ints | None = None) -> Counts:
        """Return what each threshold of ``GRID`` would do, arrays of shape (n_rows, n_grid).

        Parameters
        ----------
        row : array of shape (n_tags,), int64, optional
            Tags with the same number, counted from 0, share a row; each has its own by default.
        """
        row = np.arange(self.n_tags) if row is None else row
        n_rows = int(row.max(initial=-1)) + 1
        passed = np.sum([part._grid_cells(row, n_rows) for part in self.parts()], axis=0)
        hits, predicted = (np.cumsum(cells[:, :0:-1], axis=1)[:, ::-1] for cells in passed)

        def of_rows(values: Ints) -> Ints:
            total = np.zeros(n_rows, values.dtype)
            np.add.at(total, row, values)
            return total[:, None]

        always = self.always
        return Counts(
            hits=of_rows(always.hits) + hits,
            predicted=of_rows(always.predicted) + predicted,
            positives=of_rows(always.positives),
        )

    def _grid_cells(self, row: Ints, n_rows: int) -> Floats | Ints:
        """Return true and all pairs between neighbours of ``GRID``, (2, n_rows, n_grid + 1)."""
        shape = (n_rows, len(GRID) + 1)
        cell = row[self.tag] * shape[1] + np.searchsorted(GRID, self.proba, side="right")
        every = np.ones(len(cell), bool)
        counted = (self._summed(cell, own, n_rows * shape[1]) for own in (self.label, every))
        return np.stack([own.reshape(shape) for own in counted])

    def cut_counts(self) -> Counts:
        """Return what a threshold at each pair's probability would do, shape (n_pairs,)."""
        always = self.always.take(self.tag)
        return Counts(
            hits=always.hits + self.so_far(self.label.astype(np.int64)),
            predicted=always.predicted + self.so_far(np.ones(len(self.tag), np.int64)),
            positives=always.positives,
        )

    def so_far(self, values: Floats | Ints) -> Ints:
        """Return sums over each tag's pairs down to each pair, weighed; shape (n_pairs,).

        Parameters
        ----------
        values : array of shape (n_pairs,)
        """
        total = np.cumsum(values if self.weights is None else values * self.weights.of_pair)
        before = np.concatenate([[0], total])[self.starts[self.tag]]
        return np.asarray(total - before)

    def _summed(self, key: Ints, chosen: Bools, size: int) -> Ints:
        own = None if self.weights is None else self.weights.of_pair[chosen]
        return np.bincount(key[chosen], own, size)

    @cached_property
    def lower(self) -> NDArray[np.float32]:
        """The next lower probability of the same tag, or its floor; shape (n_pairs,)."""
        following = np.append(self.proba[1:], np.float32(0))
        same = np.append(self.tag[1:] == self.tag[:-1], False)
        floor = self.floor[self.tag]
        return np.where(same, np.maximum(following, floor), floor)

    @cached_property
    def is_cut(self) -> Bools:
        """Where a threshold can lie between a pair and the next: no tie, above the floor.

        Shape (n_pairs,).
        """
        return self.proba > self.lower


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What the images behind some curves count.

    Parameters
    ----------
    of_pair : array of shape (n_pairs,), float64
    always : Counts
        What every threshold gives and all that is true, weighed; arrays of shape (n_tags,).
    """

    of_pair: Floats
    always: Counts


@dataclass(frozen=True, kw_only=True)
class Sorted:
    """All pairs of an out-of-fold run, sorted once; a fold only selects from them.

    Parameters
    ----------
    curves : Curves
        Of every listed pair with a probability.
    implied : array of shape (n_pairs,), bool
        Pairs that get their tag at any threshold, in the order of the curves.
    label_tag, label_image : array of shape (n_labels,), int64
    image_weight : array of shape (n_images,), float64, or None
        1 each for None.
    prepared : dict
        What was made of all of them already, by what it depends on: several fits share it.
    """

    curves: Curves
    implied: Bools
    label_tag: Ints
    label_image: Ints
    image_weight: Floats | None = None
    prepared: dict[Hashable, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def from_pairs(
        cls,
        proba: PairProba,
        labels: sparse.csr_array,
        implied: Bools | None = None,
        believed: NDArray[np.float32] | None = None,
        image_weight: Floats | None = None,
        true: Bools | None = None,
    ) -> "Sorted":
        """Return the pairs of ``proba`` by tag, most probable first, then by image.

        Parameters
        ----------
        proba : PairProba
        labels : csr_array of shape (n_images, n_tags), bool
        implied : array of shape (n_pairs,), bool, optional
            Pairs that get their tag at any threshold; none by default.
        believed : array of shape (n_pairs,), float32, optional
            Probability that each pair is true, where ``proba`` only orders them.
        image_weight : array of shape (n_images,), float64, optional
        true : array of shape (n_pairs,), bool, optional
            Which of the pairs are labelled, where that was looked up before.
        """
        pairs = proba.pairs
        known = ~np.isnan(proba.proba)
        if known.all():
            order = falling_within(pairs.tag, proba.proba)
        else:
            scored = np.flatnonzero(known)
            order = scored[falling_within(pairs.tag[scored], proba.proba[scored])]
        truth = labels.tocoo()
        label_image, label_tag = truth.row.astype(np.int64), truth.col.astype(np.int64)
        true = pair_labels(pairs, labels) if true is None else true
        none = np.zeros(pairs.n_tags, np.int64)
        ordered = proba.proba[order]
        curves = Curves(
            tag=pairs.tag[order].astype(np.int64),
            proba=ordered,
            label=true[order],
            image=pairs.image[order].astype(np.int64),
            n_positives=_per_tag(label_tag, pairs.n_tags),
            floor=np.where(np.isnan(proba.base), np.float32(0), proba.base),
            sure_hits=none,
            sure=none,
            believed=ordered if believed is None else believed[order],
            n_images=pairs.n_images,
        )
        sure = np.zeros(len(order), bool) if implied is None else implied[order]
        return cls(
            curves=curves,
            implied=sure,
            label_tag=label_tag,
            label_image=label_image,
            image_weight=image_weight,
        )

    def select(self, images: Bools) -> Curves:
        """Return the curves of some images.

        Parameters
        ----------
        images : array of shape (n_images,), bool
        """
        if images.all() and not self.implied.any():
            return self._every
        curves, n_tags = self.curves, self.curves.n_tags
        here = images[curves.image]
        chosen, sure = here & ~self.implied, here & self.implied
        return Curves(
            tag=curves.tag[chosen],
            proba=curves.proba[chosen],
            label=curves.label[chosen],
            image=curves.image[chosen],
            n_positives=_per_tag(self.label_tag[images[self.label_image]], n_tags),
            floor=curves.floor,
            sure_hits=_per_tag(curves.tag[sure & curves.label], n_tags),
            sure=_per_tag(curves.tag[sure], n_tags),
            believed=curves.believed[chosen],
            n_images=float(
                images.sum() if self.image_weight is None else self.image_weight[images].sum()
            ),
            weights=None if self.image_weight is None else self._weights(images, self.image_weight),
        )

    @cached_property
    def _every(self) -> Curves:
        """The curves of all images, where no pair is implied: those that are here."""
        weight = self.image_weight
        if weight is None:
            return self.curves
        every = np.ones(len(weight), bool)
        return replace(
            self.curves, n_images=float(weight.sum()), weights=self._weights(every, weight)
        )

    def _weights(self, images: Bools, weight: Floats) -> Weights:
        curves, n_tags = self.curves, self.curves.n_tags
        here = images[curves.image]
        of_pair, sure = weight[curves.image], here & self.implied
        true = images[self.label_image]
        always = (
            np.bincount(curves.tag[own], of_pair[own], n_tags)
            for own in (sure & curves.label, sure)
        )
        hits, predicted = always
        positives = np.bincount(self.label_tag[true], weight[self.label_image[true]], n_tags)
        return Weights(
            of_pair=of_pair[here & ~self.implied],
            always=Counts(hits=hits, predicted=predicted, positives=positives),
        )


def _per_tag(tag: Ints, n_tags: int) -> Ints:
    return np.bincount(tag, minlength=n_tags)


def goal_of(counts: Counts, settings: ThresholdSettings) -> Floats:
    """Return what each entry of ``counts`` is worth under the objective of ``settings``.

    Of the counts' shape.

    F-beta in [0, 1], or the utility gained over tagging nothing, summed over images.
    """
    if settings.objective == "utility":
        return gained(counts, settings)
    return counts.f_beta(settings.beta)


def average_goal(counts: Counts, settings: ThresholdSettings) -> Floats:
    """Return the goal over the tags on the first axis: macro or micro F-beta, or utility gained.

    Of the counts' shape without that axis.

    Tags without positives are left out of macro F-beta.
    """
    if settings.objective == "utility":
        return np.asarray(np.sum(gained(counts, settings), axis=0))
    return average_f(counts, settings)


def average_f(counts: Counts, settings: ThresholdSettings) -> Floats:
    """Return macro or micro F-beta over the first axis, tags without positives left out.

    Of the counts' shape without that axis.
    """
    if settings.average == "macro":
        if counts.positives.ndim == counts.hits.ndim > 1:
            # Of a large vocabulary most tags have none: the sum is the same without them.
            counts = counts.take(np.flatnonzero((counts.positives > 0).any(axis=1)))
        scores = counts.f_beta(settings.beta)
        n_defined = np.maximum((~np.isnan(scores)).sum(axis=0), 1)
        return np.asarray(np.nansum(scores, axis=0) / n_defined)
    return np.asarray(np.nan_to_num(counts.total().f_beta(settings.beta)))


def gained(counts: Counts, settings: ThresholdSettings) -> Floats:
    """Return the utility gained over tagging nothing: what hits bring less what errors cost.

    Of the counts' shape.
    """
    worth = settings.utility
    hits = counts.hits * (worth.tp - worth.fn)
    return np.asarray(hits + (counts.predicted - counts.hits) * (worth.fp - worth.tn), np.float64)


def break_even(settings: ThresholdSettings) -> float:
    """Return the probability at which tagging and not tagging are worth the same, in (0, 1).

    References
    ----------
    Elkan (2001), "The foundations of cost-sensitive learning".
    """
    worth = settings.utility
    return (worth.tn - worth.fp) / ((worth.tn - worth.fp) + (worth.tp - worth.fn))
