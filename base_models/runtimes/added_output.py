"""A tensor inside a model's graph as one more output, without a library for ONNX.

In a protocol buffer a message that stands there twice is merged: its lists are joined. A few bytes
behind the file that say "graph, with this output" therefore add one, and nothing of the file, which
may be gigabytes, is parsed or written anew. A backend infers the tensor's type and shape itself.

References
----------
https://protobuf.dev/programming-guides/encoding/#last-one-wins
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import mmap
from pathlib import Path

from tagstack.base_models.runtimes.wire_fields import SIZED, fields
from tagstack.configs.errors import TagstackError

# Fields of ModelProto, GraphProto, ValueInfoProto and NodeProto.
_GRAPH, _OUTPUT, _NAME, _NODE, _MADE = 7, 12, 1, 1, 2


def output_names(model: Path) -> tuple[str, ...]:
    """Return the names of a model's own outputs.

    Raises
    ------
    TagstackError
        If the file cannot be read or is no ONNX model.
    """
    return _names(model, (_GRAPH, _OUTPUT, _NAME))


def has_tensor(model: Path, name: str) -> bool:
    """Return whether some operator of a model's graph makes a tensor of this name."""
    return name in _names(model, (_GRAPH, _NODE, _MADE))


def _names(model: Path, path: tuple[int, ...]) -> tuple[str, ...]:
    """Return the texts of a file that lie behind these fields, one inside the other."""
    try:
        with (
            model.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            places = [(0, len(content))]
            for wanted in path:
                places = [part for place in places for part in _parts(content, place, wanted)]
            return tuple(content[start:end].decode() for start, end in places)
    except (OSError, ValueError) as error:
        msg = (
            f"Cannot load the model {model}: {error}. Expected a whole ONNX file; compare its size "
            f"and SHA-256 with the publisher's and fetch it again."
        )
        raise TagstackError(msg) from error


def with_output(model: Path, tensor: str) -> bytes:
    """Return a model's file with a tensor of its graph as the last output."""
    named = _field(_NAME, tensor.encode())
    return model.read_bytes() + _field(_GRAPH, _field(_OUTPUT, named))


def _parts(content: mmap.mmap, message: tuple[int, int], wanted: int) -> list[tuple[int, int]]:
    return [
        (start, end)
        for number, kind, start, end in fields(content, *message)
        if (number, kind) == (wanted, SIZED)
    ]


def _field(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | SIZED,)) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))
