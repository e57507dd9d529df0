"""Settings of work that is shared out among workers of a cluster."""

from pydantic import Field

from tagstack.configs.section import Section


class ClusterSettings(Section):
    """How pictures are shared out; each default's reason is in default.toml."""

    cpus: int = Field(ge=1, le=1024)
    shard_images: int = Field(ge=1)
    retries: int = Field(ge=0, le=1000)
