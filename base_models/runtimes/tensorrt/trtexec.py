"""The command by which NVIDIA's own ``trtexec`` builds and times the engine of a spec."""

import shlex
from pathlib import Path

from tagstack.base_models.runtimes.tensorrt.spec import EngineSpec

_LEVELS = {"ampere_plus": "ampere+", "same_compute_capability": "sameComputeCapability"}


def trtexec_command(
    model: Path, input_name: str, image: tuple[int, int, int], spec: EngineSpec
) -> str:
    """Return a command line for a POSIX shell.

    Parameters
    ----------
    model : Path
        As it was prepared for engines.
    input_name : str
    image : tuple of int
        Shape of one image.
    spec : EngineSpec
    """
    batches = {"min": spec.min_batch, "opt": spec.typical_batch, "max": spec.max_batch}
    sides = "x".join(map(str, image))
    options = [
        f"--onnx={model}",
        "--stronglyTyped",
        *(f"--{name}Shapes={input_name}:{batch}x{sides}" for name, batch in batches.items()),
        f"--builderOptimizationLevel={spec.optimization_level}",
        f"--memPoolSize=workspace:{spec.workspace_mib}M",
        "--profilingVerbosity=detailed",
        "--useCudaGraph",
    ]
    if not spec.precision.endswith("tf32"):
        options.append("--noTF32")
    if spec.hardware_compatibility in _LEVELS:
        options.append(f"--hardwareCompatibilityLevel={_LEVELS[spec.hardware_compatibility]}")
    if spec.refit:
        options.append("--refit")
    return shlex.join(["trtexec", *options])
