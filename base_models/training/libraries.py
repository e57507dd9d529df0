"""What training needs beside tagstack: torch always, timm for architectures that are not built in.

No other module of this room but those with networks in them imports torch, so that all of tagstack
works without it.
"""

import importlib
import re
import sys
from typing import Any

from tagstack.configs.errors import TagstackError

_MISSING = re.compile(r"operator (torchvision::\w+) does not exist")
_MOST_OPERATORS = 50
_ADVICE = 'Run: pip install "tagstack[train]"'


def require_torch() -> None:
    """Refuse to go on without torch and what exports its networks.

    Raises
    ------
    TagstackError
        Names the missing package and what to install.
    """
    for name in ("torch", "onnx", "onnxscript"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            msg = f"Training needs the package {name}, which is not installed. {_ADVICE}."
            raise TagstackError(msg) from error


def timm_library() -> Any:
    """Return timm, imported.

    Raises
    ------
    TagstackError
        If it is not installed or cannot be imported.
    """
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        msg = f"This architecture needs the package timm, which is not there. {_ADVICE}."
        raise TagstackError(msg) from error
    except RuntimeError:
        return _without_operators()


def _without_operators() -> Any:
    """Return timm beside a torchvision that was built for another torch.

    timm imports torchvision for its transforms alone. Where torchvision's compiled operators do not
    load, its import fails on each that it describes; nothing here calls one, so a declaration does.
    """
    import torch

    fault = ""
    for _ in range(_MOST_OPERATORS):
        for name in [name for name in sys.modules if name.split(".")[0] in ("timm", "torchvision")]:
            del sys.modules[name]
        try:
            return importlib.import_module("timm")
        except (ImportError, RuntimeError) as error:
            fault = str(error).splitlines()[0]
            missing = _MISSING.search(fault)
            if missing is None:
                break
            torch.library.define(missing[1], "(Tensor a) -> Tensor")
    msg = (
        f"timm cannot be imported: {fault}. torch and torchvision must be of one build; install "
        "both from one index, such as https://download.pytorch.org/whl/cpu."
    )
    raise TagstackError(msg)
