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
from scipy import sparse

from tagstack.ensemble.audit.counts import COUNTED, FIGURES, JudgedPairs, figures_of
from tagstack.ensemble.audit.slices import HELD, Slice
from tagstack.meta.metrics.bootstrap import FEWEST_GROUPS, Weightings, compare_tags

Floats = NDArray[np.float64]
Samples = NDArray[np.float32]

# A difference of a figure is no larger.
SPAN = dict(zip(FIGURES, (1.0, 1.0, 1.0, 2.0, 2.0), strict=True))


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
    n_images, n_groups, n_testing : array of shape (n_slices,), int64
        Images and groups of the slice, and groups that carry the test: the fewer of both sides.
    """

    slices: tuple[Slice, ...]
    here: Samples
    there: Samples
    n_images: NDArray[np.int64]
    n_groups: NDArray[np.int64]
    n_testing: NDArray[np.int64]

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
        parts = [_sides(own, row, total) for own, row in zip(slices, rows, strict=True)]
        n_groups = np.array([[_groups(groups[side]) for side in own] for own in parts], np.int64)
        return cls(
            slices=tuple(slices),
            here=here,
            there=there,
            n_images=np.array([inside.sum() for inside, _ in parts], np.int64),
            n_groups=n_groups.reshape(-1, 2)[:, 0],
            n_testing=n_groups.reshape(-1, 2).min(axis=1),
        )

    def looks(self, *, confidence: float, false_discovery_rate: float) -> tuple[Look, ...]:
        """Return every figure of every slice against what is outside it.

        Parameters
        ----------
        confidence : float, in (0.5, 1)
            Of each interval alone.
        false_discovery_rate : float, in (0, 1)
            Over all looks together.
        """
        if not self.slices:
            return ()
        n_figures, span = len(FIGURES), np.array([*SPAN.values()], np.float32)[:, None]
        tests = compare_tags(
            (self.here / span).reshape(-1, self.here.shape[-1]),
            (self.there / span).reshape(-1, self.here.shape[-1]),
            np.repeat(self.n_testing, n_figures),
            confidence=confidence,
            false_discovery_rate=false_discovery_rate,
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

    def disparities(self, *, confidence: float) -> tuple[Disparity, ...]:
        """Return how far the slices of each column lie apart, figure by figure.

        Parameters
        ----------
        confidence : float, in (0.5, 1)
            For all pairs of slices of one column together. Slices with fewer groups than a test
            takes are set against none.

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
            rows = [i for i, _ in each if self.n_groups[i] >= FEWEST_GROUPS]
            for j, figure in enumerate(FIGURES):
                far = _furthest(self.here[rows, j].astype(np.float64), confidence)
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


def _sides(
    own: Slice, row: sparse.csr_array, total: Floats
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return on which images a slice is, and what is outside it: those that say something."""
    if own.images is not None:
        return own.images, ~own.images
    given, true = COUNTED.index("given"), COUNTED.index("true")
    inside = np.asarray(row.todense())[[given, true]].sum(axis=0)
    return inside > 0, total[[given, true]].sum(axis=0) > inside


def _furthest(values: Floats, confidence: float) -> tuple[int, int, float, float] | None:
    """Return the slices furthest apart, their difference and its margin; None where none is.

    Parameters
    ----------
    values : array of shape (n_slices, 1 + n_resamples), float64
    confidence : float
    """
    defined = np.isfinite(values[:, 0]) & (np.isfinite(values).mean(axis=1) > 0.5)
    rows = np.flatnonzero(defined)
    steps = np.zeros(values.shape[1] - 1)  # the largest of all pairs, on each resample
    found: list[tuple[int, int, float, float]] = []
    for at, row in enumerate(rows[:-1].tolist()):
        others = rows[at + 1 :]
        spread = values[row] - values[others]
        error = np.nanstd(spread[:, 1:], axis=1)
        others, spread, error = (own[error > 0] for own in (others, spread, error))
        moved = spread[:, 1:] - np.nanmean(spread[:, 1:], axis=1, keepdims=True)
        steps = np.maximum(steps, np.nan_to_num(np.abs(moved) / error[:, None]).max(0, initial=0))
        found += zip(
            [row] * len(others), others.tolist(), spread[:, 0].tolist(), error.tolist(), strict=True
        )
    if not found:
        return None
    reach = float(np.quantile(steps, confidence))
    first, second, own, error_ = max(found, key=lambda one: abs(one[2]) - reach * one[3])
    high, low = (first, second) if own >= 0 else (second, first)
    return high, low, abs(own), reach * error_


def _groups(groups: NDArray[np.integer]) -> int:
    return len(np.unique(groups))
