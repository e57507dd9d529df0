"""What every section of the settings has in common: how it is checked, and in which words."""

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tagstack.configs.errors import TagstackError

# A text with what stands for a byte of another encoding than UTF-8.
_NO_UTF8 = re.compile(r'"[^"]*[\ud800-\udfff][^"]*"')
_KIND = re.compile(r"\[|^constrained-|^(?:int|float|str|bool)$")
_BOUNDS = {
    "greater_than": ("gt", "above {}"),
    "greater_than_equal": ("ge", "at least {}"),
    "less_than": ("lt", "below {}"),
    "less_than_equal": ("le", "at most {}"),
    "too_short": ("min_length", "at least {} entries"),
    "too_long": ("max_length", "at most {} entries"),
    "string_too_short": ("min_length", "at least {} character"),
    "string_too_long": ("max_length", "at most {} characters"),
    "string_pattern_mismatch": ("pattern", "text of the form {}"),
    "literal_error": ("expected", "{}"),
}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text in quotes",
    "tuple": "a list",
    "list": "a list",
    "dict": "a table",
    "model": "a table",
    "finite": "a finite number",
}


class Section(BaseModel):
    """A frozen group of settings; an unknown key is an error, and defaults live in default.toml."""

    # Most sections are only ever checked as part of the settings: alone, none is prepared for it.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


Checked = TypeVar("Checked", bound=Section)


def validated(section: type[Checked], values: Mapping[str, Any]) -> Checked:
    """Return the settings in values as TOML gives them; nothing is turned into another kind.

    ``true`` is no number here and ``"4"`` none either: what a person wrote is what counts.

    Raises
    ------
    ValidationError
        If a key is unknown or missing, or a value is not allowed.
    TagstackError
        If a text has bytes that are no UTF-8, as arguments of a command line may.
    """
    # Lists are tuples in JSON's strict mode alone; dates become text, which no setting is.
    text = json.dumps(values, default=_plain, ensure_ascii=False)
    if odd := _NO_UTF8.search(text):
        raise TagstackError(f"The value {odd[0]:.60} is not UTF-8. Write it in UTF-8.")
    return section.model_validate_json(text, strict=True)


def _plain(value: object) -> object:
    """Return NumPy's numbers and arrays as Python's own, and anything else as text."""
    tolist = getattr(value, "tolist", None)
    return tolist() if callable(tolist) else str(value)


def validation_summary(error: ValidationError) -> str:
    """Return a validation error as one line: each key, the value, what was expected.

    Of a value that may be of several kinds, what each of them expects.
    """
    said: dict[str, list[str]] = {}
    for item in error.errors(include_url=False):
        steps = [str(step) for step in item["loc"] if not _is_kind(step)]
        about, expected = _fault(item, ".".join(steps) or "the file")
        said.setdefault(about, []).append(expected)
    return "; ".join(about + " or ".join(dict.fromkeys(each)) for about, each in said.items())


def _is_kind(step: int | str) -> bool:
    """Return whether a step of a place is no key but one of the kinds that a value may have."""
    return isinstance(step, str) and bool(_KIND.search(step))


def _fault(item: Any, key: str) -> tuple[str, str]:
    """Return what is wrong, up to where it says what was expected, and that."""
    kind, value = item["type"], repr(item["input"])
    shown = value if len(value) <= 60 else f"{value[:57]}..."
    if kind == "missing":
        return f"{key} is missing", ""
    if kind == "extra_forbidden":
        return f"{key} is no known key", ""
    if kind in {"value_error", "assertion_error"}:
        return f"{key}: ", str(item["ctx"]["error"])
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{key} = {shown}: expected ", words.format(item["ctx"].get(name))
    expected = _KINDS.get(kind.partition("_")[0])
    if expected is None:
        return f"{key} = {shown}: ", str(item["msg"])
    return f"{key} = {shown}: expected ", expected
