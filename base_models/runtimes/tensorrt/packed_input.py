"""A network that takes a picture and the mask of its padding, made to take both in one input.

What a GPU runs is called with one array, copied into one piece of memory: so the mask is a fourth
channel, and the first nodes part the two again. The result is run beside the source before it is
kept.
"""

from pathlib import Path
from typing import Any

import numpy as np

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.faults import BackendError
from tagstack.base_models.runtimes.tensorrt.onnx_file import check_ports, read_onnx
from tagstack.base_models.runtimes.tensorrt.onnx_run import noise_batch, run_onnx


def write_packed(model: Path, target: Path, contract: Contract) -> None:
    """Write a model whose one input has four channels to ``target``.

    Raises
    ------
    BackendError
        If it does not compute the same.
    """
    from onnx import save

    ports = check_ports(model, contract)
    if ports.mask is None:
        raise BackendError(f"{model}: it has no input for a mask of the padding.")
    proto = read_onnx(model, weights=True)
    _pack(proto.graph, ports.picture.name, ports.mask.name, contract)
    size = sum(path.stat().st_size for path in model.parent.glob(f"{model.name}*"))
    save(proto, str(target), save_as_external_data=size > 2**31)
    images = noise_batch(contract, int(ports.picture.shape[0] or 1)
                         if isinstance(ports.picture.shape[0], int) else 2)  # fmt: skip
    kept, made = run_onnx(model, images, contract), run_onnx(target, images)
    if not all(np.allclose(a, b, 1e-4, 1e-4) for a, b in zip(kept, made, strict=True)):
        raise BackendError(f"{model}: with its two inputs in one it computes something else.")


def _pack(graph: Any, picture: str, mask: str, contract: Contract) -> None:
    from onnx import helper, numpy_helper

    ports = {port.name: port for port in graph.input}
    kind = ports[picture].type.tensor_type.elem_type
    wanted = ports[mask].type.tensor_type.elem_type
    last = contract.input.layout == "NHWC"
    axis, inside = 3 if last else 1, f"{picture}_of_packed"
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == picture:
                node.input[place] = inside
    half = helper.tensor_dtype_to_np_dtype(kind).type(0.5)
    constants = {
        "sizes": np.array([3, 1], np.int64), "axis": np.array([axis], np.int64),
        "half": np.asarray(half),
    }  # fmt: skip
    named = {key: f"{inside}_{key}" for key in (*constants, "plane", "flat", "over")}
    nodes = [
        helper.make_node("Split", [picture, named["sizes"]], [inside, named["plane"]], axis=axis),
        helper.make_node("Squeeze", [named["plane"], named["axis"]], [named["flat"]]),
        helper.make_node("Greater", [named["flat"], named["half"]], [named["over"]]),
        helper.make_node("Cast", [named["over"]], [mask], to=wanted),
    ]
    old = list(graph.node)
    del graph.node[:]
    graph.node.extend((*nodes, *old))
    graph.initializer.extend(
        numpy_helper.from_array(value, named[key]) for key, value in constants.items()
    )
    source = ports[picture]
    source.type.tensor_type.shape.dim[axis].dim_value = 4
    kept = [port for port in graph.input if port.name != mask]
    del graph.input[:]
    graph.input.extend(kept)
