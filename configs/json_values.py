"""Results as JSON values, and names of files as text that JSON can hold."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias, cast

import numpy as np

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None


def printable(text: str) -> str:
    """Return text in which bytes of a name that are no UTF-8 have become replacement marks."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def plain(value: object) -> Json:
    """Return a result as JSON values; NaN and infinity become None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {**fields_of(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, tuple | list):
        return [plain(item) for item in cast(Iterable[object], value)]
    if isinstance(value, str):
        return printable(value)
    if value is None or isinstance(value, bool | int):
        return value
    msg = f"no JSON form for {type(value).__name__}"
    raise TypeError(msg)


def fields_of(value: "DataclassInstance") -> dict[str, Json]:
    """Return the fields of a dataclass as JSON values."""
    return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
