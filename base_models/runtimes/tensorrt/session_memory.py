"""What a TensorRT session reads and writes: one set of memory on the device, two on the host.

While the device is at one half's batch, the host fills the other half and reads what came of the
batch before. All copies and runs stand in one stream, one after the other, so a single set on the
device is enough; an event behind each half's last copy says when the host may have it back.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tagstack.base_models.runtimes.cuda import Cuda, host_array

HALVES = 2


@dataclass(frozen=True)
class TensorKind:
    """What one image is of an input or output.

    Parameters
    ----------
    sides : tuple of int
    dtype : dtype
    """

    sides: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def image_bytes(self) -> int:
        """Bytes of one image."""
        return int(np.prod(self.sides)) * self.dtype.itemsize


@dataclass
class Half:
    """Pinned memory for a batch and for what comes of it, and the event behind the last copy.

    ``source`` and each of ``targets`` are arrays of shape (n_images, *sides).
    """

    number: int
    addresses: list[int] = field(default_factory=list)
    source: NDArray[Any] = field(default_factory=lambda: np.empty(0))
    targets: list[NDArray[Any]] = field(default_factory=list)
    event: Any = None


class SessionMemory:
    """Memory for batches of up to so many images; nothing until `reserve`.

    Parameters
    ----------
    cuda : Cuda
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self.device: dict[str, int] = {}
        self.scratch = self.scratch_bytes = 0
        self.halves: list[Half] = []

    def reserve(
        self,
        tensors: Mapping[str, TensorKind],
        *,
        source: str,
        targets: Sequence[str],
        n_images: int,
        scratch_bytes: int,
    ) -> None:
        """Take all of it, or nothing.

        Parameters
        ----------
        tensors : mapping of name to TensorKind
            Every input and output: each has memory on the device.
        source : str
            Which of them the host fills.
        targets : sequence of str
            Which of them it reads.
        n_images : int
            Of the largest batch.
        scratch_bytes : int
            What the engine computes in.

        Raises
        ------
        BackendError
            If the device or the host refuses; `DeviceMemoryError` where memory ended.
        """
        try:
            self.scratch = self._cuda.device_memory(scratch_bytes)
            self.scratch_bytes = scratch_bytes
            for name, kind in tensors.items():
                self.device[name] = self._cuda.device_memory(n_images * kind.image_bytes)
            for number in range(HALVES):
                half = Half(number)
                self.halves.append(half)
                half.source = self._pinned(half, tensors[source], n_images)
                half.targets = [self._pinned(half, tensors[one], n_images) for one in targets]
                half.event = self._cuda.new_event()
        except BaseException:
            self.free()
            raise

    def free(self) -> None:
        """Give everything back; the device must be at none of it any more."""
        while self.halves:
            half = self.halves.pop()
            if half.event is not None:
                self._cuda.free_event(half.event)
            for address in half.addresses:
                self._cuda.free_pinned(address)
        while self.device:
            self._cuda.free_device(self.device.popitem()[1])
        if self.scratch:
            self._cuda.free_device(self.scratch)
            self.scratch = self.scratch_bytes = 0

    def _pinned(self, half: Half, kind: TensorKind, n_images: int) -> NDArray[Any]:
        address = self._cuda.pinned_memory(n_images * kind.image_bytes)
        half.addresses.append(address)
        return host_array(address, (n_images, *kind.sides), kind.dtype)


class Turns:
    """Which thread has which half; all of them for whoever changes the memory."""

    def __init__(self) -> None:
        self._free = set(range(HALVES))
        self._wanted = 0  # threads that wait for all: nobody takes a half before them
        self._changed = Condition()

    def take(self, *, wait: bool) -> int | None:
        """Return a half's number for this thread; None if there is none and it does not wait."""
        with self._changed:
            while self._wanted or not self._free:
                if not wait:
                    return None
                self._changed.wait()
            number = min(self._free)
            self._free.remove(number)
            return number

    def give(self, number: int) -> None:
        """Take a half back."""
        with self._changed:
            self._free.add(number)
            self._changed.notify_all()

    @contextmanager
    def all(self) -> Iterator[None]:
        """Hold every half; the calling thread must hold none."""
        with self._changed:
            self._wanted += 1
            try:
                self._changed.wait_for(lambda: len(self._free) == HALVES)
                self._free.clear()
            finally:
                self._wanted -= 1
        try:
            yield
        finally:
            with self._changed:
                self._free.update(range(HALVES))
                self._changed.notify_all()
