"""A network with a batch fixed in the file, made to take any, where that gives the same numbers.

Exports with a batch of 1 are common. The first side of the input becomes free and constant
shapes of reshapes follow it; then the result is run: unless every row of a batch comes out as it
does alone, the freed file is refused and the batch stays as it is.
"""

from pathlib import Path
from typing import Any

import numpy as np

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.faults import BackendError
from tagstack.base_models.runtimes.tensorrt.onnx_file import fixed_batch, read_onnx
from tagstack.base_models.runtimes.tensorrt.onnx_run import noise_batch, run_onnx

# Matrix products of another size add up in another order; more than that is another network.
_TOLERANCE = 1e-3


def write_dynamic(model: Path, target: Path, contract: Contract) -> None:
    """Write a model with a free batch to ``target``.

    Raises
    ------
    BackendError
        If the batch cannot be freed without changing what the network computes.
    """
    from onnx import save

    batch = fixed_batch(model) or 1
    proto = read_onnx(model, weights=True)
    _free(proto.graph, batch)
    save(proto, str(target))
    _check_rows(model, target, contract, batch)


def _free(graph: Any, batch: int) -> None:
    for port in (*graph.input, *graph.output):
        sides = port.type.tensor_type.shape.dim
        if len(sides) and sides[0].HasField("dim_value"):
            sides[0].dim_param = "batch"
    del graph.value_info[:]  # shapes inside, of the old batch
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for name in shapes & set(constants):
        _free_shape(constants[name], batch)


def _free_shape(tensor: Any, batch: int) -> None:
    from onnx import numpy_helper

    shape = numpy_helper.to_array(tensor).copy()
    if shape.ndim != 1 or not len(shape) or shape[0] != batch:
        return
    # Zero keeps the first side as it is; -1 is taken where another side is inferred already.
    shape[0] = 0 if (shape == -1).any() else -1
    tensor.CopyFrom(numpy_helper.from_array(shape, tensor.name))


def _check_rows(model: Path, target: Path, contract: Contract, batch: int) -> None:
    images = noise_batch(contract, 2 * batch)
    try:
        together = run_onnx(target, images)
    except BackendError as error:
        raise _refusal(model, batch, str(error)) from error
    parts = [run_onnx(model, images[i : i + batch]) for i in range(0, len(images), batch)]
    for found, *expected in zip(together, *parts, strict=True):
        rows = np.concatenate(expected)
        if found.shape != rows.shape or not np.allclose(found, rows, _TOLERANCE, _TOLERANCE):
            raise _refusal(model, batch, "rows of a batch differ from the same images alone")


def _refusal(model: Path, batch: int, reason: str) -> BackendError:
    return BackendError(
        f"{model} fixes its batch to {batch}, inside the network too: {reason}. Export it with a "
        f"dynamic batch to run more at a time."
    )
