"""A network with a tensor inside its graph as one more output, for runtimes that read files.

`added_output` does the same in a few bytes behind the file, which a runtime that infers types by
itself takes; TensorRT's parser wants to be told the type.
"""

from pathlib import Path
from typing import Any

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.added_output import has_tensor
from tagstack.base_models.runtimes.model_io import no_such_features
from tagstack.base_models.runtimes.tensorrt.onnx_file import read_onnx
from tagstack.configs.errors import TagstackError


def write_features(model: Path, target: Path, contract: Contract) -> None:
    """Write a model with the contract's features as its last output to ``target``.

    Raises
    ------
    TagstackError
        If the graph makes no tensor of that name.
    """
    from onnx import save

    name = contract.output.features
    if name is None or not has_tensor(model, name):
        raise TagstackError(no_such_features(model, name or ""))
    proto = read_onnx(model, weights=True)
    proto.graph.output.append(_output(model, name))
    size = sum(path.stat().st_size for path in model.parent.glob(f"{model.name}*"))
    save(proto, str(target), save_as_external_data=size > 2**31)


def _output(model: Path, name: str) -> Any:
    """Return the output as shape inference knows it, which needs no large weights."""
    from onnx import TensorProto, helper, shape_inference

    inferred = shape_inference.infer_shapes(read_onnx(model, weights=False)).graph
    known = next((port for port in inferred.value_info if port.name == name), None)
    if known is not None and known.type.tensor_type.elem_type != TensorProto.UNDEFINED:
        return known
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
