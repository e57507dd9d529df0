"""Settings of the audit."""

from typing import Annotated, Literal

from pydantic import Field

from tagstack.configs.section import Section

Guise = Literal["grey", "edges", "patches", "blur", "palette", "style", "mirrored"]


class AuditSettings(Section):
    """What `tagstack audit` looks at; each default's reason is in default.toml."""

    least_images: int = Field(ge=2, le=1_000_000)
    least_groups: float = Field(ge=2, le=1_000)
    least_pairs: int = Field(ge=2, le=1_000_000)
    fewest_wrong: int = Field(ge=1, le=1_000)
    shifts: tuple[Annotated[float, Field(gt=0, le=10)], ...]
    folds: int = Field(ge=2, le=100)
    probe_images: int = Field(ge=2, le=100_000)
    guises: tuple[Guise, ...] = Field(min_length=1)
