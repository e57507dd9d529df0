"""A contract written out as the text of a ``tagger.toml``, for those that came from elsewhere."""

import json
import re

from tagstack.base_models.contract import Contract


def contract_toml(contract: Contract) -> str:
    """Return a contract as the text of a ``tagger.toml``; defaults are left out."""
    values = contract.model_dump(mode="json", exclude_defaults=True)
    plain = [_line(key, value) for key, value in values.items() if not isinstance(value, dict)]
    tables = [
        "\n".join([f"\n[{key}]", *(_line(inner, item) for inner, item in value.items())])
        for key, value in values.items()
        if isinstance(value, dict)
    ]
    return "\n".join([*plain, *tables]) + "\n"


def _line(key: str, value: object) -> str:
    return f"{_text(key)} = {_toml(value)}"


def _text(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(_line(key, item) for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # Strings, numbers and truth values are written alike in both languages.
    return json.dumps(value, ensure_ascii=False)
