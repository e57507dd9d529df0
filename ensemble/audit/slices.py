"""Kinds of images by a label column, and how each fares against all others.

Pairs are counted together within a slice. Resamples of groups are the same for a slice and for the
rest, and every figure of every slice is one look: what is called sure holds after a correction for
all of them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.base_models.pairs import PairProba
from tagstack.base_models.tag_names import did_you_mean
from tagstack.configs.errors import TagstackError
from tagstack.meta.labels.truth import pair_labels
from tagstack.meta.metrics.bootstrap import Weightings, compare_tags
from tagstack.meta.metrics.counts import count_by_image, f_score, ratio
from tagstack.meta.metrics.left_out import is_left_out, without

Floats = NDArray[np.float64]

FIGURES = ("precision", "recall", "f1", "tagging", "calibration")
_FEWEST_IMAGES = 20  # an F1 of fewer moves by several hundredths with one image
_UNNAMED = "(none)"


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Images with one value of a column.

    Parameters
    ----------
    column, value : str
    images : array of shape (n_images,), bool
    pooled : tuple of str
        The values, where several small ones stand together.
    """

    column: str
    value: str
    images: NDArray[np.bool_]
    pooled: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Look:
    """One figure of one slice beside the same figure of all other images.

    ``tagging`` is (given - true) / (given + true): above 0, more tags are given than hold;
    ``calibration`` is the mean of probability minus truth over the listed pairs. ``low`` and
    ``high`` are the ends of the difference's interval, ``q_value`` is adjusted over all looks, and
    both are NaN where too few groups, or no tag, allow an answer.
    """

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
class ImageCounts:
    """What is summed over the images of a slice, each of shape (n_images,), float64."""

    hits: Floats
    given: Floats
    true: Floats
    excess: Floats
    pairs: Floats

    @classmethod
    def of(
        cls,
        proba: PairProba,
        decided: sparse.csr_array,
        labels: sparse.csr_array,
        unknown: sparse.csr_array,
    ) -> "ImageCounts":
        """Return the sums of each image; unknown pairs count nowhere.

        Parameters
        ----------
        proba : PairProba
        decided, labels, unknown : csr_array of shape (n_images, n_tags), bool
        """
        known = sparse.csr_array(decided > decided.multiply(unknown))
        counts = count_by_image(known, labels)
        judged = without(proba, unknown)
        kept = ~(is_left_out(judged.proba) | np.isnan(judged.proba))
        image, n_images = judged.pairs.image[kept], judged.pairs.n_images
        gap = judged.proba[kept].astype(np.float64) - pair_labels(judged.pairs, labels)[kept]
        return cls(
            hits=counts.hits.astype(np.float64),
            given=counts.predicted.astype(np.float64),
            true=counts.positives.astype(np.float64),
            excess=np.bincount(image, gap, n_images).astype(np.float64),
            pairs=np.bincount(image, minlength=n_images).astype(np.float64),
        )


def slices_of(
    columns: Mapping[str, Sequence[str]], by: Sequence[str], most_values: int
) -> tuple[tuple[Slice, ...], tuple[str, ...]]:
    """Return the slices of some columns, and notices about columns that make none.

    Values on few images stand together as one slice, which names them.

    Parameters
    ----------
    columns : mapping of column to n_images values
    by : sequence of str
        Columns to slice by.
    most_values : int
        A column with more values is an identity, and makes no slice.

    Raises
    ------
    TagstackError
        If a column is not there.
    """
    found: list[Slice] = []
    notices: list[str] = []
    for column in dict.fromkeys(by):
        if column not in columns:
            msg = (
                f"The labels have no column {column!r} to slice by; they have "
                f"{sorted(columns) or 'none besides image and tags'}.{_hint(column, columns)}"
            )
            raise TagstackError(msg)
        own = _of_column(column, columns[column], most_values)
        if not own:
            notices.append(
                f"{column} parts the images into no two kinds of {_FEWEST_IMAGES} images or more, "
                f"or into more than {most_values} values; nothing is compared by it"
            )
        found += own
    return tuple(found), tuple(notices)


