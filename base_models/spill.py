"""Arrays that need not lie in memory: files without a name, mapped, read and written as arrays.

A fit works on columns as long as all listed pairs, a few images at a time. They lie in files that
have no name from the start: whatever ends the process, the system takes their space back, and there
is nothing to clean up. Their pages are the system's to keep or to write out; `Spill.let_go` says
that they are not needed for now.

Without a folder, and below a few megabytes, an array is an ordinary one.
"""

import mmap
import os
import tempfile
import weakref
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tagstack.configs.errors import TagstackError

_LEAST_BYTES = 2**23  # what is smaller costs more to map than to hold

Number = TypeVar("Number", bound=np.generic)


class Spill:
    """Makes arrays, on disk where they are large.

    Parameters
    ----------
    folder : Path, optional
        Where the files lie, on a disk with room; without it, every array is held in memory.
    least_bytes : int
        Size from which on an array goes to disk.
    """

    def __init__(self, folder: Path | None = None, least_bytes: int = _LEAST_BYTES) -> None:
        self.folder, self.least_bytes = folder, least_bytes
        self._mapped: weakref.WeakSet[_Mapped] = weakref.WeakSet()

    def empty(
        self, shape: int | tuple[int, ...], dtype: type[Number]
    ) -> np.ndarray[Any, np.dtype[Number]]:
        """Return an array of this shape to be filled; what it holds before is not defined.

        Raises
        ------
        TagstackError
            If the disk has no room for it.
        """
        shape = (shape,) if isinstance(shape, int) else shape
        n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if self.folder is None or n_bytes < self.least_bytes:
            return np.empty(shape, dtype)
        mapped = _mapped(self.folder, n_bytes)
        self._mapped.add(mapped)
        array: NDArray[Number] = np.frombuffer(mapped, dtype).reshape(shape)
        return array

    def held(self, array: NDArray[Number]) -> NDArray[Number]:
        """Return a copy of an array, on disk if it is large; it can be forgotten afterwards.

        Of the shape of ``array``.
        """
        kept = self.empty(array.shape, array.dtype.type)
        kept[:] = array
        return kept

    def adopt(self, array: NDArray[np.generic]) -> None:
        """Let go of an array of another spill's as of one's own; one in memory stays there."""
        base: object = array
        while isinstance(base, np.ndarray | memoryview):
            base = base.base if isinstance(base, np.ndarray) else base.obj
        if isinstance(base, _Mapped):
            self._mapped.add(base)

    def let_go(self) -> None:
        """Tell the system that no page of the arrays is needed now; they keep what they hold."""
        for mapped in self._mapped:
            mapped.let_go()

    def __reduce__(self) -> tuple[type["Spill"], tuple[()]]:
        # What goes to another process brings its arrays along; files of this one are not there.
        return Spill, ()


IN_MEMORY = Spill()
"""Makes ordinary arrays."""


class _Mapped(mmap.mmap):
    """A mapped file that can be told from others, and forgets its pages when asked."""

    def let_go(self) -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            self.madvise(mmap.MADV_DONTNEED)  # of a shared file: from this process, not from it

    __hash__ = object.__hash__


def _mapped(folder: Path, n_bytes: int) -> _Mapped:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:  # without a name, where the system can
            if hasattr(os, "posix_fallocate"):
                # A page that finds no room later would end the process without a word.
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            else:
                file.truncate(n_bytes)
            return _Mapped(file.fileno(), n_bytes)
    except OSError as error:
        msg = (
            f"Cannot keep {n_bytes / 1e9:.1f} GB of working data in {folder}: "
            f"{error.strerror or error}. Make room there, or put the bundle on another disk, and "
            "run the same command again."
        )
        raise TagstackError(msg) from error
