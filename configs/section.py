"""What every section of the settings has in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen group of settings; an unknown key is an error, and defaults live in default.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")
