"""What the driver says, and every way in which it can say nothing."""

import ctypes
from typing import Any

import pytest

from tagstack.base_models.runtimes.driver import examine_driver


class FakeDriver:
    """Stands in for ``libcuda.so.1``: writes through the pointers it is given."""

    def __init__(self, init: int = 0, count: int = 2, count_status: int = 0) -> None:
        self.init, self.count, self.count_status = init, count, count_status

    def cuInit(self, flags: int) -> int:  # noqa: N802 - the driver's names
        return self.init

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        return self._write(version, 13020)

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        self._write(count, self.count)
        return self.count_status

    def cuDeviceGet(self, handle: Any, index: int) -> int:  # noqa: N802
        return self._write(handle, 10 + index)

    def cuDeviceGetName(self, name: Any, size: int, handle: Any) -> int:  # noqa: N802
        name.value = f"NVIDIA Test {handle.value}".encode()
        return 0

    def cuDeviceTotalMem_v2(self, size: Any, handle: Any) -> int:  # noqa: N802
        return self._write(size, handle.value << 30)

    def cuDeviceGetAttribute(self, value: Any, number: int, handle: Any) -> int:  # noqa: N802
        return self._write(value, {16: 132, 75: 9, 76: 0}[number])

    @staticmethod
    def _write(pointer: Any, value: int) -> int:
        pointer._obj.value = value
        return 0


def test_devices_with_what_tells_them_apart() -> None:
    driver = examine_driver(lambda _: FakeDriver())
    assert (driver.cuda_version, driver.fault) == ("13.2", None)
    first, second = driver.devices
    assert (first.index, first.name, first.compute_capability) == (0, "NVIDIA Test 10", "9.0")
    assert (second.n_multiprocessors, second.memory_bytes) == (132, 11 << 30)
    assert str(first) == "NVIDIA Test 10 (9.0, 10 GiB)"


def test_no_driver() -> None:
    def load(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    driver = examine_driver(load)
    assert driver.devices == ()
    assert driver.fault == "there is no NVIDIA driver (libcuda.so.1 cannot be loaded)"


@pytest.mark.parametrize(
    ("library", "fault"),
    [
        (FakeDriver(init=100), "no NVIDIA GPU is visible"),
        (FakeDriver(init=803), "different versions; restart"),
        (FakeDriver(init=12345), "cuInit failed with code 12345"),
        (FakeDriver(count=0), "no NVIDIA GPU is visible"),
        (FakeDriver(count_status=999), "does not answer"),
    ],
)
def test_a_driver_without_a_gpu(library: FakeDriver, fault: str) -> None:
    driver = examine_driver(lambda _: library)
    assert driver.devices == ()
    assert fault in str(driver.fault)
    assert driver.cuda_version == "13.2"


def test_the_machine_it_runs_on() -> None:
    driver = examine_driver()
    assert bool(driver.devices) == (driver.fault is None)
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        assert driver.devices == ()
