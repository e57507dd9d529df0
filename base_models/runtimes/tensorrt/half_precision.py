"""A float32 network, quantised or not, written as a strongly typed one in fp16 or bf16.

TensorRT 11 takes precision from the file alone. Norms, softmax, reductions and powers stay in
float32, because float16 ends at 65504 and their sums and squares go beyond; so does the last
sigmoid, because float16 has only 1024 steps from 0.5 to 1. Attention becomes one operator where the
runtime has it, which needs no casts around its softmax. Inputs and outputs stay float32.
"""

from pathlib import Path
from typing import Any

import numpy as np

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.faults import BackendError
from tagstack.base_models.runtimes.tensorrt.attention import with_attention, with_scale_first
from tagstack.base_models.runtimes.tensorrt.float_casts import QUANTISED, cast_floats
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
    "CumSum",
    "TopK",
    "NonMaxSuppression",
    "RoiAlign",
)
# Beyond this, in standard deviations of the outputs, something overflowed rather than was rounded.
_LARGEST_DEVIATION = 0.25
_TWO_GIB = 2**31


def write_half(
    model: Path, target: Path, contract: Contract, *, kind: str = "fp16", attention: bool = True
) -> None:
    """Write a model in fp16 or bf16 to ``target``; one in fp16 is compared with the original.

    Parameters
    ----------
    model, target : Path
    contract : Contract
    kind : str
        ``"fp16"``, or ``"bf16"``, in which no CPU runs it for a comparison.
    attention : bool
        Whether the runtime has ONNX's `Attention`.

    Raises
    ------
    BackendError
        If it is in such a float already, or comes out too different: it overflows.
    """
    from onnx import TensorProto, checker, save

    proto = read_onnx(model, weights=True)
    _refuse_reduced(model, proto)
    proto = with_attention(proto) if attention else with_scale_first(proto)
    number = TensorProto.FLOAT16 if kind == "fp16" else TensorProto.BFLOAT16
    try:
        proto = cast_floats(
            proto, number, kept=KEPT_OPERATORS, kept_nodes=_last_sigmoids(proto.graph)
        )
    except BackendError as error:
        raise BackendError(f"{model} cannot be written in {kind}. {error}") from error
    size = sum(path.stat().st_size for path in model.parent.glob(f"{model.name}*"))
    save(proto, str(target), save_as_external_data=size > _TWO_GIB)
    if kind == "fp16":
        _check(model, target, contract)
    else:
        checker.check_model(str(target), full_check=True)


def _refuse_reduced(model: Path, proto: Any) -> None:
    from onnx import TensorProto

    kinds = {tensor.data_type for tensor in proto.graph.initializer}
    if kinds & {TensorProto.FLOAT16, TensorProto.BFLOAT16}:
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
    # A last bit can tip a rounding to eight bits, and that the next: parity on pictures judges it.
    quantised = {node.op_type for node in read_onnx(model, weights=False).graph.node} & {*QUANTISED}
    for expected, found in zip(run_onnx(model, images), run_onnx(target, images), strict=True):
        deviation = np.abs(found.astype(np.float64) - expected).max()
        spread = max(float(expected.std()), 1e-6)
        too_far = deviation > _LARGEST_DEVIATION * spread and not quantised
        if too_far or not np.isfinite(found).all():
            msg = (
                f"{model} does not survive float16: outputs differ by up to {deviation:.3g}, at a "
                f'spread of {spread:.3g}. Set score.precision = "tf32", or "fp32".'
            )
            raise BackendError(msg)
