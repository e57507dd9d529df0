"""How tags relate, as the stack's features see it: parents and exclusive groups.

The rules themselves, with guards, sources and repair, belong to `tagstack.ensemble`; this is the
plain extract that a learner can use as context.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from tagstack.configs.errors import TagstackError


@dataclass(frozen=True)
class TagRelations:
    """Parents and exclusive groups over one vocabulary.

    Parameters
    ----------
    parents : csr_array of shape (n_tags, n_tags), bool
        ``parents[child, parent]`` is true where the child implies the parent.
    groups : tuple of tuple of int
        Tag indices of each exclusive group; a tag may stand in several.

    Raises
    ------
    TagstackError
        If ``parents`` is not square or a group holds an index outside the vocabulary.
    """

    parents: sparse.csr_array
    groups: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        rows, columns = self.parents.shape
        if rows != columns:
            msg = f"parents must be square (child, parent), got shape {self.parents.shape}."
            raise TagstackError(msg)
        outside = sorted({t for group in self.groups for t in group if not 0 <= t < rows})
        if outside:
            msg = f"Exclusive groups hold tag indices {outside[:5]}; expected 0 to {rows - 1}."
            raise TagstackError(msg)

    @classmethod
    def none(cls, n_tags: int) -> "TagRelations":
        """Return the relations of tags that have none."""
        return cls(sparse.csr_array((n_tags, n_tags), dtype=bool), ())

    @property
    def n_tags(self) -> int:
        """Size of the vocabulary."""
        return int(self.parents.shape[0])

    def group_edges(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return (tag, group) of every membership, two arrays of shape (n_memberships,)."""
        tag = [t for group in self.groups for t in group]
        number = [g for g, group in enumerate(self.groups) for _ in group]
        return np.array(tag, np.int64), np.array(number, np.int64)
