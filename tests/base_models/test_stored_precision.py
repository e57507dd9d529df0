"""Which precision a file holds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tagstack.base_models.runtimes.stored_precision import is_quantised, shown_precision


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
    assert is_quantised(path)
    del graph.node[:]
    graph.node.append(helper.make_node("Identity", ["x"], ["y"], name="DequantizeLinear"))
    onnx.save(helper.make_model(graph), str(path))
    assert not is_quantised(path)


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
