"""Whether this processor multiplies in bf16, which scores in about half the time.

Linux names the instructions; OpenVINO, which alone runs them here, is asked where it is loaded
anyway. A processor that hides its flags, as in some containers, counts as one without.
"""

from pathlib import Path

from tagstack.base_models.runtimes.openvino_library import openvino_library
from tagstack.base_models.runtimes.probing import INSTALL, is_installed

_CPUINFO = Path("/proc/cpuinfo")
_FLAGS = ("amx_bf16", "avx512_bf16")


def bf16_units(cpuinfo: Path = _CPUINFO) -> tuple[str, ...]:
    """Return the processor's instructions for bf16 as Linux names them; empty where unknown."""
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as stream:
            line = next((line for line in stream if line.startswith("flags")), "")
    except OSError:  # not Linux, or hidden
        return ()
    found = set(line.partition(":")[2].split())
    return tuple(flag for flag in _FLAGS if flag in found)


def openvino_takes_bf16() -> bool:
    """Return whether OpenVINO is installed and says that this processor has bf16."""
    if not is_installed("openvino"):
        return False
    try:
        core = openvino_library().Core()
        return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except (ImportError, RuntimeError):  # a wheel that does not fit the machine
        return False


def bf16_advice(units: tuple[str, ...]) -> str:
    """Return how to score in bf16, what that gains and costs, for a processor with ``units``."""
    first = "" if is_installed("openvino") else f" Install it with: {INSTALL['openvino']}"
    return (
        f"This processor has bf16 units ({', '.join(units)}): --backend openvino --precision bf16 "
        "scores large networks in about half the time, and about 1 % of the tags change. Choose "
        f"before fitting, since a bundle keeps its precision.{first}"
    )
