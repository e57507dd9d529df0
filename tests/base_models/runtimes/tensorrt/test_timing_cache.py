"""Timings survive from build to build, also from two at once."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tagstack.base_models.runtimes.driver import Device, Driver
from tagstack.base_models.runtimes.tensorrt.timing_cache import TimingCache, whole_content
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi


class FakeTimings:
    """A set of measurements that serialises as text."""

    def __init__(self, content: bytes) -> None:
        self.known = set(content.decode().split())

    def combine(self, other: "FakeTimings", ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch, "timings of another GPU would be taken"
        self.known |= other.known
        return True

    def serialize(self) -> bytes:
        return " ".join(sorted(self.known)).encode()


class FakeConfig:
    used: FakeTimings

    def create_timing_cache(self, content: bytes) -> FakeTimings:
        return FakeTimings(content)

    def set_timing_cache(self, cache: FakeTimings, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.used = cache
        return True


def timings(folder: Path, version: str = "11.4.0", name: str = "NVIDIA X") -> TimingCache:
    module = SimpleNamespace(__version__=version, get_nv_onnx_parser_version=lambda: 1)
    device = Device(
        index=0, name=name, compute_capability="9.0", n_multiprocessors=1, memory_bytes=1
    )
    driver = Driver(cuda_version="13.0", devices=(device,), fault=None)
    return TimingCache(folder, TrtApi("trt", module), driver)


def test_a_build_reads_and_adds(tmp_path: Path) -> None:
    for number in range(3):
        config = FakeConfig()
        with timings(tmp_path).used_by(config):
            assert config.used.known == {f"t{i}" for i in range(number)}
            config.used.known.add(f"t{number}")
    assert whole_content(timings(tmp_path).path) == b"t0 t1 t2"


def test_builds_at_once_lose_nothing(tmp_path: Path) -> None:
    first, second = FakeConfig(), FakeConfig()
    with timings(tmp_path).used_by(first):
        first.used.known.add("a")
        with timings(tmp_path).used_by(second):
            second.used.known.add("b")
    assert whole_content(timings(tmp_path).path) == b"a b"


@pytest.mark.parametrize("damage", [b"", b"junk", "cut", "flip"])
def test_a_damaged_file_costs_its_timings_and_no_build(
    tmp_path: Path, damage: bytes | str, caplog: pytest.LogCaptureFixture
) -> None:
    path = timings(tmp_path).path
    with timings(tmp_path).used_by(first := FakeConfig()):
        first.used.known.add("old")
    stored = path.read_bytes()
    changed = {"cut": stored[:-1], "flip": stored[:-1] + b"x"}
    path.write_bytes(changed[damage] if isinstance(damage, str) else damage)
    with timings(tmp_path).used_by(config := FakeConfig()):
        assert config.used.known == set()
        config.used.known.add("new")
    assert "is damaged" in caplog.text
    assert whole_content(path) == b"new"


def test_timings_that_tensorrt_refuses(tmp_path: Path) -> None:
    class Refusing(FakeConfig):
        def create_timing_cache(self, content: bytes) -> FakeTimings | None:  # type: ignore[override]
            return None if content else FakeTimings(content)

    with timings(tmp_path).used_by(first := FakeConfig()):
        first.used.known.add("old")
    with timings(tmp_path).used_by(config := Refusing()):
        assert config.used.known == set()


def test_each_gpu_and_version_has_its_own(tmp_path: Path) -> None:
    paths = {
        timings(tmp_path).path,
        timings(tmp_path, version="11.4.1").path,
        timings(tmp_path, name="NVIDIA Y").path,
    }
    assert len(paths) == 3
