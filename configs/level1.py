"""Settings of level 1: decoding, batches, threads and the score store."""

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from tagstack.configs.section import Section


class EngineSettings(Section):
    """TensorRT engines: how they are built, where they are kept, what happens when one fails."""

    folder: str
    flavour: Literal["trt", "rtx"]
    batches: tuple[int, ...] = Field(min_length=1)
    typical_batch: int = Field(ge=1)
    tagger_batches: dict[str, tuple[int, ...]]
    optimization_level: int = Field(ge=0, le=5)
    workspace_mib: int = Field(ge=64)
    memory_mib: int = Field(ge=0)
    batch_invariant: bool
    pixels_on_device: bool
    hardware_compatibility: Literal["none", "ampere_plus", "same_compute_capability"]
    refit: bool
    graphs: int = Field(ge=0, le=1000)
    trial_seconds: float = Field(gt=0)
    on_failure: Literal["next", "error"]

    @model_validator(mode="after")
    def _rising(self) -> Self:
        for name, sizes in (("batches", self.batches), *self.tagger_batches.items()):
            if not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
                msg = f"{name} must rise from at least 1, got {list(sizes)}"
                raise ValueError(msg)
        if not self.batches[0] <= self.typical_batch <= self.batches[-1]:
            msg = f"typical_batch must lie within batches, got {self.typical_batch}"
            raise ValueError(msg)
        return self

    @property
    def build_mib(self) -> int:
        """Scratch memory of a build: never more than a tagger may have."""
        return min(self.workspace_mib, self.memory_mib or self.workspace_mib)

    def of_tagger(self, name: str) -> Self:
        """Return the settings as they are for one tagger."""
        own = self.tagger_batches.get(name)
        return self if own is None else self.with_batches(own)

    def with_batches(self, sizes: tuple[int, ...]) -> Self:
        """Return the same with other batches, and a typical one that lies within them."""
        typical = min(max(self.typical_batch, sizes[0]), sizes[-1])
        return self.model_copy(update={"batches": sizes, "typical_batch": typical})


class ParitySettings(Section):
    """How far a backend or a reduced precision may stray from ONNX Runtime in fp32."""

    images: int = Field(ge=1)
    batch: int = Field(ge=2)
    max_flips_exact: float = Field(ge=0, le=1)
    max_flips_half: float = Field(ge=0, le=1)
    max_flips_int8: float = Field(ge=0, le=1)
    max_flips_fp8: float = Field(ge=0, le=1)


class QuantizeSettings(Section):
    """How int8 and fp8 taggers are made."""

    images: int = Field(ge=1)
    method: Literal["minmax", "entropy", "percentile"]
    per_channel: bool
    operators: tuple[str, ...] = Field(min_length=1)
    fp8_channels: int = Field(ge=0)


class NearDuplicateSettings(Section):
    """When two pictures count as one; each default and its reason stand in default.toml."""

    enabled: bool
    bits: int = Field(ge=0, le=12)
    difference: float = Field(ge=0, le=1)
    contrast: float = Field(gt=0)


CPU_DEVICE = "cpu"
"""What ``score.devices`` calls a process on the processor."""

ON_CPU = ("ort", "openvino")
"""Backends that run on the processor; all others want a GPU."""

EVERY_MEMBER = "all"
"""What ``score.features`` calls all taggers of a run."""


class ScoreSettings(Section):
    """How images become level-1 scores; each default and its reason stand in default.toml."""

    floor: float = Field(gt=0, lt=0.5)
    batch_images: int = Field(ge=1, le=65_536)
    decode_threads: int = Field(ge=0, le=4096)
    part_images: int = Field(ge=1)
    part_seconds: float = Field(gt=0)
    max_pixels: int = Field(ge=1)
    max_side: int = Field(ge=1)
    decode_mib: int = Field(ge=16)
    decode_seconds: float = Field(gt=0)
    trial_seconds: float = Field(gt=0)
    max_file_bytes: int = Field(ge=1)
    backend: str = Field(min_length=1)  # "auto" or one of hooks.RUNTIMES
    precision: Literal["fp32", "tf32", "bf16", "fp16"]
    scaled_decoding: bool
    resampling: Literal["auto", "pillow", "compiled"]
    devices: tuple[str, ...]
    features: tuple[str, ...]
    sided: tuple[str, ...]
    extensions: tuple[str, ...] = Field(min_length=1)
    near_duplicates: NearDuplicateSettings
    engines: EngineSettings
    parity: ParitySettings
    quantize: QuantizeSettings

    @field_validator("devices", mode="before")
    @classmethod
    def _of_one_kind(cls, devices: object) -> object:
        if not isinstance(devices, (list, tuple)):
            return devices
        named = [str(one) for one in devices]
        numbers = {int(one) for one in named if re.fullmatch("[0-9]{1,3}", one)}
        if len(numbers) < len(named) and {*named} != {CPU_DEVICE}:
            msg = f'must be numbers of GPUs, each once, or all "{CPU_DEVICE}"; got {named}'
            raise ValueError(msg)
        return tuple(named)
