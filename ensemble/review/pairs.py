"""Every pair of image and tag that may be asked about, as columns.

A collection of 100,000 pictures has some millions of them. How they come to be is in `ground`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_LEAST = 1e-7
_OF_TAGS = frozenset(("wrong", "missing", "n_has", "n_near", "n_pairs"))


@dataclass(frozen=True, kw_only=True)
class ReviewPairs:
    """Pairs, ascending by image and then tag.

    Parameters
    ----------
    image, tag : arrays of shape (n_pairs,), int32
    proba : array of shape (n_pairs,), float32, in [0, 1]
        Out of fold where the bundle was fitted on the image and kept that.
    threshold : array of shape (n_pairs,), float32
    tagged : array of shape (n_pairs,), bool
        Whether the bundle tags it, after the rules.
    has : array of shape (n_pairs,), bool
        Whether the image has the tag now: as labelled, else as tagged.
    wrong, missing : arrays of shape (n_tags,), float64
        Expected numbers of the images that have a tag and should not, and the other way round.
    n_has, n_near, n_pairs : arrays of shape (n_tags,), int64
        Images that have the tag; pairs near the threshold, and pairs in all.
    """

    image: NDArray[np.int32]
    tag: NDArray[np.int32]
    proba: NDArray[np.float32]
    threshold: NDArray[np.float32]
    tagged: NDArray[np.bool_]
    has: NDArray[np.bool_]
    wrong: NDArray[np.float64]
    missing: NDArray[np.float64]
    n_has: NDArray[np.int64]
    n_near: NDArray[np.int64]
    n_pairs: NDArray[np.int64]

    @classmethod
    def empty(cls, n_tags: int) -> Self:
        """Return a table of no pair."""
        none = np.zeros(0, np.int32)
        value, flag = np.zeros(0, np.float32), np.zeros(0, bool)
        share, count = np.zeros(n_tags), np.zeros(n_tags, np.int64)
        return cls(
            image=none, tag=none, proba=value, threshold=value, tagged=flag, has=flag,
            wrong=share, missing=share, n_has=count, n_near=count, n_pairs=count,
        )  # fmt: skip

    @classmethod
    def joined(cls, tables: Sequence["ReviewPairs"]) -> "ReviewPairs":
        """Return the pairs of chunks in their order; what is told of tags is added up."""
        columns: dict[str, Any] = {}
        for field in fields(cls):
            parts = [getattr(table, field.name) for table in tables]
            added = field.name in _OF_TAGS
            columns[field.name] = np.sum(parts, axis=0) if added else np.concatenate(parts)
        return cls(**columns)

    @cached_property
    def margin(self) -> NDArray[np.float32]:
        """Log-odds of each pair above its threshold, shape (n_pairs,); -inf where never tagged."""
        return margins(self.proba, self.threshold)

    def find(self, image: int, tag: int) -> int:
        """Return the row of a pair; -1 if it is none."""
        first, last = self.rows_of(image)
        row = first + int(np.searchsorted(self.tag[first:last], tag))
        return row if row < last and self.tag[row] == tag else -1

    def rows_of(self, image: int) -> tuple[int, int]:
        """Return the first row of an image and the one behind its last."""
        if image + 1 >= len(self._ends):
            return len(self.image), len(self.image)
        return int(self._ends[image]), int(self._ends[image + 1])

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        n_images = int(self.image[-1]) + 1 if len(self.image) else 0
        counts = np.bincount(self.image, minlength=n_images)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def margins(proba: NDArray[np.float32], threshold: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the log-odds of probabilities above their thresholds, of the shape of both."""
    never = threshold > 1
    value = np.log(np.clip(proba, _LEAST, 1 - _LEAST) / np.clip(1 - proba, _LEAST, None))
    least = np.where(never, np.float32(0.5), threshold)
    cut = np.log(np.clip(least, _LEAST, 1 - _LEAST) / np.clip(1 - least, _LEAST, None))
    return np.where(never, np.float32(-np.inf), value - cut).astype(np.float32)