def _hint(column: str, columns: Mapping[str, Sequence[str]]) -> str:
    close = did_you_mean(column, columns)
    return f" {close.strip()}" if close else ""


def _of_column(column: str, values: Sequence[str], most_values: int) -> list[Slice]:
    each = np.array([value or _UNNAMED for value in values], object)
    counts = Counter(each.tolist())
    if len(counts) > most_values:
        return []
    small = sorted(value for value, count in counts.items() if count < _FEWEST_IMAGES)
    named = [
        Slice(column=column, value=v, images=each == v) for v in sorted(set(counts) - {*small})
    ]
    rest = np.isin(each, small) if small else np.zeros(len(each), bool)
    if rest.sum() >= _FEWEST_IMAGES:
        value = f"{len(small)} small ones"
        named.append(Slice(column=column, value=value, images=rest, pooled=tuple(small)))
    named = [own for own in named if not own.images.all()]
    return named


def looks_at(
    slices: Sequence[Slice],
    counts: ImageCounts,
    groups: NDArray[np.integer],
    weightings: Weightings,
    *,
    confidence: float,
    false_discovery_rate: float,
) -> tuple[Look, ...]:
    """Return every figure of every slice against the images outside it.

    Parameters
    ----------
    slices : sequence of Slice
    counts : ImageCounts
    groups : array of shape (n_images,), integer
    weightings : Weightings
        Of these groups.
    confidence : float, in (0.5, 1)
        Of each interval alone.
    false_discovery_rate : float, in (0, 1)
        Over all looks together.
    """
    if not slices:
        return ()
    here = _figures(np.stack([own.images for own in slices]), counts, weightings)
    there = _figures(np.stack([~own.images for own in slices]), counts, weightings)
    n_groups = [min(_groups(groups[m]), _groups(groups[~m])) for m in (s.images for s in slices)]
    tests = compare_tags(
        here.reshape(-1, here.shape[-1]),
        there.reshape(-1, there.shape[-1]),
        np.repeat(n_groups, len(FIGURES)),
        confidence=confidence,
        false_discovery_rate=false_discovery_rate,
    )
    return tuple(
        Look(
            column=own.column,
            value=own.value,
            figure=figure,
            n_images=int(own.images.sum()),
            n_groups=_groups(groups[own.images]),
            here=float(here[i, j, 0]),
            elsewhere=float(there[i, j, 0]),
            difference=float(tests.difference[row]),
            low=float(tests.low[row]),
            high=float(tests.high[row]),
            q_value=float(tests.q_value[row]),
            sure=bool(tests.q_value[row] <= false_discovery_rate),
        )
        for row, (i, own, j, figure) in enumerate(
            (i, own, j, figure) for i, own in enumerate(slices) for j, figure in enumerate(FIGURES)
        )
    )


def _figures(
    members: NDArray[np.bool_], counts: ImageCounts, weightings: Weightings
) -> NDArray[np.float32]:
    """Return every figure on every resample, shape (n_slices, n_figures, 1 + n_resamples)."""
    columns = (counts.hits, counts.given, counts.true, counts.excess, counts.pairs)
    chosen = members.astype(np.float64)
    parts = []
    for weights in weightings.blocks():
        hits, given, true, excess, pairs = (chosen @ (own[:, None] * weights) for own in columns)
        figures = (
            ratio(hits, given),
            ratio(hits, true),
            f_score(hits, given, true, 1.0),
            ratio(given - true, given + true),
            ratio(excess, pairs),
        )
        parts.append(np.stack(figures, axis=1).astype(np.float32))
    return np.concatenate(parts, axis=2)


def _groups(groups: NDArray[np.integer]) -> int:
    return len(np.unique(groups))
