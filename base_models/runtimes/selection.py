"""Which backend runs a model: as asked for, or what is installed.

A backend that is asked for and missing is an error with the command that installs it; nothing
falls back in silence. What ``auto`` took is logged and stands in the session's info.
"""

import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path

from tagstack.base_models.contract import Contract
from tagstack.base_models.runtimes.base import Session
from tagstack.configs.errors import TagstackError
from tagstack.configs.level1 import ScoreSettings

logger = logging.getLogger(__name__)

_INSTALL = {
    "ort": "pip install 'tagstack[cpu]'",
    "openvino": "pip install 'tagstack[openvino]'",
}
_MODULES = {"ort": "onnxruntime", "openvino": "openvino"}
_PRECISIONS = {"ort": ("fp32",), "openvino": ("fp32", "bf16")}


@dataclass(frozen=True, kw_only=True)
class RuntimeChoice:
    """A backend (``ort``, ``openvino`` or ``auto``) and a precision (``fp32`` or ``bf16``)."""

    backend: str
    precision: str

    @classmethod
    def of_settings(cls, settings: ScoreSettings) -> "RuntimeChoice":
        """Return what the settings ask for."""
        return cls(backend=settings.backend, precision=settings.precision)


# What every installation has, and what the others are compared with.
REFERENCE = RuntimeChoice(backend="ort", precision="fp32")


def open_session(path: Path, contract: Contract, choice: RuntimeChoice, *, threads: int) -> Session:
    """Return a model, loaded in the backend that was chosen.

    Parameters
    ----------
    path : Path
        The model file.
    contract : Contract
    choice : RuntimeChoice
    threads : int
        Images that run side by side, at least 1.

    Raises
    ------
    TagstackError
        If the backend is not installed or does not compute in that precision, or the model cannot
        be loaded or contradicts the contract.
    """
    backend = chosen_backend(choice)
    if choice.precision not in _PRECISIONS[backend]:
        msg = (
            f"score.precision = {choice.precision!r} is none of {list(_PRECISIONS[backend])}, "
            f'which {backend} computes in. Set score.backend = "openvino" or score.precision = '
            f'"fp32".'
        )
        raise TagstackError(msg)
    if backend == "openvino":
        from tagstack.base_models.runtimes.openvino import OpenvinoSession

        return OpenvinoSession(path, contract, threads=threads, precision=choice.precision)
    from tagstack.base_models.runtimes.ort import OrtCpuSession

    return OrtCpuSession(path, contract, threads=threads)


def chosen_backend(choice: RuntimeChoice) -> str:
    """Return the backend for a choice: ``"auto"`` takes OpenVINO where it is installed.

    Raises
    ------
    TagstackError
        If it is not installed.
    """
    if choice.backend == "auto":
        found = "openvino" if _installed("openvino") else "ort"
        logger.info("score.backend = auto: %s; openvino is taken where installed", found)
        return found
    if not _installed(choice.backend):
        msg = (
            f"score.backend = {choice.backend!r}, but {_MODULES[choice.backend]} is not installed. "
            f"Run: {_INSTALL[choice.backend]}"
        )
        raise TagstackError(msg)
    return choice.backend


def _installed(backend: str) -> bool:
    return importlib.util.find_spec(_MODULES[backend]) is not None
