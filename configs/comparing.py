"""Settings of the comparison: resamples, intervals and what the report shows."""

from itertools import pairwise
from typing import Self

from pydantic import Field, field_validator, model_validator

from tagstack.configs.section import Section


class CompareSettings(Section):
    """How rungs are compared; each default and its reason stand in default.toml."""

    resamples: int = Field(ge=100, le=1_000_000)
    seeds: int = Field(ge=1, le=20)
    confidence: float = Field(gt=0.5, lt=1)
    min_positives: int = Field(ge=1)
    beta: float = Field(gt=0, le=100)
    false_discovery_rate: float = Field(gt=0, lt=1)
    calibration_bins: int = Field(ge=2, le=100)
    calibration_floor: float = Field(ge=0, lt=1)
    frequency_bands: tuple[int, ...] = Field(min_length=1)
    max_slice_values: int = Field(ge=2, le=100_000)
    curve_points: int = Field(ge=8, le=255)
    worst_images: int = Field(ge=0, le=200)
    thumbnail_px: int = Field(ge=32, le=512)
    metrics: tuple[str, ...]
    utility: str

    @field_validator("metrics")
    @classmethod
    def _each_once(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(metrics)) < len(metrics):
            msg = f"expected each metric once, got {list(metrics)}"
            raise ValueError(msg)
        return metrics

    @model_validator(mode="after")
    def _bands_ascend(self) -> Self:
        bands = self.frequency_bands
        if bands[0] < 1 or any(low >= high for low, high in pairwise(bands)):
            msg = f"frequency_bands must ascend from 1 or more, got {list(bands)}"
            raise ValueError(msg)
        return self
