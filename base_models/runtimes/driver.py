"""The NVIDIA driver, asked directly whether there is a GPU, and which.

Asked through ctypes before any other library of NVIDIA's is touched, because some of those crash
the process, or claim a GPU, where there is none.

References
----------
https://docs.nvidia.com/cuda/cuda-driver-api/
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LIBRARY = "libcuda.so.1"

# Names of cuda.h, as numbers because the header is not here.
_MULTIPROCESSORS, _MAJOR, _MINOR = 16, 75, 76
_FAULTS = {
    100: "no NVIDIA GPU is visible (CUDA_VISIBLE_DEVICES?)",
    803: "the driver and its library are of different versions; restart the machine",
    804: "this GPU does not allow a driver of another version",
    999: "the driver does not answer; see dmesg",
}


@dataclass(frozen=True, kw_only=True)
class Device:
    """A GPU, or a slice of one under MIG: name, processors and memory are then the slice's.

    Parameters
    ----------
    index : int
    name : str
    compute_capability : str
        Such as ``"9.0"``.
    n_multiprocessors : int
    memory_bytes : int
    """

    index: int
    name: str
    compute_capability: str
    n_multiprocessors: int
    memory_bytes: int

    def __str__(self) -> str:
        memory = f"{self.memory_bytes / 2**30:.0f} GiB"
        return f"{self.name} ({self.compute_capability}, {memory})"


@dataclass(frozen=True, kw_only=True)
class Driver:
    """What the driver says.

    Parameters
    ----------
    cuda_version : str or None
        Newest CUDA that the driver runs, such as ``"13.0"``.
    devices : tuple of Device
    fault : str or None
        Why no GPU can be used.
    """

    cuda_version: str | None
    devices: tuple[Device, ...]
    fault: str | None


def examine_driver(load: Callable[[str], Any] = ctypes.CDLL) -> Driver:
    """Return what the driver says; never raises.

    Parameters
    ----------
    load : callable
        Opens a shared library; `ctypes.CDLL`.
    """
    try:
        library = load(LIBRARY)
    except OSError:
        fault = f"there is no NVIDIA driver ({LIBRARY} cannot be loaded)"
        return Driver(cuda_version=None, devices=(), fault=fault)
    version = _cuda_version(library)
    status = library.cuInit(0)
    if status != 0:
        fault = _FAULTS.get(status, f"the driver's cuInit failed with code {status}")
        return Driver(cuda_version=version, devices=(), fault=fault)
    count = ctypes.c_int(0)
    status = library.cuDeviceGetCount(ctypes.byref(count))
    if status != 0 or count.value == 0:
        return Driver(cuda_version=version, devices=(), fault=_FAULTS.get(status, _FAULTS[100]))
    devices = tuple(_device(library, index) for index in range(count.value))
    return Driver(cuda_version=version, devices=devices, fault=None)


def _cuda_version(library: Any) -> str | None:
    number = ctypes.c_int(0)
    if library.cuDriverGetVersion(ctypes.byref(number)) != 0:
        return None
    return f"{number.value // 1000}.{number.value % 1000 // 10}"


def _device(library: Any, index: int) -> Device:
    handle, memory = ctypes.c_int(0), ctypes.c_size_t(0)
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGet(ctypes.byref(handle), index)
    library.cuDeviceGetName(name, len(name), handle)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)

    def attribute(number: int) -> int:
        value = ctypes.c_int(0)
        library.cuDeviceGetAttribute(ctypes.byref(value), number, handle)
        return value.value

    return Device(
        index=index,
        name=name.value.decode("utf-8", "replace"),
        compute_capability=f"{attribute(_MAJOR)}.{attribute(_MINOR)}",
        n_multiprocessors=attribute(_MULTIPROCESSORS),
        memory_bytes=memory.value,
    )
