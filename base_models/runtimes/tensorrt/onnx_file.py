"""Reading ONNX files as graphs: needs ``onnx``, an extra."""

from importlib import import_module
from pathlib import Path
from typing import Any

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.faults import BackendError, one_line
from tagstack.base_models.runtimes.model_io import (
    ModelInputs,
    Port,
    checked_shape,
    chosen_output,
    fixed,
    model_inputs,
)
from tagstack.base_models.runtimes.probing import is_installed
from tagstack.configs.errors import TagstackError


def read_onnx(path: Path, *, weights: bool) -> Any:
    """Return an ONNX file's model.

    Parameters
    ----------
    path : Path
    weights : bool
        Whether weights that lie in files of their own are read, too.

    Raises
    ------
    TagstackError
        If it is no whole ONNX file; `BackendError` if ``onnx`` is not installed.
    """
    if not is_installed("onnx"):
        raise BackendError("onnx is not installed. Run: pip install 'tagstack[quantize]'")
    from onnx import load

    # Comes with onnx, and without types.
    decode_error: type[Exception] = import_module("google.protobuf.message").DecodeError

    try:
        model = load(str(path), load_external_data=weights)
    except (decode_error, OSError, ValueError) as error:
        raise _unloadable(path, one_line(error)) from error
    if not model.graph.input:
        raise _unloadable(path, "it holds no network")
    return model


def check_ports(path: Path, contract: Contract) -> ModelInputs:
    """Return a model's inputs; they and the output must be what the contract says.

    Raises
    ------
    TagstackError
        If file and contract contradict each other.
    """
    graph = read_onnx(path, weights=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    source = model_inputs(path, [_port(p) for p in graph.input if p.name not in stored], contract)
    chosen_output(path, [_port(port) for port in graph.output], contract)
    checked_shape(path, source, contract)
    return source


def fixed_batch(path: Path) -> int | None:
    """Return the batch that a model's first input fixes, or None."""
    return fixed(_port(read_onnx(path, weights=False).graph.input[0]).shape[0])


def _port(port: Any) -> Port:
    sides = port.type.tensor_type.shape.dim
    shape = tuple(int(s.dim_value) if s.HasField("dim_value") else s.dim_param for s in sides)
    return Port(port.name, shape, str(port.type.tensor_type.elem_type))


def _unloadable(path: Path, reason: str) -> TagstackError:
    return TagstackError(
        f"Cannot load the model {path}: {reason}. Expected a whole ONNX file; compare its size "
        f"and SHA-256 with the publisher's and fetch it again."
    )
