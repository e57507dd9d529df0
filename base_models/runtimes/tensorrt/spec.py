"""What an engine is asked to be, and the key under which it is kept.

The key is the SHA-256 of everything that could make another engine the right one: the weights
(files beside the model included), TensorRT and its parser, the driver, the GPU and every build
option. A GPU's serial number is left out, as equal boards share engines.
"""

import hashlib
import json
import platform
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tagstack.base_models.atomic import file_sha256
from tagstack.base_models.runtimes.driver import Driver
from tagstack.base_models.runtimes.tensorrt.onnx_file import read_onnx
from tagstack.base_models.runtimes.tensorrt.trt_api import TrtApi
from tagstack.configs.level1 import EngineSettings

SCHEMA = 2


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """How an engine is built.

    Parameters
    ----------
    precision : str
        ``"fp32"``, ``"tf32"``, ``"fp16"``, ``"int8"`` or ``"fp8"``; all but tf32 lie in the file.
    min_batch, typical_batch, max_batch : int
        Images of one call; tuned for the typical number.
    optimization_level : int
    workspace_mib : int
    batch_invariant : bool
    hardware_compatibility : str
        ``"none"``, ``"ampere_plus"`` or ``"same_compute_capability"``.
    refit : bool
        Whether weights can be exchanged in the engine.
    """

    precision: str
    min_batch: int
    typical_batch: int
    max_batch: int
    optimization_level: int
    workspace_mib: int
    batch_invariant: bool
    hardware_compatibility: str = "none"
    refit: bool = False

    @classmethod
    def of_settings(cls, settings: EngineSettings, precision: str) -> "EngineSpec":
        """Return what the settings ask for."""
        return cls(
            precision=precision,
            min_batch=settings.batches[0],
            typical_batch=settings.typical_batch,
            max_batch=settings.batches[-1],
            optimization_level=settings.optimization_level,
            workspace_mib=settings.build_mib,
            batch_invariant=settings.batch_invariant,
            hardware_compatibility=settings.hardware_compatibility,
            refit=settings.refit,
        )

    def with_batch(self, largest: int) -> "EngineSpec":
        """Return the same for at most so many images."""
        return replace(
            self,
            min_batch=min(self.min_batch, largest),
            typical_batch=min(self.typical_batch, largest),
            max_batch=min(self.max_batch, largest),
        )

    def fixed_at(self, batch: int) -> "EngineSpec":
        """Return the same for a network that takes so many images, no more and no fewer."""
        return replace(self, min_batch=batch, typical_batch=batch, max_batch=batch)


def model_files(model: Path) -> tuple[Path, ...]:
    """Return a model and the files that its weights lie in."""
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    proto = read_onnx(model, weights=False)
    tensors = [*proto.graph.initializer]
    for node in proto.graph.node:
        tensors += [item.t for item in node.attribute if item.HasField("t")]
    names = {ExternalDataInfo(tensor).location for tensor in tensors if uses_external_data(tensor)}
    return (model, *(model.parent / name for name in sorted(names)))


def key_facts(model: Path, spec: EngineSpec, api: TrtApi, driver: Driver) -> dict[str, Any]:
    """Return everything that decides whether an engine fits, as JSON values."""
    machine = key_of_machine(api, driver)
    return {
        "schema": SCHEMA,
        "model": [file_sha256(path) for path in model_files(model)],
        "build": asdict(spec),
        **machine,
        "gpu": shared_gpu(machine["gpu"], spec.hardware_compatibility),
    }


def shared_gpu(gpu: Any, level: str) -> Any:
    """Return what an engine of a compatibility level asks of its GPU, of the machine's facts."""
    if gpu is None or level == "none":
        return gpu
    if level == "ampere_plus":
        return {"name": "Ampere or later"}
    capability = gpu["compute_capability"]
    return {"name": f"compute capability {capability}", "compute_capability": capability}


def key_of_machine(api: TrtApi, driver: Driver) -> dict[str, Any]:
    """Return the part of the facts that is the same for every model on this machine."""
    device = driver.devices[0] if driver.devices else None
    return {
        "flavour": api.flavour,
        "tensorrt": api.version,
        "parser": api.parser_version,
        "driver_cuda": driver.cuda_version,
        # Where it stands in the machine does not matter, only what it is.
        "gpu": None if device is None else {**asdict(device), "index": 0},
        "platform": [platform.system(), platform.machine()],
        # Never other than these; named, so that a change of mind makes other keys.
        "plugins": [],
        "formats": "linear",
    }


def engine_key(facts: dict[str, Any]) -> str:
    """Return the SHA-256 of the facts in canonical JSON, in hexadecimal."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
