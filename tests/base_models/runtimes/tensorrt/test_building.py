"""Real builds with TensorRT-RTX, which needs no GPU, and every way in which they fail."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.faults import DeviceMemoryError
from tagstack.base_models.runtimes.tensorrt import building
from tagstack.base_models.runtimes.tensorrt.building import build_plan
from tagstack.base_models.runtimes.tensorrt.half_precision import write_half
from tagstack.base_models.runtimes.tensorrt.spec import EngineSpec
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi
from tagstack.configs.errors import TagstackError

Net = Callable[..., Path]


def test_a_network_becomes_a_plan(make_net: Net, spec: EngineSpec, rtx: TrtApi) -> None:
    built = build_plan(make_net(), spec, rtx, None)
    assert len(built.plan) > 1000
    assert built.spec == spec


def test_half_precision_becomes_another_plan(
    make_net: Net, spec: EngineSpec, rtx: TrtApi, contract: Contract, tmp_path: Path
) -> None:
    half = tmp_path / "half.onnx"
    write_half(make_net(), half, contract)
    assert len(build_plan(half, replace(spec, precision="fp16"), rtx, None).plan) > 1000


def test_a_profile_in_the_wrong_order(make_net: Net, spec: EngineSpec, rtx: TrtApi) -> None:
    wrong = replace(spec, min_batch=6, typical_batch=2)
    with pytest.raises(TagstackError, match=r"refuses batches from 6 over 2 to 8.*score\.engines"):
        build_plan(make_net(), wrong, rtx, None)


def test_a_fixed_batch_that_was_not_freed(make_net: Net, spec: EngineSpec, rtx: TrtApi) -> None:
    with pytest.raises(TagstackError, match=r"cannot build .*static dimensions"):
        build_plan(make_net(batch=1), spec, rtx, None)
    only_one = spec.with_batch(1)
    assert build_plan(make_net(batch=1), only_one, rtx, None).spec == only_one


def test_mixed_half_and_float_is_refused(make_net: Net, spec: EngineSpec, rtx: TrtApi) -> None:
    def mixed(nodes: list[Any], weights: dict[str, Any]) -> str:
        weights["half"] = np.ones(10, np.float16)
        nodes.append(helper.make_node("Add", ["logits", "half"], ["sum"]))
        return "sum"

    with pytest.raises(TagstackError, match=r"mixes float16 and float32; give the float32 file"):
        build_plan(make_net(extra=mixed), spec, rtx, None)


def test_an_unknown_operator(make_net: Net, spec: EngineSpec, rtx: TrtApi) -> None:
    def unknown(nodes: list[Any], weights: dict[str, Any]) -> str:
        nodes.append(helper.make_node("NoSuchOperator", ["logits"], ["odd"]))
        return "odd"

    with pytest.raises(TagstackError, match=r"cannot read .*NoSuchOperator.*opset 17"):
        build_plan(make_net(extra=unknown), spec, rtx, None)


def test_what_is_no_onnx_file(tmp_path: Path, spec: EngineSpec, rtx: TrtApi) -> None:
    path = tmp_path / "junk.onnx"
    path.write_bytes(b"junk" * 100)
    with pytest.raises(TagstackError, match=r"TensorRT cannot read .*junk\.onnx"):
        build_plan(path, spec, rtx, None)


def test_several_inputs(make_net: Net, spec: EngineSpec, rtx: TrtApi, tmp_path: Path) -> None:
    model = onnx.load(str(make_net()))
    second = helper.make_tensor_value_info("second", onnx.TensorProto.FLOAT, ("batch", 10))
    model.graph.input.append(second)
    model.graph.node[-1].input[0] = "both"
    model.graph.node.insert(8, helper.make_node("Add", ["logits", "second"], ["both"]))
    path = tmp_path / "two.onnx"
    onnx.save(model, str(path))
    with pytest.raises(TagstackError, match=r"has the inputs \['input', 'second'\]"):
        build_plan(path, spec, rtx, None)


def test_weights_beside_the_model(
    make_net: Net, spec: EngineSpec, rtx: TrtApi, tmp_path: Path
) -> None:
    path = tmp_path / "apart" / "net.onnx"
    path.parent.mkdir()
    model = onnx.load(str(make_net()))
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    assert len(build_plan(path, spec, rtx, None).plan) > 1000


def test_memory_that_ends_lowers_the_workspace_and_then_the_batch(
    monkeypatch: pytest.MonkeyPatch, spec: EngineSpec, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[tuple[int, int]] = []

    def small_gpu(model: Path, smaller: EngineSpec, api: Any, timing: Any) -> bytes:
        asked.append((smaller.workspace_mib, smaller.max_batch))
        if smaller.max_batch > 2:
            raise DeviceMemoryError("OutOfMemory.")
        return b"plan"

    monkeypatch.setattr(building, "_build", small_gpu)
    caplog.set_level(logging.WARNING, logger="tagstack")
    large = replace(spec, workspace_mib=1024)
    built = build_plan(Path("net"), large, None, None)  # type: ignore[arg-type]
    assert asked == [(1024, 8), (512, 8), (256, 8), (256, 4), (256, 2)]
    assert (built.spec.max_batch, built.spec.typical_batch) == (2, 2)
    assert caplog.text.count("Trying with less") == 4


def test_no_memory_even_for_one_image(monkeypatch: pytest.MonkeyPatch, spec: EngineSpec) -> None:
    def full(*_: Any) -> bytes:
        raise DeviceMemoryError("OutOfMemory.")

    monkeypatch.setattr(building, "_build", full)
    with pytest.raises(DeviceMemoryError, match=r"even for its smallest batch: OutOfMemory"):
        build_plan(Path("net"), spec, None, None)  # type: ignore[arg-type]
