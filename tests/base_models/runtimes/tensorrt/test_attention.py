"""Attention as one operator gives the numbers of the parts it was written in."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.tensorrt.attention import with_attention, with_scale_first
from tagstack.base_models.runtimes.tensorrt.building import build_plan
from tagstack.base_models.runtimes.tensorrt.half_precision import write_half
from tagstack.base_models.runtimes.tensorrt.onnx_run import run_onnx
from tagstack.base_models.runtimes.tensorrt.spec import EngineSpec
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi

HEADS, TOKENS, DEPTH, SIDE = 2, 16, 6, 8
WIDTH = 3 * SIDE * SIDE // TOKENS  # what one token reads: 12 numbers


def network(
    path: Path, *, scaled: str = "Mul", mask: bool = False, keys: str = "one", seed: int = 0
) -> Path:
    """Write pictures as tokens, attention between them written out, and the mean of the tokens."""
    rng = np.random.default_rng(seed)
    names = ("query", "key", "value")
    weights: dict[str, NDArray[Any]] = {
        name: rng.normal(0, 0.5, (WIDTH, HEADS * DEPTH)).astype(np.float32) for name in names
    }
    weights |= {
        "tokens_shape": np.array([0, TOKENS, WIDTH], np.int64),
        "heads_shape": np.array([0, TOKENS, HEADS, DEPTH], np.int64),
        "factor": np.array(DEPTH**0.5 if scaled == "Div" else DEPTH**-0.5, np.float32),
        "bias": rng.normal(0, 1, (HEADS, TOKENS, TOKENS)).astype(np.float32),
    }
    nodes = [helper.make_node("Reshape", ["input", "tokens_shape"], ["tokens"])]
    for name in names:
        order = [0, 2, 3, 1] if (name, keys) == ("key", "one") else [0, 2, 1, 3]
        nodes += [
            helper.make_node("MatMul", ["tokens", name], [f"{name}_flat"]),
            helper.make_node("Reshape", [f"{name}_flat", "heads_shape"], [f"{name}_wide"]),
            helper.make_node("Transpose", [f"{name}_wide"], [f"{name}_heads"], perm=order),
        ]
    key = "key_heads"
    if keys == "two":
        nodes.append(helper.make_node("Transpose", [key], ["key_turned"], perm=[0, 1, 3, 2]))
        key = "key_turned"
    nodes.append(helper.make_node("MatMul", ["query_heads", key], ["product"]))
    last = "product"
    if scaled != "none":
        nodes.append(helper.make_node(scaled, [last, "factor"], ["scaled"]))
        last = "scaled"
    if mask:
        nodes.append(helper.make_node("Add", [last, "bias"], ["masked"]))
        last = "masked"
    nodes += [
        helper.make_node("Softmax", [last], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "value_heads"], ["seen"]),
        helper.make_node("Flatten", ["seen"], ["proba"], axis=1),
    ]
    width = HEADS * TOKENS * DEPTH
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ("batch", 3, SIDE, SIDE))],
        [helper.make_tensor_value_info("proba", TensorProto.FLOAT, ("batch", width))],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    return path


def kinds(model: Any) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.fixture
def images(rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.normal(0, 1, (3, 3, SIDE, SIDE)).astype(np.float32)


FORMS: list[dict[str, Any]] = [
    {},
    {"scaled": "Div"},
    {"scaled": "none"},
    {"mask": True},
    {"keys": "two"},
    {"keys": "two", "mask": True, "scaled": "Div"},
]


@pytest.mark.parametrize("form", FORMS)
def test_the_same_numbers(
    tmp_path: Path, images: NDArray[np.float32], form: dict[str, Any]
) -> None:
    path = network(tmp_path / "net.onnx", **form)
    (expected,) = run_onnx(path, images)
    fused = with_attention(onnx.load(str(path)))
    assert (kinds(fused)["Attention"], kinds(fused)["Softmax"]) == (1, 0)
    assert kinds(fused)["Transpose"] <= 3
    onnx.checker.check_model(fused, full_check=True)
    onnx.save(fused, str(tmp_path / "fused.onnx"))
    np.testing.assert_allclose(run_onnx(tmp_path / "fused.onnx", images)[0], expected, atol=1e-5)
    first = with_scale_first(onnx.load(str(path)))
    onnx.checker.check_model(first, full_check=True)
    onnx.save(first, str(tmp_path / "first.onnx"))
    np.testing.assert_allclose(run_onnx(tmp_path / "first.onnx", images)[0], expected, atol=1e-5)


def test_the_queries_are_scaled_before_the_product(tmp_path: Path) -> None:
    model = with_scale_first(onnx.load(str(network(tmp_path / "net.onnx"))))
    order = [node.op_type for node in model.graph.node]
    assert order.index("Mul") < order.index("Softmax") - 1
    assert order[order.index("Softmax") - 1] == "MatMul"


@pytest.mark.parametrize("attention", [True, False])
def test_in_half_precision(
    tmp_path: Path, images: NDArray[np.float32], contract: Contract, attention: bool
) -> None:
    path, target = network(tmp_path / "net.onnx"), tmp_path / "half.onnx"
    write_half(path, target, contract, attention=attention)
    casts = kinds(onnx.load(str(target)))["Cast"]
    assert casts == (2 if attention else 4)  # in and out, and around the softmax
    difference = np.abs(run_onnx(target, images)[0] - run_onnx(path, images)[0]).max()
    assert 0 < difference < 5e-3


def test_shares_that_are_used_twice_stay(tmp_path: Path) -> None:
    model = onnx.load(str(network(tmp_path / "net.onnx")))
    port = helper.make_tensor_value_info("shares", TensorProto.FLOAT, None)
    model.graph.output.append(port)
    assert kinds(with_attention(model))["Softmax"] == 1


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_tensorrt_builds_it(
    rtx: TrtApi, tmp_path: Path, contract: Contract, spec: EngineSpec, kind: str
) -> None:
    assert rtx.knows("Attention")
    path, target = network(tmp_path / "net.onnx", mask=True), tmp_path / f"{kind}.onnx"
    write_half(path, target, contract, kind=kind)
    assert len(build_plan(target, spec, rtx, None).plan) > 1000


def test_an_operator_that_the_parser_does_not_know(rtx: TrtApi) -> None:
    assert not rtx.knows("NoSuchThing")
