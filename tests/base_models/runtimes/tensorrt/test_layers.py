"""Layers as TensorRT's inspector tells them, and the command of its own tool."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tagstack.base_models.runtimes.tensorrt.layers import Layer, layers_from_json
from tagstack.base_models.runtimes.tensorrt.spec import EngineSpec
from tagstack.base_models.runtimes.tensorrt.trtexec import trtexec_command


def test_layers_with_and_without_details() -> None:
    detailed = {
        "Name": "conv + relu",
        "LayerType": "CaskConvolution",
        "Outputs": [{"Name": "y", "Format/Datatype": "Half"}, {"Format/Datatype": "Half"}],
        "TacticName": "sm90_xmma",
    }
    text = json.dumps({"Layers": [detailed, "softmax"], "Bindings": ["input"]})
    assert layers_from_json(text) == (
        Layer(name="conv + relu", kind="CaskConvolution", precision="Half", tactic="sm90_xmma"),
        Layer(name="softmax", kind="", precision="", tactic=""),
    )
    assert layers_from_json("{}") == ()


@pytest.mark.parametrize(
    ("changes", "expected", "absent"),
    [
        ({}, "--noTF32", "--refit"),
        ({"precision": "int8+tf32"}, "--minShapes=x:1x3x8x8", "--noTF32"),
        ({"refit": True}, "--refit", "--hardware"),
        ({"hardware_compatibility": "ampere_plus"}, "Level=ampere+", "--refit"),
    ],
)
def test_trtexec_builds_the_same(
    spec: EngineSpec, changes: dict[str, object], expected: str, absent: str
) -> None:
    command = trtexec_command(Path("a b.onnx"), "x", (3, 8, 8), replace(spec, **changes))  # type: ignore[arg-type]
    assert command.startswith("trtexec '--onnx=a b.onnx' --stronglyTyped")
    assert expected in command
    assert absent not in command
