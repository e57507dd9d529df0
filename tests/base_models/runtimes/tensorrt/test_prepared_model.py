"""A free batch and float16: the same numbers as before, or a refusal."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tagstack.base_models.contract import Contract, with_features
from tagstack.base_models.runtimes.added_output import output_names
from tagstack.base_models.runtimes.faults import BackendError
from tagstack.base_models.runtimes.tensorrt import prepared_model as prepared
from tagstack.base_models.runtimes.tensorrt.dynamic_batch import write_dynamic
from tagstack.base_models.runtimes.tensorrt.half_precision import KEPT_OPERATORS, write_half
from tagstack.base_models.runtimes.tensorrt.onnx_file import fixed_batch, read_onnx
from tagstack.base_models.runtimes.tensorrt.onnx_run import noise_batch, run_onnx
from tagstack.base_models.runtimes.tensorrt.prepared_model import prepared_model, stale_models
from tagstack.configs.errors import TagstackError

Net = Callable[..., Path]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("reshape", [(0, 4, 16), (-1, 4, 16), "batch first", "rest inferred"])
def test_a_fixed_batch_is_freed(
    make_net: Net, contract: Contract, tmp_path: Path, batch: int, reshape: Any
) -> None:
    shapes = {"batch first": (batch, 4, 16), "rest inferred": (batch, -1, 16)}
    model = make_net(batch=batch, reshape=shapes.get(reshape, reshape))
    target = tmp_path / "free.onnx"
    write_dynamic(model, target, contract)
    assert (fixed_batch(model), fixed_batch(target)) == (batch, None)
    images = noise_batch(contract, 6)
    (whole,) = run_onnx(target, images)
    parts = [run_onnx(model, images[i : i + batch])[0] for i in range(0, 6, batch)]
    np.testing.assert_allclose(whole, np.concatenate(parts), rtol=1e-5, atol=1e-6)


def _across_images(nodes: list[Any], weights: dict[str, Any]) -> str:
    # The mean over the batch: nothing for one image, another network for several.
    nodes.append(helper.make_node("ReduceMean", ["logits"], ["mean"], axes=[0], keepdims=1))
    return "mean"


def test_a_batch_that_lies_in_the_network(
    make_net: Net, contract: Contract, tmp_path: Path
) -> None:
    model = make_net(batch=1, extra=_across_images)
    with pytest.raises(
        TagstackError, match=r"fixes its batch to 1, inside .*Export it with a dynamic batch"
    ):
        write_dynamic(model, tmp_path / "free.onnx", contract)


def _kinds(path: Path) -> dict[str, int]:
    """Return the element type of every tensor, as ONNX's own inference says."""
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)), strict_mode=True)
    graph = model.graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for port in (*graph.value_info, *graph.input, *graph.output):
        kinds[port.name] = port.type.tensor_type.elem_type
    return kinds


def test_norms_softmax_and_the_last_sigmoid_stay_in_float32(
    make_net: Net, contract: Contract, tmp_path: Path
) -> None:
    target = tmp_path / "half.onnx"
    write_half(make_net(), target, contract)
    onnx.checker.check_model(str(target), full_check=True)
    model, kinds = onnx.load(str(target)), _kinds(target)
    seen = set()
    for node in model.graph.node:
        if node.op_type in (*KEPT_OPERATORS, "Sigmoid"):
            assert kinds[node.input[0]] == TensorProto.FLOAT
            seen.add(node.op_type)
        if node.op_type in ("Conv", "MatMul"):
            assert {kinds[name] for name in node.input} == {TensorProto.FLOAT16}
    assert seen == {"LayerNormalization", "Softmax", "Sigmoid"}
    assert kinds["input"] == kinds["proba"] == TensorProto.FLOAT


def test_half_precision_gives_nearly_the_same(
    make_net: Net, contract: Contract, tmp_path: Path
) -> None:
    model, target = make_net(), tmp_path / "half.onnx"
    write_half(model, target, contract)
    images = noise_batch(contract, 5)
    (exact,), (half,) = run_onnx(model, images), run_onnx(target, images)
    assert half.dtype == np.float32
    assert 0 < np.abs(exact - half).max() < 2e-3


