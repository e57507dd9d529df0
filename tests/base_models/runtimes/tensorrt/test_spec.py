"""The key of an engine changes with everything that could make it the wrong one."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from tagstack.base_models.runtimes.driver import Device, Driver
from tagstack.base_models.runtimes.tensorrt.spec import (
    EngineSpec,
    engine_key,
    key_facts,
    model_files,
)
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi
from tagstack.configs.settings import load_settings

DEVICE = Device(
    index=0, name="NVIDIA X", compute_capability="9.0", n_multiprocessors=132, memory_bytes=1 << 36
)
DRIVER = Driver(cuda_version="13.0", devices=(DEVICE,), fault=None)


def api(version: str = "11.4.0", parser: int = 1) -> TrtApi:
    module = SimpleNamespace(__version__=version, get_nv_onnx_parser_version=lambda: parser)
    return TrtApi("trt", module)


def key(model: Path, spec: EngineSpec, found: TrtApi | None = None, driver: Driver = DRIVER) -> str:
    return engine_key(key_facts(model, spec, found or api(), driver))


def with_device(**changes: Any) -> Driver:
    return replace(DRIVER, devices=(replace(DEVICE, **changes),))


@pytest.mark.parametrize("field", [field.name for field in fields(EngineSpec)])
def test_every_build_option_counts(
    make_net: Callable[..., Path], spec: EngineSpec, field: str
) -> None:
    value = getattr(spec, field)
    other: Any = "fp16" if isinstance(value, str) else not value if value is True else value + 1
    assert key(make_net(), spec) != key(make_net(), replace(spec, **{field: other}))


@pytest.mark.parametrize(
    "driver",
    [
        replace(DRIVER, cuda_version="13.1"),
        with_device(name="NVIDIA X MIG 1g.10gb"),
        with_device(compute_capability="8.9"),
        with_device(n_multiprocessors=16),
        with_device(memory_bytes=1 << 34),
        replace(DRIVER, devices=()),
    ],
)
def test_the_gpu_and_its_driver_count(
    make_net: Callable[..., Path], spec: EngineSpec, driver: Driver
) -> None:
    assert key(make_net(), spec) != key(make_net(), spec, driver=driver)


def test_equal_boards_share_engines(make_net: Callable[..., Path], spec: EngineSpec) -> None:
    model = make_net()
    assert key(model, spec) == key(model, spec, driver=with_device(index=3))


@pytest.mark.parametrize(
    ("level", "same_capability", "other_capability"),
    [("none", False, False), ("same_compute_capability", True, False), ("ampere_plus", True, True)],
)
def test_compatible_engines_are_shared_as_far_as_they_reach(
    make_net: Callable[..., Path],
    spec: EngineSpec,
    level: str,
    same_capability: bool,
    other_capability: bool,
) -> None:
    wide, model = replace(spec, hardware_compatibility=level), make_net()
    own = key(model, wide)
    assert (own == key(model, wide, driver=with_device(name="NVIDIA Y"))) == same_capability
    other = with_device(name="NVIDIA Z", compute_capability="8.6")
    assert (own == key(model, wide, driver=other)) == other_capability


def test_versions_count(make_net: Callable[..., Path], spec: EngineSpec) -> None:
    model = make_net()
    assert (
        len({key(model, spec), key(model, spec, api("11.4.1")), key(model, spec, api(parser=2))})
        == 3
    )


def test_two_fine_tunes_of_one_network_differ(
    make_net: Callable[..., Path], spec: EngineSpec
) -> None:
    first = key(make_net("a.onnx"), spec)
    assert first == key(make_net("renamed.onnx"), spec)
    assert first != key(make_net("a.onnx", seed=1), spec)


def test_weights_in_files_of_their_own_count(
    make_net: Callable[..., Path], spec: EngineSpec, tmp_path: Path
) -> None:
    model = onnx.load(str(make_net()))
    path = tmp_path / "apart" / "net.onnx"
    path.parent.mkdir()
    onnx.save(
        model,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location="weights.bin",
        size_threshold=0,
    )
    weights = path.with_name("weights.bin")
    assert model_files(path) == (path, weights)
    before = key(path, spec)
    content = bytearray(weights.read_bytes())
    content[5] ^= 1
    weights.write_bytes(content)
    assert key(path, spec) != before


def test_smaller_batches_keep_their_order(spec: EngineSpec) -> None:
    for largest in (8, 3, 1):
        smaller = spec.with_batch(largest)
        assert smaller.min_batch <= smaller.typical_batch <= smaller.max_batch == largest


def test_settings_become_a_spec() -> None:
    settings = load_settings().score.engines
    made = EngineSpec.of_settings(settings, "tf32")
    assert (made.precision, made.min_batch, made.max_batch) == ("tf32", 1, 32)
    assert made.workspace_mib == settings.workspace_mib
