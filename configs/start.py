"""Settings of the start: tags before anyone has labelled an image."""

from pydantic import Field

from tagstack.configs.section import Section


class StartSettings(Section):
    """How taggers are combined without labels; default.toml has each default and its reason."""

    rarity: float = Field(ge=0)
    odds_share: float = Field(ge=0, le=1)
    odds_lead: float = Field(ge=0)
    rival_rarity: float = Field(ge=0)
    images: int = Field(ge=1)
    count_share: float = Field(ge=0, le=1)
    rate_error: float = Field(gt=0)
    rate_positives: float = Field(gt=0)
    weight_images: float = Field(gt=0)
    anchor_positives: float = Field(ge=0)
    floor_images: int = Field(ge=0)
    copies: float = Field(gt=0, le=1)
