"""Settings of training sets: how captions are checked, and what a set leaves out."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tagstack.configs.section import Section

Level = Literal["error", "warning", "note"]


class BucketSettings(Section):
    """How a trainer buckets pictures; keys as in sd-scripts, reasons in default.toml."""

    resolution: int = Field(ge=64, le=16384)
    min_bucket_reso: int = Field(ge=1, le=16384)
    max_bucket_reso: int = Field(ge=1, le=16384)
    bucket_reso_steps: int = Field(ge=1, le=4096)
    bucket_no_upscale: bool

    @model_validator(mode="after")
    def _leave_a_bucket(self) -> "BucketSettings":
        least, most, step = self.min_bucket_reso, self.max_bucket_reso, self.bucket_reso_steps
        if not step <= least <= self.resolution <= most:
            msg = (
                f"the trainer makes no buckets with a step of {step}, sides from {least} to {most} "
                f"and a resolution of {self.resolution}; expected bucket_reso_steps <= "
                "min_bucket_reso <= resolution <= max_bucket_reso"
            )
            raise ValueError(msg)
        return self


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
    buckets: BucketSettings
