"""Which files an ONNX model keeps weights in, found without loading a tensor and without ``onnx``.

Only what leads to tensors is looked into. A runtime opens these names wherever they lead, so
whoever loads a model checks them first (`tagstack.configs.own_files`).

References
----------
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from tagstack.base_models.runtimes.wire_fields import SIZED, fields
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import DESCRIPTION_BYTES

# Of each kind of message, the numbers of the fields that lead to tensors.
_INSIDE = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "pair"},
}
_DEEPEST = 100  # messages inside messages, which is where protobuf itself ends
_KEY, _VALUE = 1, 2


def weight_files(model: Path) -> tuple[str, ...]:
    """Return the files that hold weights of an ONNX model, under the names that it gives them.

    Parameters
    ----------
    model : Path

    Returns
    -------
    tuple of str
        Sorted, each once; as a stranger wrote them.

    Raises
    ------
    TagstackError
        If the file cannot be read or is no ONNX model.
    """
    try:
        if not model.stat().st_size:
            return ()
        with (
            model.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return tuple(sorted(set(_names(content, (0, len(content)), "model", 0))))
    except (OSError, ValueError) as error:
        msg = (
            f"Cannot load the model {model}: {error}. Expected a whole ONNX file; compare its size "
            f"and SHA-256 with the publisher's and fetch it again."
        )
        raise TagstackError(msg) from error


def _names(content: mmap.mmap, message: tuple[int, int], kind: str, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        msg = f"messages lie in each other {depth} deep"
        raise ValueError(msg)
    for number, wire, start, end in fields(content, *message):
        inner = _INSIDE[kind].get(number) if wire == SIZED else None
        if inner == "pair":
            yield from _location(content, start, end)
        elif inner is not None:
            yield from _names(content, (start, end), inner, depth + 1)


def _location(content: mmap.mmap, start: int, end: int) -> Iterator[str]:
    """Yield what a pair says of the place of a tensor's bytes; other pairs say offset or length."""
    if end - start > DESCRIPTION_BYTES:
        msg = f"a name of {end - start} bytes"
        raise ValueError(msg)
    found = {n: content[a:b] for n, wire, a, b in fields(content, start, end) if wire == SIZED}
    if found.get(_KEY) == b"location":
        yield found.get(_VALUE, b"").decode("utf-8")
