"""A network that takes pixels as they are framed: uint8, RGB, channels last.

What the contract says of colour, range and layout becomes the first nodes, in the order and the
float32 of `preprocess.input_tensor`, so that the numbers are the same to the bit. A quarter of the
bytes cross to the GPU, and the host's work on them is one copy.
"""

from pathlib import Path
from typing import Any

import numpy as np

from tagstack.base_models.contract import Contract, Input
from tagstack.base_models.runtimes.faults import BackendError
from tagstack.base_models.runtimes.tensorrt.onnx_file import read_onnx


def pixel_contract(contract: Contract) -> Contract:
    """Return the contract as it is for a network that takes pixels: channels last."""
    changed = contract.input.model_copy(update={"layout": "NHWC"})
    return contract.model_copy(update={"input": changed})


def write_pixels(model: Path, target: Path, contract: Contract) -> None:
    """Write a model that takes pixels to ``target``; weights in files of their own come along.

    Raises
    ------
    BackendError
        If its input is not float32.
    """
    from onnx import TensorProto, helper, save

    proto = read_onnx(model, weights=True)
    graph = proto.graph
    stored = {tensor.name for tensor in graph.initializer}
    (source,) = (port for port in graph.input if port.name not in stored)
    if source.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise BackendError(f"{model}: its input is not float32, so pixels cannot lead to it.")
    inside = f"{source.name}_from_pixels"
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == source.name:
                node.input[place] = inside
    nodes, constants = _steps(source.name, inside, contract.input)
    if contract.input.padding_mask is not None:
        nodes, constants = _beside_mask(source.name, inside, contract.input)
    old = list(graph.node)
    del graph.node[:]
    graph.node.extend((*nodes, *old))
    graph.initializer.extend(constants)
    sides = source.type.tensor_type.shape.dim
    first = sides[0].dim_value if sides[0].HasField("dim_value") else "batch"
    shape = (first, *contract.input.height_width, contract.input.planes)
    source.CopyFrom(helper.make_tensor_value_info(source.name, TensorProto.UINT8, shape))
    size = sum(path.stat().st_size for path in model.parent.glob(f"{model.name}*"))
    save(proto, str(target), save_as_external_data=size > 2**31)


def _beside_mask(source: str, target: str, contract: Input) -> tuple[list[Any], list[Any]]:
    """Return the same where a fourth plane is 255 in the padding, which becomes 1."""
    from onnx import TensorProto, helper, numpy_helper

    colours, plane, ready = f"{target}_colours", f"{target}_plane", f"{target}_ready"
    flat = contract.model_copy(update={"layout": "NHWC"})
    steps, constants = _steps(colours, ready, flat)
    sizes, most = f"{target}_sizes", f"{target}_most"
    constants += [
        numpy_helper.from_array(np.array([3, 1], np.int64), sizes),
        numpy_helper.from_array(np.asarray(np.float32(255)), most),
    ]
    packed = f"{target}_packed" if contract.layout == "NCHW" else target
    nodes = [
        helper.make_node("Split", [source, sizes], [colours, plane], axis=3),
        *steps,
        helper.make_node("Cast", [plane], [f"{plane}_float"], to=TensorProto.FLOAT),
        helper.make_node("Div", [f"{plane}_float", most], [f"{plane}_share"]),
        helper.make_node("Concat", [ready, f"{plane}_share"], [packed], axis=3),
    ]
    if contract.layout == "NCHW":
        nodes.append(helper.make_node("Transpose", [packed], [target], perm=[0, 3, 1, 2]))
    return nodes, constants


def _steps(source: str, target: str, contract: Input) -> tuple[list[Any], list[Any]]:
    """Return the nodes from pixels to the input tensor, and their constants."""
    from onnx import TensorProto, helper, numpy_helper

    steps: list[tuple[str, Any, dict[str, Any]]] = [("Cast", None, {"to": TensorProto.FLOAT})]
    if contract.mean is not None and contract.std is not None:
        steps += [
            ("Div", np.float32(255), {}),
            ("Sub", np.array(contract.mean, np.float32), {}),
            ("Div", np.array(contract.std, np.float32), {}),
        ]
    elif contract.range == "0-1":
        steps.append(("Div", np.float32(255), {}))
    elif contract.range == "-1-1":
        steps += [("Div", np.float32(127.5), {}), ("Sub", np.float32(1), {})]
    if contract.colour == "BGR":
        steps.append(("Gather", np.array([2, 1, 0], np.int64), {"axis": 3}))
    if contract.layout == "NCHW":
        steps.append(("Transpose", None, {"perm": [0, 3, 1, 2]}))
    nodes, constants, last = [], [], source
    for number, (kind, value, attributes) in enumerate(steps):
        inputs = [last]
        if value is not None:
            inputs.append(f"{target}_{number}_by")
            constants.append(numpy_helper.from_array(np.asarray(value), inputs[1]))
        last = target if number == len(steps) - 1 else f"{target}_{number}"
        nodes.append(helper.make_node(kind, inputs, [last], **attributes))
    return nodes, constants
