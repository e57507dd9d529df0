"""The backends of this package, each as the hook ``RUNTIMES`` wants it; loaded when opened.

A backend of another package has the same three members (`base.Runtime`).
"""

from dataclasses import dataclass
from pathlib import Path

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.base import Session
from tagstack.base_models.runtimes.probing import Probe, probe
from tagstack.configs.level1 import EngineSettings


@dataclass(frozen=True)
class _BuiltIn:
    """What the built-in backends share: a name, precisions, and how they are looked for."""

    name: str
    precisions: tuple[str, ...]
    gives_features: bool = False

    def probe(self, *, flavour: str) -> Probe:
        """Return whether it can run here."""
        return probe(self.name, flavour=flavour)


class Ort(_BuiltIn):
    """ONNX Runtime on the CPU."""

    def open(
        self, path: Path, contract: Contract, *, threads: int, precision: str,
        engines: EngineSettings,
    ) -> Session:  # fmt: skip
        """Return the loaded model."""
        from tagstack.base_models.runtimes.ort import OrtCpuSession

        return OrtCpuSession(path, contract, threads=threads)


class Openvino(_BuiltIn):
    """OpenVINO on the CPU."""

    def open(
        self, path: Path, contract: Contract, *, threads: int, precision: str,
        engines: EngineSettings,
    ) -> Session:  # fmt: skip
        """Return the loaded model."""
        from tagstack.base_models.runtimes.openvino import OpenvinoSession

        return OpenvinoSession(path, contract, threads=threads, precision=precision)


class OrtGpu(_BuiltIn):
    """ONNX Runtime on a GPU, by its CUDA or its TensorRT provider."""

    def open(
        self, path: Path, contract: Contract, *, threads: int, precision: str,
        engines: EngineSettings,
    ) -> Session:  # fmt: skip
        """Return the loaded model."""
        from tagstack.base_models.runtimes import gpu_opening

        return gpu_opening.open_ort_gpu(path, contract, engines, precision, self.name)


class Tensorrt(_BuiltIn):
    """TensorRT's own engines."""

    def open(
        self, path: Path, contract: Contract, *, threads: int, precision: str,
        engines: EngineSettings,
    ) -> Session:  # fmt: skip
        """Return the loaded model."""
        from tagstack.base_models.runtimes import gpu_opening

        return gpu_opening.open_tensorrt(path, contract, engines, precision)


ORT = Ort("ort", ("fp32",), gives_features=True)
OPENVINO = Openvino("openvino", ("fp32", "bf16"), gives_features=True)
ORT_CUDA = OrtGpu("ort-cuda", ("fp32", "tf32", "fp16"), gives_features=True)
# It leaves tf32 on, and has no option to turn that off.
ORT_TENSORRT = OrtGpu("ort-tensorrt", ("tf32", "fp16"), gives_features=True)
TENSORRT = Tensorrt("tensorrt", ("fp32", "tf32", "fp16", "bf16"), gives_features=True)