def test_a_network_that_overflows_is_refused(
    make_net: Net, contract: Contract, tmp_path: Path
) -> None:
    # Activations of a million: the norm brings them back, but float16 ends at 65504.
    with pytest.raises(TagstackError, match=r"does not survive float16.*precision = \"tf32\""):
        write_half(make_net(scale=9e4), tmp_path / "half.onnx", contract)


def test_a_weight_beyond_float16_is_refused(
    make_net: Net, contract: Contract, tmp_path: Path
) -> None:
    with pytest.raises(BackendError, match=r"weight 'kernel' reaches .*, and float16 ends at 65"):
        write_half(make_net(scale=1e6), tmp_path / "half.onnx", contract)


def test_bf16_is_typed_throughout(make_net: Net, contract: Contract, tmp_path: Path) -> None:
    target = tmp_path / "bf16.onnx"
    write_half(make_net(scale=1e6), target, contract, kind="bf16")  # its range is that of float32
    kinds, model = _kinds(target), onnx.load(str(target))
    for node in model.graph.node:
        if node.op_type in ("Conv", "MatMul"):
            assert {kinds[name] for name in node.input} == {TensorProto.BFLOAT16}
    assert kinds["input"] == kinds["proba"] == TensorProto.FLOAT


def _quantised(nodes: list[Any], weights: dict[str, Any]) -> str:
    weights |= {"scale": np.float32(0.02), "zero": np.int8(0)}
    nodes.append(helper.make_node("QuantizeLinear", ["flat", "scale", "zero"], ["q"]))
    nodes.append(helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["back"]))
    nodes.append(helper.make_node("MatMul", ["back", "head"], ["more"]))
    return "more"


@pytest.mark.parametrize(
    ("kind", "number"), [("fp16", TensorProto.FLOAT16), ("bf16", TensorProto.BFLOAT16)]
)
def test_the_rest_of_a_quantised_network_is_converted(
    make_net: Net, contract: Contract, tmp_path: Path, kind: str, number: int
) -> None:
    model = make_net(extra=_quantised)
    found = prepared_model(
        model, contract, tmp_path / "models", precision=f"int8+{kind}", max_batch=8
    )
    kinds, graph = _kinds(found.path), onnx.load(str(found.path)).graph
    (back,) = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    assert [kinds[name] for name in back.input] == [TensorProto.INT8, number, TensorProto.INT8]
    assert kinds[back.output[0]] == number
    if kind == "fp16":
        images = noise_batch(contract, 4)
        (exact,), (half,) = run_onnx(model, images), run_onnx(found.path, images)
        assert 0 < np.abs(exact - half).max() < 0.02


def test_control_flow_is_refused(make_net: Net, contract: Contract, tmp_path: Path) -> None:
    def branch(nodes: list[Any], weights: dict[str, Any]) -> str:
        weights["yes"] = np.array(True)
        out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
        same = helper.make_graph(
            [helper.make_node("Identity", ["logits"], ["out"])], "same", [], [out]
        )
        nodes.append(
            helper.make_node("If", ["yes"], ["either"], then_branch=same, else_branch=same)
        )
        return "either"

    with pytest.raises(BackendError, match=r"cannot be written in fp16\. If holds a graph"):
        write_half(make_net(extra=branch), tmp_path / "half.onnx", contract)


def test_what_is_reduced_already(make_net: Net, contract: Contract, tmp_path: Path) -> None:
    half = tmp_path / "half.onnx"
    write_half(make_net(), half, contract)
    with pytest.raises(TagstackError, match=r"has reduced precision already"):
        write_half(half, tmp_path / "again.onnx", contract)


def test_derived_files_are_kept_under_what_they_came_from(
    make_net: Net, contract: Contract, tmp_path: Path
) -> None:
    folder = tmp_path / "models"

    def prepared(model: Path, precision: str = "fp16", max_batch: int = 8) -> Path:
        found = prepared_model(model, contract, folder, precision=precision, max_batch=max_batch)
        return found.path

    free, fixed = make_net("a.onnx"), make_net("b.onnx", batch=1, seed=2)
    assert prepared(free, "fp32") == free
    assert prepared(fixed, "fp32", 1) == fixed
    half = prepared(free)
    stamp = half.stat().st_mtime_ns
    assert prepared(free).stat().st_mtime_ns == stamp
    assert prepared(fixed) not in (half, fixed)
    assert fixed_batch(prepared(fixed)) is None
    assert prepared(make_net("c.onnx", seed=1)) != half


