"""The libraries behind ONNX Runtime's GPU providers: loaded before use, and tried apart.

The wheel's CUDA provider has no path to the CUDA libraries that were installed beside it, and
without them ONNX Runtime runs on the CPU after one line on stderr. Its list of providers names
what was compiled, not what loads. So the libraries are loaded first, and whether the provider then
starts is found out in a process of its own, which may crash and whose stderr says what is missing.

References
----------
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#preload-dlls
"""

import contextlib
import ctypes
import functools
import importlib
import importlib.util
import io
import logging
import re
import subprocess
import sys
from typing import Any

from tagstack.base_models.runtimes.driver import Driver
from tagstack.base_models.runtimes.faults import one_line

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "tagstack.base_models.runtimes.provider_libraries")
# A first start on a GPU takes 2 to 20 s, most of it for reading 2 GB of libraries.
TRIAL_SECONDS = 120.0
# ONNX Runtime's wheel is linked against this version, whatever TensorRT is newest.
TENSORRT_LIBRARY = "libnvinfer.so.10"
_TENSORRT = "TensorrtExecutionProvider"
_CUDNN = "libcudnn.so.9"  # opened at the first convolution, so no linker misses it
_REFUSED = 3
# y = x + x of one float, as an ONNX file of IR version 8 and opset 17.
_MODEL = bytes.fromhex(
    "080812003a350a0e0a01780a017812017922034164641201745a0f0a0178120a"
    "0a08080112040a020801620f0a0179120a0a08080112040a02080142040a001011"
)


def load_libraries(provider: str) -> None:
    """Load what a provider needs and the linker does not find; print and raise nothing.

    Only where the driver has answered (`driver`).

    Parameters
    ----------
    provider : str
        Such as ``"CUDAExecutionProvider"``.
    """
    preload = getattr(importlib.import_module("onnxruntime"), "preload_dlls", None)
    printed = io.StringIO()
    if preload is not None:
        with contextlib.redirect_stdout(printed), contextlib.suppress(OSError, RuntimeError):
            preload()
    for line in printed.getvalue().splitlines():
        logger.debug("onnxruntime.preload_dlls: %s", line)
    if provider == _TENSORRT:
        with contextlib.suppress(ImportError, OSError):
            importlib.import_module("tensorrt")  # its wheel loads the libraries that lie in it


def provider_fault(provider: str, driver: Driver) -> str | None:
    """Return why a provider does not start here, or None; never raises.

    Parameters
    ----------
    provider : str
    driver : Driver
        What the driver says; without a fault.
    """
    runtime = importlib.import_module("onnxruntime")
    known = runtime.get_available_providers()
    if provider not in known:
        return f"this build of onnxruntime has {known}, not {provider}"
    return _too_old(built_for(runtime), driver) or _tried(provider, COMMAND)


def built_for(runtime: Any) -> str | None:
    """Return the CUDA version that an ONNX Runtime was built with, such as ``"13.0"``."""
    version = getattr(runtime, "cuda_version", None)
    return str(version) if version else None


def _too_old(built: str | None, driver: Driver) -> str | None:
    """Compare CUDA versions: within one major version, libraries run on older drivers, too."""
    if built is None or driver.cuda_version is None or _major(built) <= _major(driver.cuda_version):
        return None
    return (
        f"onnxruntime was built with CUDA {built}, and the driver runs CUDA up to "
        f"{driver.cuda_version}: update the NVIDIA driver"
    )


def _major(version: str) -> int:
    return int(version.split(".")[0])


@functools.lru_cache
def _tried(provider: str, command: tuple[str, ...]) -> str | None:
    try:
        done = subprocess.run(
            [*command, provider],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{provider} did not start within {TRIAL_SECONDS:g} s"
    if done.returncode == 0:
        return None
    if done.returncode < 0:
        return f"{provider} crashed the process that started it (signal {-done.returncode})"
    return f"{provider} does not start: {_cause(done.stderr)}"


def _cause(stderr: str) -> str:
    """Return what an ONNX Runtime printed as the cause: the missing library, else the last line."""
    missing = re.search(r"\S+\.so[.\d]*: cannot open shared object file", stderr)
    if missing is not None:
        return missing.group(0)
    lines = stderr.strip().splitlines()
    return one_line(lines[-1] if lines else "no message")


def main(arguments: list[str]) -> int:
    """Start the provider that the arguments name and run a model of one node; an exit code."""
    (provider,) = arguments
    import numpy as np
    import onnxruntime

    load_libraries(provider)
    for library in (_CUDNN, *([TENSORRT_LIBRARY] if provider == _TENSORRT else [])):
        ctypes.CDLL(library)  # an OSError says which
    session = onnxruntime.InferenceSession(_MODEL, providers=[provider])
    used = session.get_providers()
    if used[:1] != [provider]:
        sys.stderr.write(f"ONNX Runtime uses {used} instead\n")
        return _REFUSED
    session.run(None, {"x": np.ones(1, np.float32)})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
