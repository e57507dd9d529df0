"""Settings of the review page."""

from pydantic import Field

from tagstack.configs.section import Section


class ReviewSettings(Section):
    """What the review page asks, and in which order; each default's reason is in default.toml."""

    probes: float = Field(ge=0, le=0.5)
    judging: float = Field(ge=0, lt=1)
    window: int = Field(ge=1, le=10_000)
    thumbnail_px: int = Field(ge=32, le=1024)
    picture_px: int = Field(ge=128, le=4096)
    claim_seconds: float = Field(gt=0, le=3600)