def test_a_batch_that_cannot_be_freed_stays(
    make_net: Net,
    contract: Contract,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = make_net(batch=1, extra=_across_images)
    for _ in range(2):
        found = prepared_model(model, contract, tmp_path / "models", precision="fp16", max_batch=8)
        assert (found.batch, fixed_batch(found.path)) == (1, 1)
        assert found.path != model
        assert "Going on with 1 at a time" in caplog.text
        # Told a second time, but not tried a second time.
        monkeypatch.setattr(prepared, "write_dynamic", None)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_features_become_an_output_of_what_is_built(
    make_net: Net, contract: Contract, tmp_path: Path, precision: str
) -> None:
    model, folder = make_net(batch=1), tmp_path / "kept"
    batch = noise_batch(contract, 1)
    wanted = with_features(contract, "flat")
    found = prepared_model(model, wanted, folder, precision=precision, max_batch=8)
    plain = prepared_model(model, contract, folder, precision=precision, max_batch=8)
    assert output_names(found.path) == ("proba", "flat")
    assert output_names(plain.path) == ("proba",)
    proba, features = run_onnx(found.path, batch)
    # A further output keeps ONNX Runtime from fusing what lies around it.
    np.testing.assert_allclose(proba, run_onnx(plain.path, batch)[0], atol=1e-3)
    assert features.shape == (1, 64)
    assert features.dtype == np.float32
    exact = prepared_model(model, wanted, folder, precision="fp32", max_batch=8)
    np.testing.assert_allclose(features, run_onnx(exact.path, batch)[1], atol=2e-2)
    with pytest.raises(TagstackError, match="no tensor 'nope', which the contract calls its feat"):
        prepared_model(
            model, with_features(contract, "nope"), folder, precision="fp32", max_batch=8
        )


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "note"])
def test_a_damaged_file_is_made_anew(
    make_net: Net, contract: Contract, tmp_path: Path, damage: str
) -> None:
    folder, model = tmp_path / "models", make_net()

    def made() -> Path:
        return prepared_model(model, contract, folder, precision="fp16", max_batch=8).path

    target = made()
    whole = target.read_bytes()
    assert stale_models(folder) == ()
    if damage == "note":
        next(folder.glob("*.note.json")).write_text("{}")
    elif damage == "gone":
        target.unlink()
    else:
        target.write_bytes(whole[:-100] if damage == "cut" else b"")
    assert stale_models(folder) != ()
    assert made().read_bytes() == whole
    assert stale_models(folder) == ()


def test_files_whose_source_is_gone_are_stale(
    make_net: Net, contract: Contract, tmp_path: Path
) -> None:
    folder, model = tmp_path / "models", make_net()
    target = prepared_model(model, contract, folder, precision="fp16", max_batch=8).path
    model.unlink()
    assert target in stale_models(folder)
    assert len(stale_models(folder)) == 2


def test_a_contradiction_is_refused_before_anything_is_made(
    make_net: Net, contract: Contract, tmp_path: Path
) -> None:
    wide = contract.model_copy(update={"input": contract.input.model_copy(update={"size": 16})})
    with pytest.raises(TagstackError, match=r"input is \['batch', 3, 8, 8\], the contract says"):
        prepared_model(make_net(), wide, tmp_path / "models", precision="fp16", max_batch=8)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("content", [b"", b"junk" * 50])
def test_what_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(TagstackError, match=r"Cannot load the model .*x\.onnx: .*fetch it again"):
        read_onnx(path, weights=False)


def test_without_onnx(monkeypatch: pytest.MonkeyPatch, make_net: Net, contract: Contract) -> None:
    path = make_net()
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(TagstackError, match=r"onnx is not installed. Run: pip install 'tagst"):
        prepared_model(path, contract, path.parent, precision="fp16", max_batch=8)
