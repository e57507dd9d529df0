"""Compiling functions with numba, an extra; nothing else imports it.

Compiled code is kept on disk beside the module, or in the user's cache folder where that cannot be
written, so that only the first run on a machine waits for the compiler. Numba keeps a function's
code until *its* file changes: a kernel must not call a kernel of another file.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import ParamSpec, TypeVar

from tagstack.configs.errors import TagstackError

P = ParamSpec("P")
R = TypeVar("R")


def can_compile() -> bool:
    """Return whether numba is installed."""
    return find_spec("numba") is not None


def require_numba(setting: str, value: str, *, instead: str, same: str) -> None:
    """Check that numba is there.

    Parameters
    ----------
    setting, value : str
        The setting that asks for it.
    instead : str
        Values that do without.
    same : str
        What those do not change.

    Raises
    ------
    TagstackError
        If it is not installed.
    """
    if not can_compile():
        msg = (
            f"{setting} is '{value}', but numba is not installed. Install tagstack[fast], or "
            f"set {setting} to {instead}: the {same} are the same."
        )
        raise TagstackError(msg)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function compiled for this processor, for one thread and exact arithmetic."""
    from numba import njit

    try:
        kernel: Callable[P, R] = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder for the cache can be written: compile anew in each process
        kernel = njit(nogil=True)(function)
    return kernel
