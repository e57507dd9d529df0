"""What the labels said of the fitted images, kept beside their out-of-fold probabilities.

With both, a bundle knows where it is wrong: what may be accepted unseen, and which thresholds are
surely worse, can be said without the label files of the fit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.meta.checked_arrays import CheckedArrays

_LABELS, _UNKNOWN, _GROUPS = "labels", "unknown", "groups"


@dataclass(frozen=True, kw_only=True)
class FittedLabels:
    """Labels of images, in the order of something else that speaks of them.

    Parameters
    ----------
    labels : sparse array of shape (n_images, n_tags), bool
    unknown : sparse array of shape (n_images, n_tags), bool
        Pairs of which nobody says whether they hold.
    groups : array of shape (n_images,), int64
        Equal for images that belong together.
    """

    labels: sparse.csr_array
    unknown: sparse.csr_array
    groups: NDArray[np.int64]

    def take(self, images: NDArray[np.intp]) -> "FittedLabels":
        """Return the labels of the images at these indices, in that order."""
        return FittedLabels(
            labels=sparse.csr_array(self.labels[images]),
            unknown=sparse.csr_array(self.unknown[images]),
            groups=self.groups[images],
        )

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Return what `of_arrays` reads: groups of shape (n_images,), starts and tags of rows."""
        found: dict[str, NDArray[Any]] = {_GROUPS: self.groups.astype(np.int64)}
        for name, matrix in ((_LABELS, self.labels), (_UNKNOWN, self.unknown)):
            found[f"{name} starts"] = matrix.indptr.astype(np.int64)
            found[f"{name} tags"] = matrix.indices.astype(np.int32)
        return found

    @classmethod
    def of_arrays(cls, arrays: CheckedArrays, n_images: int, n_tags: int) -> "FittedLabels | None":
        """Return the labels of a file; None where it has none, as bundles of before.

        Raises
        ------
        ValueError
            If an array cannot be what it is said to be.
        """
        if _GROUPS not in arrays.arrays:
            return None
        labels, unknown = (_matrix(arrays, name, n_images, n_tags) for name in (_LABELS, _UNKNOWN))
        groups = arrays.shaped(_GROUPS, (n_images,), "i").astype(np.int64)
        return cls(labels=labels, unknown=unknown, groups=groups)


def _matrix(arrays: CheckedArrays, name: str, n_images: int, n_tags: int) -> sparse.csr_array:
    tags = arrays.whole(f"{name} tags", (None,), high=max(n_tags, 1))
    starts = arrays.starts(f"{name} starts", n_images, len(tags))
    ones = np.ones(len(tags), bool)
    return sparse.csr_array((ones, tags.astype(np.int32), starts), shape=(n_images, n_tags))
