"""Arrays from a stack's file, held to the shapes and ranges that the code takes for granted.

numpy and scipy index where an array says. One that reaches outside is another's memory, one that
is not finite gives other tags without a word.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

# Beyond any logit or coefficient that a fit gives; sums of products of two stay finite.
_MOST = 1e12


class CheckedArrays:
    """Gives arrays by name, each looked at.

    Parameters
    ----------
    arrays : mapping of str to array
    source : str
        Their file, for messages.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]], source: str) -> None:
        self.arrays = arrays
        self._source = source

    def real(
        self,
        name: str,
        shape: tuple[int | None, ...],
        *,
        low: float = -_MOST,
        high: float = _MOST,
        gaps: bool = False,
    ) -> NDArray[Any]:
        """Return an array of floating-point numbers.

        Parameters
        ----------
        name : str
        shape : tuple
            None stands for any length.
        low, high : float
            What it must not leave.
        gaps : bool
            Whether NaN may be there.

        Raises
        ------
        ValueError
            Names the array, what it holds and what was expected.
        """
        array = self.shaped(name, shape, "f")
        good = (array >= low) & (array <= high)
        self._require(name, good | np.isnan(array) if gaps else good, f"{low:g} to {high:g}")
        return array

    def whole(
        self, name: str, shape: tuple[int | None, ...], *, low: int = 0, high: int
    ) -> NDArray[Any]:
        """Return whole numbers of that shape, from ``low`` to below ``high``; see `real`."""
        array = self.shaped(name, shape, "iu")
        self._require(name, (array >= low) & (array < high), f"{low} to {high - 1}")
        return array

    def flags(self, name: str, shape: tuple[int | None, ...]) -> NDArray[np.bool_]:
        """Return an array of truth values of that shape; see `real`."""
        return self.shaped(name, shape, "b")

    def starts(self, name: str, n_parts: int | None, end: int) -> NDArray[Any]:
        """Return where parts begin, and the end, shape (n_parts + 1,): from 0 on and never back."""
        array = self.shaped(name, (None if n_parts is None else n_parts + 1,), "iu")
        numbers = array.astype(np.int64)
        if not len(array) or numbers[0] != 0 or numbers[-1] != end or (np.diff(numbers) < 0).any():
            msg = f"{self._source}: {name} does not lead from 0 to {end} step by step"
            raise ValueError(msg)
        return array

    def square(self, name: str, n: int, *, kind: str) -> sparse.csr_array:
        """Return a sparse matrix of shape (n, n), of ``kind`` "f" or "b".

        Raises
        ------
        ValueError
            If an index leaves it, stands twice in a row, or a value is not finite.
        """
        data = f"{name}.data"
        n_values = len(self.shaped(data, (None,), kind))
        values = self.real(data, (n_values,)) if kind == "f" else self.flags(data, (n_values,))
        columns = self.whole(f"{name}.indices", (n_values,), high=n)
        starts = self.starts(f"{name}.indptr", n, n_values)
        keys = np.repeat(np.arange(n, dtype=np.int64), np.diff(starts)) * n + columns
        if len(np.unique(keys)) < n_values:
            msg = f"{self._source}: {name} has a column twice in one row"
            raise ValueError(msg)
        return sparse.csr_array((values, columns, starts), shape=(n, n))

    def shaped(self, name: str, shape: tuple[int | None, ...], kinds: str) -> NDArray[Any]:
        """Return an array of a shape and one of numpy's kinds of numbers, such as "iu"."""
        if name not in self.arrays:
            msg = f"{self._source}: {name} is missing"
            raise ValueError(msg)
        array = self.arrays[name]
        pairs = zip(array.shape, shape, strict=False)
        fits = array.ndim == len(shape) and all(b in (None, a) for a, b in pairs)
        if not fits or array.dtype.kind not in kinds:
            msg = f"{self._source}: {name} is {array.dtype} {array.shape}; expected {shape}"
            raise ValueError(msg)
        return array

    def _require(self, name: str, good: NDArray[np.bool_], expected: str) -> None:
        if not good.all():
            found = self.arrays[name][~good].ravel()[0]
            msg = f"{self._source}: {name} holds {found!r}; expected {expected}"
            raise ValueError(msg)
