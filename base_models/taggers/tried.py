"""Who ran a published tagger's contract with its real weights (``configs/tried.toml``)."""

import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from tagstack.base_models.contract import Contract

FILE = "tried.toml"


def reports() -> tuple[Mapping[str, Any], ...]:
    """Return what users reported, as entered."""
    text = (resources.files("tagstack.configs") / FILE).read_text(encoding="utf-8")
    return tuple(tomllib.loads(text).get("tried", ()))


def tried_by(contract: Contract, known: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return who ran this very contract with real weights; one changed since was run by nobody."""
    own = (contract.name, contract.digest())
    return tuple(
        str(entry["by"]) for entry in known if (entry["contract"], entry["contract_sha256"]) == own
    )
