"""Settings of the audit."""

from typing import Annotated

from pydantic import Field

from tagstack.configs.section import Section


class AuditSettings(Section):
    """What `tagstack audit` looks at; each default's reason is in default.toml."""

    least_images: int = Field(ge=2, le=1_000_000)
    least_groups: float = Field(ge=2, le=1_000)
    least_pairs: int = Field(ge=2, le=1_000_000)
    fewest_wrong: int = Field(ge=1, le=1_000)
    shifts: tuple[Annotated[float, Field(gt=0, le=10)], ...]
    folds: int = Field(ge=2, le=100)
