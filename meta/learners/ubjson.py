"""Universal Binary JSON as XGBoost writes it, read within bounds.

References
----------
https://ubjson.org/
https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
"""

import struct
from typing import Any

import numpy as np

_DEEPEST = 20
_NUMBERS = {
    ord("i"): ">i1",
    ord("U"): ">u1",
    ord("I"): ">i2",
    ord("l"): ">i4",
    ord("L"): ">i8",
    ord("d"): ">f4",
    ord("D"): ">f8",
}
_CONSTANTS = {ord("T"): True, ord("F"): False, ord("Z"): None}


def read_ubjson(data: bytes) -> Any:
    """Return the value; arrays of one type of number as numpy arrays.

    Raises
    ------
    ValueError
        If it is something else, is cut off or goes on behind its end, nests too deep, or names
        a key twice.
    """
    reader = _Reader(data)
    try:
        value = reader.value(reader.byte(), 0)
    except (IndexError, struct.error) as error:
        msg = "it ends too early"
        raise ValueError(msg) from error
    if reader.at != len(data):
        msg = f"{len(data) - reader.at} bytes follow its end"
        raise ValueError(msg)
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def value(self, kind: int, depth: int) -> Any:
        if depth > _DEEPEST:
            msg = f"it nests more than {_DEEPEST} deep"
            raise ValueError(msg)
        if kind in _NUMBERS:
            return self.numbers(kind, 1)[0].item()
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind == ord("S"):
            return self.text()
        if kind == ord("{"):
            return self.object(depth)
        if kind == ord("["):
            return self.array(depth)
        msg = f"byte {self.at - 1} is {kind}, which begins no value"
        raise ValueError(msg)

    def numbers(self, kind: int, n: int) -> Any:
        dtype = np.dtype(_NUMBERS[kind])
        end = self.at + n * dtype.itemsize
        if end > len(self.data):
            raise IndexError(end)
        found = np.frombuffer(self.data, dtype, n, self.at)
        self.at = end
        return found

    def length(self) -> int:
        kind = self.byte()
        if kind not in _NUMBERS or kind in (ord("d"), ord("D")):
            msg = f"byte {self.at - 1} is no kind of length"
            raise ValueError(msg)
        n = int(self.numbers(kind, 1)[0])
        if not 0 <= n <= len(self.data) - self.at:
            msg = f"a length of {n} is more than is left"
            raise ValueError(msg)
        return n

    def text(self) -> str:
        n = self.length()
        self.at += n
        return self.data[self.at - n : self.at].decode("utf-8")

    def object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.data[self.at] != ord("}"):
            key = self.text()
            if key in found:
                msg = f"the key {key!r:.40} is there twice"
                raise ValueError(msg)
            found[key] = self.value(self.byte(), depth + 1)
        self.at += 1
        return found

    def array(self, depth: int) -> Any:
        kind = None
        if self.data[self.at] == ord("$"):
            self.at += 1
            kind = self.byte()
        if self.data[self.at] != ord("#"):
            msg = f"the array at byte {self.at} does not say its length"
            raise ValueError(msg)
        self.at += 1
        n = self._typed_length(kind)
        if kind is None:
            return [self.value(self.byte(), depth + 1) for _ in range(n)]
        return self.numbers(kind, n)

    def _typed_length(self, kind: int | None) -> int:
        if kind is not None and kind not in _NUMBERS:
            msg = f"an array of kind {kind} is none of numbers"
            raise ValueError(msg)
        return self.length()
