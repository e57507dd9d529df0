"""Where XGBoost trains: the processor, or an NVIDIA GPU that is really there.

XGBoost itself falls back to the CPU with a warning; here what was asked for and cannot be had is an
error. LightGBM trains on the CPU: its published wheels hold no CUDA code.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from tagstack.base_models.libraries import library
from tagstack.base_models.runtimes.driver import Driver, examine_driver
from tagstack.configs.errors import TagstackError

Device = Literal["cpu", "cuda"]


def check_device(
    device: Device,
    *,
    examine: Callable[[], Driver] = examine_driver,
    build: Mapping[str, Any] | None = None,
) -> None:
    """Refuse a device that XGBoost could not train on.

    Parameters
    ----------
    device : {"cpu", "cuda"}
    examine : callable
        Asks the driver.
    build : mapping, optional
        How XGBoost was built, as `xgboost.build_info` says; asked for when not given.

    Raises
    ------
    TagstackError
        If XGBoost was built without CUDA, or the driver finds no GPU.
    """
    if device == "cpu":
        return
    if build is None:
        xgboost = library("xgboost")

        build = xgboost.build_info()
    if not build.get("USE_CUDA"):
        msg = (
            "stack.device = 'cuda', but this XGBoost was built without CUDA. Install the extra "
            "that has it (pip install 'tagstack[gpu]' instead of 'tagstack[cpu]', after pip "
            "uninstall xgboost-cpu), or set stack.device = 'cpu'."
        )
        raise TagstackError(msg)
    driver = examine()
    if not driver.devices:
        msg = (
            f"stack.device = 'cuda', but there is no usable GPU: {driver.fault}. Mend that, or set "
            "stack.device = 'cpu'."
        )
        raise TagstackError(msg)
