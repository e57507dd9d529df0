"""Settings of training sets: how captions are checked, and what a set leaves out."""

from typing import Annotated, Literal

from pydantic import Field

from tagstack.configs.section import Section

Level = Literal["error", "warning", "note"]


class DatasetSettings(Section):
    """What `tagstack dataset` does; each default and its reason stand in default.toml."""

    caption_extensions: tuple[Annotated[str, Field(pattern=r"^\.[^./\\]+$")], ...] = Field(
        min_length=1
    )
    trigger: tuple[Annotated[str, Field(pattern=r"^[^\s,;|]([^,;|\n]*[^\s,;|])?$")], ...]
    rules: str
    shared: float = Field(gt=0, le=1)
    least_captions: int = Field(ge=2)
    allow: tuple[str, ...]
    order: Literal["any", "name"]
    ignore: tuple[str, ...]
    fail_on: Level
