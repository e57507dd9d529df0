"""Rows of a regression by tag and category, and fewer of them where they are many.

Of many rows, those of one tag with the same label and nearly the same value become one, and the
fits that tags are held to look at a part of them: they are centres, not answers.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.orders import sorted_by
from tagstack.meta.calibrators.tally import Tally

Floats = NDArray[np.float64]

MANY = 200_000  # rows from which on close values are merged, and centres look at a part


@dataclass(frozen=True, kw_only=True)
class TagRows:
    """Weighted rows of a regression, sorted so that tags and categories are contiguous.

    Parameters
    ----------
    design : array of shape (n_columns, n_rows), float64
        The first column is the constant 1.
    true : array of shape (n_rows,), float64, 0 or 1
    weight : array of shape (n_rows,), float64, non-negative
    tag_start, category_start : arrays of shape (n_present,), int64
        First row of each tag and category that has rows.
    tags, categories : arrays of shape (n_present,), int64
        Which tag and which category those are.
    category_of_tag : array of shape (n_tags,), int64
    """

    design: Floats
    true: Floats
    weight: Floats
    tag_start: NDArray[np.int64]
    category_start: NDArray[np.int64]
    tags: NDArray[np.int64]
    categories: NDArray[np.int64]
    category_of_tag: NDArray[np.int64]

    @cached_property
    def pooled(self) -> "TagRows":
        """Fewer rows, for the fits over categories and over all tags at any strength."""
        return _pooled(self)

    @cached_property
    def overall(self) -> dict[bytes, Floats]:
        """Fits over all tags, shape (n_columns,) each, by what they are held to."""
        return {}

    def only(self, kept: NDArray[np.bool_]) -> "TagRows":
        """Return some of the rows, shape (n_rows,), in their order."""
        tag = np.repeat(self.tags, np.diff(np.append(self.tag_start, len(self.weight))))[kept]
        category = self.category_of_tag[tag]
        tag_start, category_start = _starts(tag), _starts(category)
        return TagRows(
            design=self.design[:, kept],
            true=self.true[kept],
            weight=self.weight[kept],
            tag_start=tag_start,
            category_start=category_start,
            tags=tag[tag_start],
            categories=category[category_start],
            category_of_tag=self.category_of_tag,
        )


def tag_rows(
    columns: Floats,
    true: NDArray[np.bool_],
    weight: Floats,
    tag: NDArray[np.int64],
    category_of_tag: NDArray[np.int64],
    *,
    merged: bool = False,
) -> TagRows:
    """Return rows sorted by category and tag, those of weight 0 left out.

    Parameters
    ----------
    columns : array of shape (n_features, n_rows), float64
    true, weight, tag : arrays of shape (n_rows,)
    category_of_tag : array of shape (n_tags,), int64
    merged : bool
        Whether close values are one row already.
    """
    kept = np.flatnonzero(weight > 0)
    if len(columns) == 1 and len(kept) > MANY and not merged:
        columns, true, weight, tag = _merged(
            columns[0, kept], true[kept], weight[kept], tag[kept], len(category_of_tag)
        )
        kept = np.arange(len(tag))
    place = np.empty(len(category_of_tag), np.uint32)
    place[np.argsort(category_of_tag, kind="stable")] = np.arange(len(place))
    order = sorted_by(kept, place[tag])
    sorted_tag, sorted_category = tag[order], category_of_tag[tag[order]]
    tag_start, category_start = _starts(sorted_tag), _starts(sorted_category)
    return TagRows(
        design=np.concatenate([np.ones((1, len(order))), columns[:, order]]),
        true=true[order].astype(np.float64),
        weight=weight[order].astype(np.float64),
        tag_start=tag_start,
        category_start=category_start,
        tags=sorted_tag[tag_start],
        categories=sorted_category[category_start],
        category_of_tag=category_of_tag,
    )


def _merged(
    value: Floats,
    true: NDArray[np.bool_],
    weight: Floats,
    group: NDArray[np.int64],
    n_groups: int,
) -> tuple[Floats, NDArray[np.bool_], Floats, NDArray[np.int64]]:
    """Return rows (columns, true, weight, group): close values of one label and group in one."""
    tally = Tally(float(value.min()), float(value.max()), n_groups)
    tally.add(value, true, weight, group, np.zeros(len(group), np.int64))
    mean, merged_true, total, merged_group = tally.rows(None)
    return mean[None], merged_true, total, merged_group


def _pooled(rows: TagRows) -> TagRows:
    """Return fewer rows for the fits over categories and over all tags, in the same order."""
    if len(rows.weight) <= MANY:
        return rows
    category = np.repeat(rows.categories, np.diff(np.append(rows.category_start, len(rows.true))))
    if len(rows.design) == 2:
        number = np.searchsorted(rows.categories, category)
        columns, true, weight, number = _merged(
            rows.design[1], rows.true > 0, rows.weight, number, len(rows.categories)
        )
        return _of_categories(rows, columns, true, weight, rows.categories[number])
    # Every so many of the single pairs, counted so many times; tags are next to each other, so
    # each gives its share. What stands for many pairs already is kept.
    every = -(-len(rows.weight) // MANY)
    light = np.flatnonzero(rows.weight <= 1.0)
    factor = np.zeros(len(rows.weight))
    factor[rows.weight > 1.0] = 1.0
    factor[light[every // 2 :: every]] = every
    kept = np.flatnonzero(factor)
    weight = rows.weight[kept] * factor[kept]
    return _of_categories(rows, rows.design[1:, kept], rows.true[kept], weight, category[kept])


def _of_categories(
    rows: TagRows,
    columns: Floats,
    true: NDArray[np.generic],
    weight: Floats,
    category: NDArray[np.int64],
) -> TagRows:
    """Return rows that only tell categories apart; their tags mean nothing."""
    start = _starts(category)
    return TagRows(
        design=np.concatenate([np.ones((1, len(weight))), columns]),
        true=true.astype(np.float64),
        weight=weight,
        tag_start=start,
        category_start=start,
        tags=category[start],
        categories=category[start],
        category_of_tag=rows.category_of_tag,
    )


def _starts(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    if not len(ids):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
