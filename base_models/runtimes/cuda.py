"""The few calls of the CUDA runtime that a session needs, with its errors as ours.

No torch, no cupy: NVIDIA's own thin bindings (``cuda-bindings``), which need no compiler.

References
----------
https://nvidia.github.io/cuda-python/cuda-bindings/latest/module/runtime.html
"""

import ctypes
import importlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tagstack.base_models.runtimes.faults import BackendError, DeviceMemoryError, one_line

_NON_BLOCKING = 1  # cudaStreamNonBlocking
# cudaEventBlockingSync and cudaEventDisableTiming: a thread that waits sleeps instead of spinning,
# as the cores have pictures to decode.
_SLEEPING = 1 | 2


@dataclass
class Recording:
    """What was recorded, once its block has ended."""

    graph: Any = None


class Cuda:
    """The CUDA runtime on one device, with one stream of its own.

    Parameters
    ----------
    device : int
    module : module, optional
        ``cuda.bindings.runtime``, imported if not given.
    limit_bytes : int
        Most memory on the device that it takes, with what is held (`hold`); 0 is all there is.

    Raises
    ------
    BackendError
        If the device cannot be used; `DeviceMemoryError` wherever memory ends.
    """

    def __init__(self, device: int = 0, module: Any = None, *, limit_bytes: int = 0) -> None:
        self._runtime = module or _imported()
        self._limit_bytes, self._held_bytes = limit_bytes, 0
        self._sizes: dict[int, int] = {}
        self._call("cudaSetDevice", device)
        (self.stream,) = self._call("cudaStreamCreateWithFlags", _NON_BLOCKING)

    def hold(self, size_bytes: int) -> None:
        """Count memory that a library takes by itself, such as that of weights."""
        self._held_bytes += size_bytes

    def device_memory(self, size_bytes: int) -> int:
        """Return the address of new memory on the device."""
        wanted = self._held_bytes + sum(self._sizes.values()) + size_bytes
        if self._limit_bytes and wanted > self._limit_bytes:
            msg = (
                f"A tagger wants {-(-wanted // 2**20)} MiB of GPU memory, more than "
                f"score.engines.memory_mib = {self._limit_bytes >> 20}. Raise that, or lower "
                f"score.engines.batches."
            )
            raise DeviceMemoryError(msg)
        address = int(self._call("cudaMalloc", max(size_bytes, 1))[0])
        self._sizes[address] = size_bytes
        return address

    def pinned_memory(self, size_bytes: int) -> int:
        """Return the address of new memory on the host that the device reads directly."""
        return int(self._call("cudaMallocHost", max(size_bytes, 1))[0])

    def free_device(self, address: int) -> None:
        """Free device memory."""
        self._call("cudaFree", address)
        self._sizes.pop(address, None)

    def free_pinned(self, address: int) -> None:
        """Free pinned memory."""
        self._call("cudaFreeHost", address)

    def copy_in(self, target: int, source: int, size_bytes: int) -> None:
        """Queue a copy from the host to the device."""
        self._copy(target, source, size_bytes, "cudaMemcpyHostToDevice")

    def copy_out(self, target: int, source: int, size_bytes: int) -> None:
        """Queue a copy from the device to the host."""
        self._copy(target, source, size_bytes, "cudaMemcpyDeviceToHost")

    def wait(self) -> None:
        """Wait until everything queued has been done."""
        self._call("cudaStreamSynchronize", self.stream)

    def new_event(self) -> Any:
        """Return an event that `mark` can put into the queue."""
        (event,) = self._call("cudaEventCreateWithFlags", _SLEEPING)
        return event

    def mark(self, event: Any) -> None:
        """Queue an event: it is reached when everything queued before has been done."""
        self._call("cudaEventRecord", event, self.stream)

    def wait_for(self, event: Any) -> None:
        """Wait until an event is reached."""
        self._call("cudaEventSynchronize", event)

    def free_event(self, event: Any) -> None:
        """Free an event."""
        self._call("cudaEventDestroy", event)

    @contextmanager
    def capture(self) -> Iterator["Recording"]:
        """Record what the block queues, instead of doing it; ready to be launched when it ends.

        However the block ends, the stream records no more. What cannot be recorded is a
        `BackendError`.
        """
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self.stream, mode)
        recording = Recording()
        try:
            yield recording
        except BaseException:
            # A recording that was broken off has no graph, and says so by an error.
            with suppress(BackendError):
                self._call("cudaGraphDestroy", *self._call("cudaStreamEndCapture", self.stream))
            raise
        (graph,) = self._call("cudaStreamEndCapture", self.stream)
        try:
            (recording.graph,) = self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch(self, graph: Any) -> None:
        """Queue what was recorded."""
        self._call("cudaGraphLaunch", graph, self.stream)

    def free_graph(self, graph: Any) -> None:
        """Free a recording."""
        self._call("cudaGraphExecDestroy", graph)

    def close(self) -> None:
        """Free the stream."""
        self._call("cudaStreamDestroy", self.stream)

    def _copy(self, target: int, source: int, size_bytes: int, direction: str) -> None:
        kind = getattr(self._runtime.cudaMemcpyKind, direction)
        self._call("cudaMemcpyAsync", target, source, size_bytes, kind, self.stream)

    def _call(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        status, *values = getattr(self._runtime, name)(*arguments)
        if int(status) == 0:
            return tuple(values)
        codes = self._runtime.cudaError_t
        text = f"CUDA's {name} failed: {getattr(status, 'name', status)}"
        if status == codes.cudaErrorMemoryAllocation:
            raise DeviceMemoryError(f"{text}. Free GPU memory, or lower score.engines.batches.")
        raise BackendError(f"{text}. See `tagstack doctor` and the driver's log.")


def _imported() -> Any:
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except (ImportError, OSError, RuntimeError) as error:
        msg = f"cuda-bindings cannot be loaded: {one_line(error)}. Run: pip install cuda-bindings"
        raise BackendError(msg) from error


def host_array(address: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return memory on the host as an array that does not own it. Its shape is ``shape``."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    buffer = (ctypes.c_uint8 * size).from_address(address)
    return np.ctypeslib.as_array(buffer).view(dtype).reshape(shape)
