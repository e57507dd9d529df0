"""Settings of `tagstack train`."""

from typing import Literal

from pydantic import Field, field_validator

from tagstack.configs.section import Section


class TrainSettings(Section):
    """How a tagger is trained; each default's reason is in default.toml."""

    size: int = Field(ge=0, le=2048)
    loss: Literal["bce", "focal", "asymmetric"]
    epochs: int = Field(ge=1, le=10_000)
    patience: int = Field(ge=0)
    batch_images: int = Field(ge=2, le=65_536)
    learning_rate: float = Field(gt=0, le=10)
    warm_up: float = Field(gt=0, lt=1)
    weight_decay: float = Field(ge=0, le=10)
    average_decay: float = Field(ge=0, lt=1)
    mixed: bool
    mirrored: bool
    shift: int = Field(ge=0, le=512)
    colour_jitter: float = Field(ge=0, le=1)
    grey_share: float = Field(ge=0, le=1)
    erased_share: float = Field(ge=0, le=1)
    against_strength: float = Field(gt=0, le=100)
    least_positives: int = Field(ge=1)
    left_out: float = Field(gt=0, le=0.5)
    judged_images: int = Field(ge=2)
    checkpoint_seconds: float = Field(ge=0)
    search_sizes: list[int]
    search_hours: float = Field(ge=0)

    @field_validator("search_sizes")
    @classmethod
    def _sides(cls, sizes: list[int]) -> list[int]:
        if any(not 8 <= size <= 2048 for size in sizes):
            raise ValueError(f"expected sides of 8 to 2048 pixels, got {sizes}")
        return sizes
