"""A tagger from a stranger is loaded once where it may hang or crash."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tagstack.base_models.taggers.trial import trial_of, try_tagger
from tagstack.configs.errors import TagstackError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGSTACK_HOME", str(tmp_path / "home"))


def _endless(path: Path) -> None:
    """Let a model go round for ever before it answers."""
    model = onnx.load(str(path))
    count = numpy_helper.from_array(np.array(2**62, np.int64), "count")
    true = numpy_helper.from_array(np.array(True), "true")
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["x", "x"], ["y"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, ()),
            helper.make_tensor_value_info("go", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ()),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, ()),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ()),
        ],
    )
    start = numpy_helper.from_array(np.array(0, np.float32), "start")
    model.graph.initializer.extend([count, true, start])
    model.graph.node.insert(
        0, helper.make_node("Loop", ["count", "true", "start"], ["nought"], body=body)
    )
    (last,) = (node for node in model.graph.node if "chosen" in node.output)
    last.output[0] = "before"
    model.graph.node.append(helper.make_node("Add", ["before", "nought"], ["chosen"]))
    onnx.save(model, str(path))


def test_an_endless_tagger_is_ended_and_a_good_one_tried_once(
    make_tagger_folder: Callable[..., Path],
) -> None:
    folder = make_tagger_folder(kind="logits")
    try_tagger(folder, 120.0)
    assert (folder / "model.onnx").is_file()
    try_tagger(folder, 1e-9)  # known: not tried again
    _endless(folder / "model.onnx")
    with pytest.raises(TagstackError, match=r"The tagger .*tiny was not through within 2 s"):
        try_tagger(folder, 2.0)


def test_what_came_with_the_package_needs_no_trial() -> None:
    from tagstack.base_models.taggers.registry import resolve

    try_tagger(resolve("doll_vit"), 1e-9)


def test_a_trial_knows_its_tagger_by_what_is_in_it(make_tagger_folder: Callable[..., Path]) -> None:
    first, second = (make_tagger_folder(name=name, seed=0) for name in ("a", "b"))
    assert trial_of(first).facts == trial_of(second).facts
    data = bytearray((second / "model.onnx").read_bytes())
    data[-1] ^= 1
    (second / "model.onnx").write_bytes(bytes(data))
    assert trial_of(first).facts != trial_of(second).facts
