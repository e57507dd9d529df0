"""Can a backend run here? Asked without loading what could crash, answered with what to do.

The driver is asked first (`driver`); nothing of CUDA or TensorRT is imported unless it answers.
ONNX Runtime's GPU providers are then started in a process of their own (`provider_libraries`).
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

from tagstack.base_models.runtimes.driver import Driver, examine_driver
from tagstack.base_models.runtimes.provider_libraries import provider_fault

BACKENDS = ("ort", "ort-cuda", "ort-tensorrt", "openvino", "tensorrt")
MODULES = {
    "ort": "onnxruntime",
    "ort-cuda": "onnxruntime",
    "ort-tensorrt": "onnxruntime",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
}
RTX_MODULE = "tensorrt_rtx_bindings"  # what its wheels hold; the package tensorrt_rtx is a shell
INSTALL = {
    "ort": "pip install 'tagstack[cpu]'",
    "ort-cuda": "pip uninstall onnxruntime && pip install 'tagstack[gpu]'",
    "ort-tensorrt": "pip install 'tagstack[gpu]' 'tensorrt-cu13>=10.16,<11'",
    "openvino": "pip install 'tagstack[openvino]'",
    "tensorrt": "pip install 'tagstack[tensorrt]' (needs NVIDIA's package index)",
    "rtx": "pip install tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings cuda-bindings onnx",
}
_PROVIDERS = {"ort-cuda": "CUDAExecutionProvider", "ort-tensorrt": "TensorrtExecutionProvider"}
GPU_BACKENDS = (*_PROVIDERS, "tensorrt")


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What is known of a backend on this machine.

    Parameters
    ----------
    backend : str
    available : bool
    reason : str
        What was found, or what is missing.
    devices : tuple of str
        What it would run on.
    install : str
        Command that installs it.
    """

    backend: str
    available: bool
    reason: str
    devices: tuple[str, ...]
    install: str


def probe(
    backend: str, *, flavour: str = "trt", ask_driver: Callable[[], Driver] = examine_driver
) -> Probe:
    """Return whether a backend can run here; never raises and never crashes the process.

    Parameters
    ----------
    backend : str
        One of `BACKENDS`.
    flavour : str
        ``"trt"`` or ``"rtx"``: whose engines ``tensorrt`` would run.
    ask_driver : callable
        `examine_driver`.
    """
    driver = ask_driver() if backend in GPU_BACKENDS else None
    module = RTX_MODULE if (backend, flavour) == ("tensorrt", "rtx") else MODULES[backend]
    missing = _missing(backend, module, driver)
    devices = ("cpu",) if driver is None else tuple(str(device) for device in driver.devices)
    return Probe(
        backend=backend,
        available=missing is None,
        reason=missing or f"{module} is installed",
        devices=devices if missing is None else (),
        install=INSTALL["rtx" if module == RTX_MODULE else backend],
    )


def is_installed(module: str) -> bool:
    """Return whether a module can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a parent that is no package; a module set to None
        return False


def _missing(backend: str, module: str, driver: Driver | None) -> str | None:
    if not is_installed(module):
        return f"{module} is not installed"
    if driver is None:
        return None
    if driver.fault is not None:
        return driver.fault
    if backend in _PROVIDERS:
        return provider_fault(_PROVIDERS[backend], driver)
    if not is_installed("cuda.bindings"):
        return "cuda-bindings is not installed"
    return None if is_installed("onnx") else "onnx is not installed"
