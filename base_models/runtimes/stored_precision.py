"""The precision that a model file itself holds, read without a library for ONNX.

An ONNX file is a sequence of fields; an operator's kind stands in it as a tag, a length and the
name. This names scores; what keeps them apart is the file's SHA-256.

References
----------
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import mmap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tagstack.base_models.runtimes.wire_fields import SIZED, VARINT, fields

# Field 4 (op_type) of a node, as bytes: 0x22, the length, the name.
_DEQUANTIZE = b'"\x10DequantizeLinear'
# Fields of ModelProto, GraphProto, NodeProto, AttributeProto and TensorProto.
_GRAPH, _NODE, _INITIALIZER, _ATTRIBUTE, _TENSOR, _DATA_TYPE = 7, 1, 5, 5, 5, 2
_E4M3, _E5M2 = 17, 19


def quantised_as(model: Path) -> str | None:
    """Return ``"int8"`` or ``"fp8"`` where a model takes such numbers back to floats, else None."""
    with model.open("rb") as stream:
        if model.stat().st_size == 0:
            return None
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(_DEQUANTIZE) < 0:
                return None
            return "fp8" if {_E4M3, _E5M2} & set(_stored_types(content)) else "int8"


def shown_precision(model: Path, computed: str) -> str:
    """Return the name of a session's precision: ``"int8"`` or ``"fp8"`` where the file has it.

    Parameters
    ----------
    model : Path
    computed : str
        What the runtime computes the other operators in.
    """
    stored = quantised_as(model)
    if stored is None:
        return computed
    return stored if computed in ("fp32", stored) else f"{stored}+{computed}"


def weights_of(precision: str) -> str:
    """Return what the weights of a session of this precision (`shown_precision`) are stored in."""
    return precision.partition("+")[0]


def computed_in(precision: str) -> str:
    """Return what a session of this precision computes its other operators in."""
    return precision.rpartition("+")[2]


def _stored_types(content: mmap.mmap) -> Iterator[int]:
    """Yield the element types of a model's weights and constants."""
    whole = (0, len(content))
    for graph in _parts(content, whole, _GRAPH):
        yield from _types(content, _parts(content, graph, _INITIALIZER))
        for node in _parts(content, graph, _NODE):
            for attribute in _parts(content, node, _ATTRIBUTE):
                yield from _types(content, _parts(content, attribute, _TENSOR))


def _types(content: mmap.mmap, tensors: Iterator[tuple[int, int]]) -> Iterator[int]:
    for tensor in tensors:
        for number, kind, value, _ in _whole_fields(content, *tensor):
            if (number, kind) == (_DATA_TYPE, VARINT):
                yield value


def _parts(content: mmap.mmap, message: tuple[int, int], wanted: int) -> Iterator[tuple[int, int]]:
    """Yield where the messages in a field of a message begin and end."""
    for number, kind, start, end in _whole_fields(content, *message):
        if (number, kind) == (wanted, SIZED):
            yield start, end


def _whole_fields(content: mmap.mmap, *message: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the fields of a message up to where it is no protocol buffer."""
    with suppress(ValueError):
        yield from fields(content, *message)
