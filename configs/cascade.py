"""Settings of the cascade."""

from typing import Annotated

from pydantic import Field

from tagstack.configs.section import Section


class CascadeSettings(Section):
    """How a cascade is fitted and used; each default's reason is in default.toml."""

    heads: int = Field(ge=1, le=16)
    points: int = Field(ge=2, le=200)
    resamples: int = Field(ge=20, le=10_000)
    trial_images: int = Field(ge=1, le=1024)
    trial_rounds: int = Field(ge=1, le=100)
    cost: float = Field(gt=0, le=1)
    loss: float = Field(ge=0, le=1)
    seconds: dict[str, Annotated[float, Field(gt=0)]]
