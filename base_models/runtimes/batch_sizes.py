"""The few batch sizes that a GPU is called with, and how a batch is cut into them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """``count`` images, filled up with zeros to ``size``."""

    count: int
    size: int


class BatchSizes:
    """Sizes that kernels, profiles and CUDA graphs are made for.

    Parameters
    ----------
    sizes : sequence of int
        Rising, at least 1.

    Examples
    --------
    >>> sizes = BatchSizes([1, 4, 8])
    >>> sizes.call(11), sizes.call(3)
    (Call(count=8, size=8), Call(count=3, size=4))
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sorted(set(sizes))
        self._least = 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes still in use."""
        return tuple(self._sizes)

    @property
    def largest(self) -> int:
        """The largest size still in use."""
        return self._sizes[-1]

    def call(self, n_images: int) -> Call:
        """Return the next call for so many images: the largest size they fill, else the next up."""
        if n_images >= self.largest:
            return Call(self.largest, self.largest)
        return Call(n_images, next(size for size in self._sizes if size >= n_images))

    def shrink(self) -> bool:
        """Give up the largest size for one at most half as large; return False if there is none."""
        half = self.largest // 2
        if half < self._least:
            return False
        self._sizes = [size for size in self._sizes if size <= half] or [half]
        return True

    def limit(self, least: int, largest: int) -> None:
        """Give up sizes outside ``least`` to ``largest``; the ends become sizes in their place."""
        self._least = least
        self._sizes = sorted({min(max(size, least), largest) for size in self._sizes})
