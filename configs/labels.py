"""Settings of the labels: how they are read, and what a missing tag means."""

from typing import Annotated

from pydantic import Field

from tagstack.configs.section import Section


class LabelSettings(Section):
    """How labels are read; each default and its reason stand in default.toml."""

    unknown_if_absent: tuple[str, ...]
    least_understood: float = Field(ge=0, le=1)
    sidecar_extensions: tuple[Annotated[str, Field(pattern=r"^\.[^./\\]+$")], ...] = Field(
        min_length=1
    )
