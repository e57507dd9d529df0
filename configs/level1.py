"""Settings of level 1: decoding, batches, threads and the score store."""

from typing import Literal

from pydantic import Field

from tagstack.configs.section import Section


class ScoreSettings(Section):
    """How images become level-1 scores; each default and its reason stand in default.toml."""

    floor: float = Field(gt=0, lt=0.5)
    batch_images: int = Field(ge=1)
    part_images: int = Field(ge=1)
    part_seconds: float = Field(gt=0)
    max_pixels: int = Field(ge=1)
    max_file_bytes: int = Field(ge=1)
    backend: Literal["ort", "openvino", "auto"]
    precision: Literal["fp32", "bf16"]
    scaled_decoding: bool
    extensions: tuple[str, ...] = Field(min_length=1)
