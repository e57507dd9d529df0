"""A float32 network written as a strongly typed float16 one.

TensorRT 11 takes precision from the file alone. Norms, softmax, reductions and powers stay in
float32, because float16 ends at 65504 and their sums and squares go beyond; so does the last
sigmoid, because float16 has only 1024 steps from 0.5 to 1. Inputs and outputs stay float32.
"""

from pathlib import Path
from typing import Any

import numpy as np

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.faults import BackendError
from tagstack.base_models.runtimes.tensorrt.onnx_file import fixed_batch, read_onnx
from tagstack.base_models.runtimes.tensorrt.onnx_run import noise_batch, run_onnx

KEPT_OPERATORS = (
    "LayerNormalization",
    "GroupNormalization",
    "InstanceNormalization",
    "SimplifiedLayerNormalization",
    "LpNormalization",
    "Softmax",
    "LogSoftmax",
    "ReduceMean",
    "ReduceSum",
    "ReduceSumSquare",
    "ReduceL2",
    "Pow",
    "Sqrt",
    "Exp",
)
# Beyond this, in standard deviations of the outputs, something overflowed rather than was rounded.
_LARGEST_DEVIATION = 0.25
_TWO_GIB = 2**31


def write_half(model: Path, target: Path, contract: Contract) -> None:
    """Write a model in float16 to ``target`` and compare it with the original.

    Raises
    ------
    BackendError
        If it is in float16 or int8 already, or comes out too different: it overflows.
    """
    from onnx import save
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    proto = read_onnx(model, weights=True)
    _refuse_reduced(model, proto)
    converted = convert_float_to_float16(
        proto,
        keep_io_types=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *KEPT_OPERATORS],
        node_block_list=_last_sigmoids(proto.graph),
    )
    OnnxModel.graph_topological_sort(converted.graph)  # casts of inputs were put at the end
    size = sum(path.stat().st_size for path in model.parent.glob(f"{model.name}*"))
    save(converted, str(target), save_as_external_data=size > _TWO_GIB)
    _check(model, target, contract)


def _refuse_reduced(model: Path, proto: Any) -> None:
    from onnx import TensorProto

    kinds = {tensor.data_type for tensor in proto.graph.initializer}
    operators = {node.op_type for node in proto.graph.node}
    if kinds & {TensorProto.FLOAT16, TensorProto.BFLOAT16} or "DequantizeLinear" in operators:
        msg = (
            f"{model} has reduced precision already; expected float32 throughout. Set "
            f'score.precision = "fp32" to run it as it is, or give the float32 file.'
        )
        raise BackendError(msg)


def _last_sigmoids(graph: Any) -> list[str]:
    """Name the sigmoids that lead to an output; unnamed nodes get a name."""
    makers = {name: node for node in graph.node for name in node.output}
    found = []
    for output in graph.output:
        node = makers.get(output.name)
        while node is not None and node.op_type in ("Identity", "Reshape", "Squeeze"):
            node = makers.get(node.input[0])
        if node is not None and node.op_type == "Sigmoid":
            node.name = node.name or f"last_{output.name}"
            found.append(node.name)
    return found


def _check(model: Path, target: Path, contract: Contract) -> None:
    images = noise_batch(contract, fixed_batch(model) or 2)
    for expected, found in zip(run_onnx(model, images), run_onnx(target, images), strict=True):
        deviation = np.abs(found.astype(np.float64) - expected).max()
        spread = max(float(expected.std()), 1e-6)
        if not np.isfinite(found).all() or deviation > _LARGEST_DEVIATION * spread:
            msg = (
                f"{model} does not survive float16: outputs differ by up to {deviation:.3g}, at a "
                f'spread of {spread:.3g}. Set score.precision = "tf32", or "fp32".'
            )
            raise BackendError(msg)
