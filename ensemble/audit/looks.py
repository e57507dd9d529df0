"""Every figure of every slice beside that of the rest, and how far slices lie apart.

Pairs are counted together within a slice. Resamples of groups are the same for a slice and for the
rest, and every figure of every slice is one look: what is called sure holds after a correction for
all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, special

from tagstack.ensemble.audit.counts import COUNTED, FIGURES, JudgedPairs, figures_of
from tagstack.ensemble.audit.slices import HELD, Slice
from tagstack.meta.metrics.bootstrap import (
    FEWEST_GROUPS,
    Weightings,
    effective_groups,
    small_sample_reach,
)
from tagstack.meta.metrics.tag_tests import compare_tags

Floats = NDArray[np.float64]
Samples = NDArray[np.float32]

# A difference of a figure is no larger.
SPAN = dict(zip(FIGURES, (1.0, 1.0, 1.0, 2.0, 2.0), strict=True))


_GIVEN_OR_TRUE = (COUNTED.index("given"), COUNTED.index("true"))


@dataclass(frozen=True, kw_only=True)
class Look:
    """One figure of one slice beside the same figure of all other images, or of all other tags.

    ``tagging`` is (given - true) / (given + true): above 0, more tags are given than hold;
    ``calibration`` is the mean of probability minus truth over the listed pairs. ``low`` and
    ``high`` are the ends of the difference's interval, ``q_value`` is adjusted over all looks, and
    both are NaN where too few groups, or no tag, allow an answer. ``kind`` says what the slice is
    of, see `slices.Slice`.
    """

    kind: str
    column: str
    value: str
    figure: str
    n_images: int
    n_groups: int
    here: float
    elsewhere: float
    difference: float
    low: float
    high: float
    q_value: float
    sure: bool


@dataclass(frozen=True, kw_only=True)
class Disparity:
    """How far two slices of one column lie apart in a figure, at the least the furthest.

    Of all pairs of slices this is the one whose difference is surely the largest: its interval
    holds for all pairs of the column together. ``most`` has the higher figure, ``least`` the lower.
    """

    kind: str
    column: str
    figure: str
    most: str
    least: str
    highest: float
    lowest: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """The figures of slices and of what is outside them, on the sample and on resamples.

    Parameters
    ----------
    slices : tuple of Slice
    here, there : array of shape (n_slices, n_figures, 1 + n_resamples), float32
    n_images, n_groups : array of shape (n_slices,), int64
        Of the slice.
    effective : array of shape (n_slices, 2), float64
        Groups of one size that would tell as much, inside and outside.
    """

    slices: tuple[Slice, ...]
    here: Samples
    there: Samples
    n_images: NDArray[np.int64]
    n_groups: NDArray[np.int64]
    effective: Floats

    @classmethod
    def of(
        cls,
        slices: Sequence[Slice],
        judged: JudgedPairs,
        groups: NDArray[np.integer],
        weightings: Weightings,
    ) -> "Resampled":
        """Return the figures of some slices under common resamples.

        Parameters
        ----------
        slices : sequence of Slice
        judged : JudgedPairs
        groups : array of shape (n_images,), integer
        weightings : Weightings
            Of these groups.
        """
        total = judged.counts()
        rows = [counts_in(own, judged, total) for own in slices]
        here, there = resampled_figures(rows, total, weightings)
        inside = [_inside(own, row) for own, row in zip(slices, rows, strict=True)]
        sizes = [_sizes(row, total, groups) for row in rows]
        return cls(
            slices=tuple(slices),
            here=here,
            there=there,
            n_images=np.array([own.sum() for own in inside], np.int64),
            n_groups=np.array([len(np.unique(groups[own])) for own in inside], np.int64),
            effective=np.array([[effective_groups(side) for side in own] for own in sizes]),
        )

    def looks(
        self, *, confidence: float, false_discovery_rate: float, least_groups: float
    ) -> tuple[Look, ...]:
        """Return every figure of every slice against what is outside it.

        Parameters
        ----------
        confidence : float, in (0.5, 1)
            Of each interval alone.
        false_discovery_rate : float, in (0, 1)
            Over all looks together.
        least_groups : float
            Effective groups on either side, below which a slice is shown and not tested.
        """
        if not self.slices:
            return ()
        n_figures, span = len(FIGURES), np.array([*SPAN.values()], np.float32)[:, None]
        tested = self.effective.min(axis=1) >= max(least_groups, FEWEST_GROUPS)
        tests = compare_tags(
            (self.here / span).reshape(-1, self.here.shape[-1]),
            (self.there / span).reshape(-1, self.here.shape[-1]),
            np.repeat(np.where(tested, FEWEST_GROUPS, 0), n_figures),
            confidence=confidence,
            false_discovery_rate=false_discovery_rate,
            freedom=self._freedom().ravel(),
        )
        wide = np.tile([*SPAN.values()], len(self.slices))
        difference, low, high = (x * wide for x in (tests.difference, tests.low, tests.high))
        return tuple(
            Look(
                kind=own.kind,
                column=own.column,
                value=own.value,
                figure=figure,
                n_images=int(self.n_images[i]),
                n_groups=int(self.n_groups[i]),
                here=float(self.here[i, j, 0]),
                elsewhere=float(self.there[i, j, 0]),
                difference=float(difference[i * n_figures + j]),
                low=float(low[i * n_figures + j]),
                high=float(high[i * n_figures + j]),
                q_value=float(tests.q_value[i * n_figures + j]),
                sure=bool(tests.q_value[i * n_figures + j] <= false_discovery_rate),
            )
            for i, own in enumerate(self.slices)
            for j, figure in enumerate(FIGURES)
        )

    def _freedom(self) -> Floats:
        """Return the degrees of freedom of each difference, shape (n_slices, n_figures)."""
        spread = (_variance(own[:, :, 1:]) for own in (self.here, self.there))
        return welch(*spread, *self.effective.T[:, :, None])

    def disparities(self, *, confidence: float, least_groups: float) -> tuple[Disparity, ...]:
        """Return how far the slices of each column lie apart, figure by figure.

        Parameters
        ----------
        confidence : float, in (0.5, 1)
            For all pairs of slices of one column together.
        least_groups : float
            Slices with fewer effective groups are set against none.

        References
        ----------
        The studentised range, by resampling: Westfall & Young (1993), "Resampling-based multiple
        testing", chapter 2.
        """
        found = []
        keyed = list(enumerate(self.slices))
        for (kind, column), each in groupby(keyed, key=lambda own: (own[1].kind, own[1].column)):
            if kind == HELD:  # images with one tag are no alternative to those with another
                continue
            rows = [i for i, _ in each if self.effective[i, 0] >= least_groups]
            for j, figure in enumerate(FIGURES):
                samples = self.here[rows, j].astype(np.float64)
                far = _furthest(samples, self.effective[rows, 0], confidence)
                if far is not None:
                    high, low, difference, margin = far
                    most, least = rows[high], rows[low]
                    found.append(
                        Disparity(
                            kind=kind,
                            column=column,
                            figure=figure,
                            most=self.slices[most].value,
                            least=self.slices[least].value,
                            highest=float(self.here[most, j, 0]),
                            lowest=float(self.here[least, j, 0]),
                            difference=difference,
                            low=difference - margin,
                            high=difference + margin,
                        )
                    )
        return tuple(found)


def counts_in(own: Slice, judged: JudgedPairs, total: Floats) -> sparse.csr_array:
    """Return what is counted on each image inside a slice, shape (n_counted, n_images).

    Parameters
    ----------
    own : Slice
    judged : JudgedPairs
    total : array of shape (n_counted, n_images), float64
        Of all images and tags.
    """
    counts = total if own.tags is None else judged.counts(own.tags)
    return sparse.csr_array(counts if own.images is None else counts * own.images)


def resampled_figures(
    rows: Sequence[sparse.csr_array], total: Floats, weightings: Weightings
) -> tuple[Samples, Samples]:
    """Return the figures inside and outside of slices, on the sample and on every resample.

    Two arrays of shape (n_slices, n_figures, 1 + n_resamples), float32.

    Parameters
    ----------
    rows : sequence of csr_array of shape (n_counted, n_images)
    total : array of shape (n_counted, n_images), float64
    weightings : Weightings
    """
    shape = (len(rows), len(COUNTED), -1)
    every = sparse.csr_array(sparse.vstack(rows)) if rows else sparse.csr_array((0, total.shape[1]))
    inside, outside = [], []
    for weights in weightings.blocks():
        exact = weights.astype(np.float64)
        here = (every @ exact).reshape(*shape[:2], exact.shape[1])
        whole = (total @ exact)[None]
        inside.append(_figures(here))
        # What is left of a sum after all of it was taken out is rounding, not a pair.
        outside.append(_figures(np.where(np.abs(whole - here) > 1e-6, whole - here, 0.0)))
    return np.concatenate(inside, axis=2), np.concatenate(outside, axis=2)


def _figures(sums: Floats) -> Samples:
    """Return figures, shape (n_slices, n_figures, n), of sums (n_slices, n_counted, n)."""
    return figures_of(sums.swapaxes(0, 1)).swapaxes(0, 1).astype(np.float32)


def welch(first: Floats, second: Floats, n_first: Floats, n_second: Floats) -> Floats:
    """Return the degrees of freedom of a difference of two figures; all broadcast to one shape.

    Parameters
    ----------
    first, second : array, float
        Variance of each.
    n_first, n_second : array, float
        Groups behind each.

    References
    ----------
    Welch (1947), "The generalization of Student's problem when several different population
    variances are involved".
    """
    least = np.maximum(np.minimum(n_first, n_second) - 1, 0)
    parts = [own**2 / np.maximum(n - 1, 1e-9) for own, n in ((first, n_first), (second, n_second))]
    own = np.divide((first + second) ** 2, sum(parts), out=least + 0 * first, where=sum(parts) > 0)
    return np.asarray(np.where(np.isnan(own), least, np.maximum(own, least)))


def _inside(own: Slice, row: sparse.csr_array) -> NDArray[np.bool_]:
    """Return the images of a slice: of tags, those on which any is given or true."""
    return own.images if own.images is not None else _weight(row) > 0


def _sizes(
    row: sparse.csr_array, total: Floats, groups: NDArray[np.integer]
) -> tuple[Floats, Floats]:
    """Return how many pairs each group has inside and outside a slice, given or true."""
    number = np.unique(groups, return_inverse=True)[1]
    inside = _weight(row)
    outside = total[[*_GIVEN_OR_TRUE]].sum(axis=0) - inside
    first, second = (np.bincount(number, own).astype(np.float64) for own in (inside, outside))
    return first, second


def _weight(row: sparse.csr_array) -> Floats:
    return np.asarray(row[[*_GIVEN_OR_TRUE]].sum(axis=0), np.float64).ravel()


def _variance(values: NDArray[np.floating]) -> Floats:
    """Return the variance along the last axis of what is defined; 0 where nothing is."""
    defined = ~np.isnan(values)
    count = np.maximum(defined.sum(axis=-1), 1)
    held = np.where(defined, values, 0.0).astype(np.float64)
    mean = held.sum(axis=-1) / count
    return np.asarray(((held - mean[..., None]) ** 2 * defined).sum(axis=-1) / count)


def _furthest(
    values: Floats, effective: Floats, confidence: float
) -> tuple[int, int, float, float] | None:
    """Return the slices furthest apart, their difference and its margin; None where none is.

    Parameters
    ----------
    values : array of shape (n_slices, 1 + n_resamples), float64
    effective : array of shape (n_slices,), float64
        Groups behind each.
    confidence : float
    """
    variance = _variance(values[:, 1:])
    defined = np.isfinite(values[:, 0]) & (np.isfinite(values).mean(axis=1) > 0.5)
    rows = np.flatnonzero(defined)
    steps = np.zeros(values.shape[1] - 1)  # the largest of all pairs, on each resample
    found = []
    for at, row in enumerate(rows[:-1].tolist()):
        others = rows[at + 1 :]
        spread = values[row] - values[others]
        error = np.nanstd(spread[:, 1:], axis=1)
        others, spread, error = (own[error > 0] for own in (others, spread, error))
        moved = spread[:, 1:] - np.nanmean(spread[:, 1:], axis=1, keepdims=True)
        steps = np.maximum(steps, np.nan_to_num(np.abs(moved) / error[:, None]).max(0, initial=0))
        freedom = welch(variance[row], variance[others], effective[row], effective[others])
        pairs = np.column_stack([np.full(len(others), row), others])
        found.append(np.column_stack([pairs, spread[:, 0], error, freedom]))
    if not sum(map(len, found)):
        return None
    first, second, own, error, freedom = np.concatenate(found).T
    tail = special.ndtr(-np.quantile(steps, confidence))
    margin = error * small_sample_reach(float(tail), freedom)
    best = int(np.argmax(np.abs(own) - margin))
    high, low = (first, second) if own[best] >= 0 else (second, first)
    return int(high[best]), int(low[best]), float(abs(own[best])), float(margin[best])
