"""An int8 network with symmetric scales, written as one in fp8 (E4M3).

Both map the largest value seen to the largest number there is, 127 or 448, so one graph becomes
the other by its scales and zero points alone. ONNX Runtime has a quantiser of its own for fp8,
which sets scales by the standard deviation: it cut off so much that 59 % of a small ViT's tags
changed, where the largest value changed 5 %.

References
----------
Micikevicius et al. (2022), "FP8 formats for deep learning".
https://onnx.ai/onnx/technical/float8.html
"""

from pathlib import Path
from typing import Any

import numpy as np

from tagstack.base_models.engines.onnx_file import read_onnx
from tagstack.base_models.runtimes.faults import one_line
from tagstack.configs.errors import TagstackError

_OPSET = 19  # the first that knows fp8
_SCALE = 127 / 448
_OPERATORS = ("QuantizeLinear", "DequantizeLinear")


def write_float8(source: Path, target: Path) -> None:
    """Write a network in int8 without zero points as one in E4M3.

    Parameters
    ----------
    source, target : Path
        With float weights that are quantised in the graph, as TensorRT wants them.

    Raises
    ------
    TagstackError
        If the network cannot be written in opset 19.
    """
    from onnx import TensorProto, helper, numpy_helper, save

    model = _in_opset(source, read_onnx(source, weights=True))
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in _OPERATORS]
    for name in {node.input[1] for node in pairs}:
        scale = numpy_helper.to_array(stored[name]) * np.float32(_SCALE)
        stored[name].CopyFrom(numpy_helper.from_array(scale.astype(np.float32), name))
    for name in {node.input[2] for node in pairs}:
        zeros = numpy_helper.to_array(stored[name])
        if zeros.any():
            raise TagstackError(f"{source} has zero points; expected int8 made for TensorRT.")
        content = bytes(zeros.size)
        kind = TensorProto.FLOAT8E4M3FN
        stored[name].CopyFrom(helper.make_tensor(name, kind, zeros.shape, content, raw=True))
    del model.graph.value_info[:]  # what int8 was written down for is not int8 any more
    save(model, str(target))


def thin_convolutions(model: Path, n_channels: int) -> list[str]:
    """Return the names of convolutions that read fewer channels; unnamed ones get a name.

    Parameters
    ----------
    model : Path
        Written anew where a node had no name.
    n_channels : int
        Of one group.
    """
    from onnx import save

    proto = read_onnx(model, weights=True)
    channels = {
        tensor.name: tensor.dims[1] for tensor in proto.graph.initializer if tensor.dims[1:]
    }
    thin, is_new = [], False
    for number, node in enumerate(proto.graph.node):
        if node.op_type == "Conv" and channels.get(node.input[1], n_channels) < n_channels:
            is_new |= not node.name
            node.name = node.name or f"thin_{number}"
            thin.append(node.name)
    if is_new:
        save(proto, str(model))
    return thin


def _in_opset(source: Path, model: Any) -> Any:
    from onnx import version_converter

    found = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    if found >= _OPSET:
        return model
    try:
        return version_converter.convert_version(model, _OPSET)
    except (version_converter.ConvertError, RuntimeError) as error:
        msg = (
            f"{source} cannot be raised from opset {found} to {_OPSET}, which fp8 needs: "
            f"{one_line(error)}. Export the tagger with opset {_OPSET}, or use int8."
        )
        raise TagstackError(msg) from error
