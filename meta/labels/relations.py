"""How tags relate, as the stack's features see it: parents and exclusive groups.

The rules themselves, with guards, sources and repair, belong to `tagstack.ensemble`; this is the
plain extract that a learner can use as context.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
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

    @cached_property
    def children(self) -> sparse.csr_array:
        """``children[parent, child]``, shape (n_tags, n_tags), bool."""
        return self.parents.T.tocsr()

    @cached_property
    def membership(self) -> sparse.csr_array:
        """``membership[tag, group]``, shape (n_tags, at least 1 group), int8."""
        edges = [(tag, number) for number, group in enumerate(self.groups) for tag in group]
        tag, number = np.array(edges, np.int64).reshape(-1, 2).T
        shape = (self.n_tags, max(len(self.groups), 1))
        return sparse.csr_array((np.ones(len(edges), np.int8), (tag, number)), shape=shape)
