"""Settings of watched folders."""

from pydantic import Field

from tagstack.configs.section import Section


class WatchSettings(Section):
    """When pictures of a watched folder are read; each default's reason is in default.toml."""

    settle_seconds: float = Field(ge=0.01, le=3600)
    look_seconds: float = Field(ge=0)
