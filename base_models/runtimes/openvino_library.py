"""OpenVINO, imported without what would tell its makers of it.

Its Python package sends "imported" to a statistics server, with a number for the user that it keeps
in the home folder, where the package ``openvino_telemetry`` is there, which pip brings along.
OpenVINO does without it, with a stand-in of its own: so it is hidden while OpenVINO is imported.
"""

import importlib
import sys
from typing import Any

_TELEMETRY = "openvino_telemetry"


def openvino_library() -> Any:
    """Return the module ``openvino``.

    Raises
    ------
    ImportError
        If it is not installed or does not fit the machine.
    """
    if "openvino" in sys.modules or _TELEMETRY in sys.modules:  # the user's own doing
        return importlib.import_module("openvino")
    hidden: Any = sys.modules
    hidden[_TELEMETRY] = None  # as if it were not installed
    try:
        # Not an import statement: type checkers would ask for an extra that few have installed.
        return importlib.import_module("openvino")
    finally:
        del hidden[_TELEMETRY]
