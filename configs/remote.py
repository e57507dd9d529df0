"""Settings of pictures and stores that lie elsewhere."""

from pydantic import Field

from tagstack.configs.section import Section


class RemoteSettings(Section):
    """How files elsewhere are read; each default's reason is in default.toml."""

    cache_mib: int = Field(ge=1)
    seconds: float = Field(gt=0, le=3600)
    attempts: int = Field(ge=1, le=20)
