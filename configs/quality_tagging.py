"""Settings of quality tags."""

from typing import Literal

from pydantic import Field

from tagstack.configs.section import Section


class QualitySettings(Section):
    """How `tagstack quality` works; each default's reason is in default.toml."""

    least_stratum: int = Field(ge=1)
    existing: Literal["append", "merge"]
    scorers: tuple[str, ...] = Field(min_length=1)
