"""The precision that a model file itself holds, read without a library for ONNX.

An ONNX file is a sequence of fields; an operator's kind stands in it as a tag, a length and the
name. This names scores; what keeps them apart is the file's SHA-256.
"""

import mmap
from pathlib import Path

# Field 4 (op_type) of a node, as bytes: 0x22, the length, the name.
_DEQUANTIZE = b'"\x10DequantizeLinear'


def is_quantised(model: Path) -> bool:
    """Return whether a model computes in int8: whether any node takes integers back to floats."""
    with model.open("rb") as stream:
        if model.stat().st_size == 0:
            return False
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(_DEQUANTIZE) >= 0


def shown_precision(model: Path, computed: str) -> str:
    """Return the name of a session's precision: ``"int8"`` where the file has it.

    Parameters
    ----------
    model : Path
    computed : str
        What the runtime computes the other operators in.
    """
    if not is_quantised(model):
        return computed
    return "int8" if computed in ("fp32", "int8") else f"int8+{computed}"
