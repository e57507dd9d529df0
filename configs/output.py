"""Settings of what is written for a tagged image."""

from typing import Literal

from pydantic import Field

from tagstack.configs.section import Section


class OutputSettings(Section):
    """How tags are written; each default and its reason stand in default.toml."""

    implied: Literal["keep", "add", "drop"]
    separator: str = Field(min_length=1)
    spaces: bool
    escape_parentheses: bool
    order: Literal["category", "proba", "name"]
    categories: tuple[str, ...]
    score_floor: float = Field(ge=0, le=1)
