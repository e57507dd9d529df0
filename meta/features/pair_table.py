"""The table that learners of pairs see: one row per candidate pair, a column per feature."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.pairs import Pairs
from tagstack.base_models.spill import IN_MEMORY, Spill
from tagstack.configs.errors import TagstackError

Floats = NDArray[np.float64]

_READ_TOGETHER = 20_000  # rows of a table: far apart, each takes a page of its file into memory


@dataclass(frozen=True, kw_only=True)
class PairTable:
    """Features of candidate pairs.

    Parameters
    ----------
    pairs : Pairs
        The candidate pairs; row ``i`` of ``values`` belongs to pair ``i``.
    names : tuple of str
        Name of each column.
    values : array of shape (n_pairs, n_columns), float32
        NaN where missing.
    logit : array of shape (n_pairs,), float64
        The shrunken logistic's logit: where trees start from.
    groups : array of shape (n_images,), integer, optional
        Images with the same number are no independent evidence; without it, all are.
    rising : frozenset of str
        Columns of which a higher value never makes a pair less likely: what a member or a
        learner says of it. Trees are held to that.
    spill : Spill
        Where ``values`` lie; what was read of them is let go.
    members : tuple of str
        The taggers, each with a column of its own logits.
    """

    pairs: Pairs
    names: tuple[str, ...]
    values: NDArray[np.float32]
    logit: Floats
    groups: NDArray[np.int64] | None = None
    rising: frozenset[str] = frozenset()
    spill: Spill = IN_MEMORY
    members: tuple[str, ...] = ()

    @property
    def member_columns(self) -> list[int]:
        """Where each member's own logits stand among the columns."""
        return [self.names.index(own_logit(member)) for member in self.members]

    @property
    def shape(self) -> tuple[int, int]:
        """Pairs and columns: what scikit-learn's searches ask of a table that they split."""
        return len(self.pairs), len(self.names)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, rows: object) -> "PairTable":
        """Return the rows of whole images, ascending: how scikit-learn's searches split a table.

        Parameters
        ----------
        rows : array of int, or tuple that begins with one

        Raises
        ------
        TagstackError
            If an image's pairs would be parted: they belong together.
        """
        chosen = np.asarray(rows[0] if isinstance(rows, tuple) else rows, np.int64)
        images = np.unique(self.pairs.image[chosen]).astype(np.int64)
        if not np.array_equal(self.pairs.rows(images), chosen):
            msg = (
                "A table of pairs is split by whole images, in their order. Give scikit-learn's "
                "search cv=GroupKFold(), and its fit groups=table.pairs.image."
            )
            raise TagstackError(msg)
        return self.take(images)

    def column(self, name: str) -> Floats:
        """Return one column as float64, shape (n_pairs,)."""
        return self.values[:, self.names.index(name)].astype(np.float64)

    def values_at(self, rows: NDArray[np.integer] | slice) -> NDArray[np.float32]:
        """Return some rows of ``values``, shape (n_rows, n_columns)."""
        if self.spill is IN_MEMORY or (isinstance(rows, slice) and rows.step in (None, 1)):
            return self.values[rows]
        if isinstance(rows, slice):
            rows = np.arange(len(self.values))[rows]
        if len(rows) <= _READ_TOGETHER:
            return self.values[rows]
        found = np.empty((len(rows), self.values.shape[1]), np.float32)
        for start in range(0, len(rows), _READ_TOGETHER):
            some = slice(start, start + _READ_TOGETHER)
            found[some] = self.values[rows[some]]
            self.spill.let_go()
        return found

    def take(self, images: NDArray[np.intp]) -> "PairTable":
        """Return the rows of the images at these indices, in that order.

        Their values are read when they are asked for: `values_at` reads no others.
        """
        return TakenTable(self, images)

    def with_columns(
        self,
        columns: Mapping[str, NDArray[np.floating]],
        rising: Iterable[str] = (),
        spill: Spill = IN_MEMORY,
    ) -> "PairTable":
        """Return the table with further columns of shape (n_pairs,) at its end.

        Parameters
        ----------
        columns : mapping of name to array of shape (n_pairs,), floating
        rising : iterable of str
            Those of them that are `rising`.
        spill : Spill, optional
            Where the new values lie.
        """
        n_own = len(self.names)
        values = spill.empty((len(self.pairs), n_own + len(columns)), np.float32)
        for _, rows in self.pairs.blocks():
            values[rows, :n_own] = self.values_at(rows)
            for place, column in enumerate(columns.values(), n_own):
                values[rows, place] = column[rows]
            spill.let_go()
        return PairTable(
            pairs=self.pairs,
            names=(*self.names, *columns),
            values=values,
            logit=self.logit,
            groups=self.groups,
            rising=self.rising.union(rising),
            spill=spill,
            members=self.members,
        )


class TakenTable(PairTable):
    """Some images' rows of another table, read from there when they are asked for.

    Parameters
    ----------
    whole : PairTable
    images : array of shape (n_images,), integer
    """

    _whole: PairTable
    _rows: NDArray[np.int64]

    def __init__(self, whole: PairTable, images: NDArray[np.intp]) -> None:
        self._set(_whole=whole, _rows=whole.pairs.rows(images))
        self._set(
            pairs=whole.pairs.take(images),
            names=whole.names,
            logit=whole.logit[self._rows],
            groups=None if whole.groups is None else whole.groups[images],
            rising=whole.rising,
            spill=whole.spill,
            members=whole.members,
        )

    def values_at(self, rows: NDArray[np.integer] | slice) -> NDArray[np.float32]:
        """Return some rows of ``values``, shape (n_rows, n_columns)."""
        return self._whole.values_at(self._rows[rows])

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """All values, shape (n_pairs, n_columns), float32."""
        return self.values_at(slice(None))

    def _set(self, **fields: object) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)


def own_logit(member: str) -> str:
    """Return the name of the column with a member's own logits."""
    return f"logit:{member}"
