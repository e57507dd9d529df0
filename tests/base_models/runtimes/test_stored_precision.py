"""Which precision a file holds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tagstack.base_models.runtimes.stored_precision import quantised_as, shown_precision


def test_only_integers_taken_back_to_floats_make_int8(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "DequantizeLinear is only a name here",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1,))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1,))],
        [
            numpy_helper.from_array(np.float32(0.1), "s"),
            numpy_helper.from_array(np.int8(0), "z"),
        ],
    )
    path = tmp_path / "q.onnx"
    onnx.save(helper.make_model(graph), str(path))
    assert quantised_as(path) == "int8"
    del graph.node[:]
    graph.node.append(helper.make_node("Identity", ["x"], ["y"], name="DequantizeLinear"))
    onnx.save(helper.make_model(graph), str(path))
    assert quantised_as(path) is None


@pytest.mark.parametrize("constants", [False, True])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2])
def test_fp8_is_told_from_int8(tmp_path: Path, kind: int, constants: bool) -> None:
    zero = helper.make_tensor("z", kind, (), bytes(1), raw=True)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    # A weight whose bytes read like a tensor of fp8 must not count.
    weights = np.frombuffer(bytes(zero.SerializeToString()) * 4, np.uint8)
    stored = [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(weights, "w")]
    for zeros in (zero, numpy_helper.from_array(np.int8(0), "z")):
        made_here = [helper.make_node("Constant", [], ["z"], value=zeros)] if constants else []
        graph = helper.make_graph(
            [*made_here, *nodes],
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1,))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1,))],
            stored if constants else [*stored, zeros],
        )
        path = tmp_path / "q.onnx"
        onnx.save(helper.make_model(graph), str(path))
        assert quantised_as(path) == ("fp8" if zeros is zero else "int8")
    assert shown_precision(path, "fp32") == "int8"


def test_a_file_that_ends_anywhere(tmp_path: Path) -> None:
    zero = helper.make_tensor("z", TensorProto.FLOAT8E4M3FN, (), bytes(1), raw=True)
    node = helper.make_node("DequantizeLinear", ["x", "s", "z"], ["y"])
    graph = helper.make_graph([node], "net", [], [], [zero])
    whole = helper.make_model(graph).SerializeToString()
    path = tmp_path / "q.onnx"
    found = set()
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        found.add(quantised_as(path))
    assert found == {None, "int8", "fp8"}
    assert shown_precision(path, "fp32") == "fp8"
    assert shown_precision(path, "bf16") == "fp8+bf16"


@pytest.mark.parametrize(
    ("computed", "shown"), [("fp32", "int8"), ("bf16", "int8+bf16"), ("int8", "int8")]
)
def test_names(tmp_path: Path, computed: str, shown: str) -> None:
    path = tmp_path / "q.onnx"
    path.write_bytes(b'..."\x10DequantizeLinear...')
    assert shown_precision(path, computed) == shown
    path.write_bytes(b"")
    assert shown_precision(path, computed) == computed


def test_a_plain_model(make_tagger_folder: Callable[..., Path]) -> None:
    assert shown_precision(make_tagger_folder() / "model.onnx", "tf32") == "tf32"
