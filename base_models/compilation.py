"""Compiling functions with numba, an extra; nothing else imports it.

Whatever has compiled code asks `can_compile` first, once loading it pays: a numba that is not
installed, or is installed and does not import (another numpy, a missing library), then costs time
and no result. A setting that asks for compiled code goes through `require_numba` and gets an error.

Compiled code is kept on disk beside the module, or in the user's cache folder where that cannot be
written, so that only the first run on a machine waits for the compiler. Of processes that begin
together one compiles a function, and the others wait for what it keeps. Numba keeps a function's
code until *its* file changes: a kernel must not call a kernel of another file.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from tagstack.base_models.libraries import reason
from tagstack.base_models.locks import ProcessLock
from tagstack.configs.errors import TagstackError

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

_LONGEST_S = 120.0  # that the dearest function compiles, and then some: longer, nobody waits


def can_compile() -> bool:
    """Return whether numba works; this imports it, which takes a good half second."""
    return numba_fault() is None


def numba_fault() -> str | None:
    """Return why numba cannot be used, None if it can."""
    if find_spec("numba") is None:
        return "is not installed. Install tagstack[fast]"
    why = _import_fault()
    if why is None:
        return None
    return f"is installed but does not import ({why}). Install tagstack[fast] anew"


@cache
def _import_fault() -> str | None:
    try:
        import_module("numba")
    except Exception as error:  # a broken package raises whatever it likes
        why = reason(error)
        logger.warning(
            "numba is installed but does not import (%s): slower code does its work, with the same "
            "results. Install tagstack[fast] anew, or uninstall numba.",
            why,
        )
        return why
    return None


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
        If it is not installed or does not import.
    """
    fault = numba_fault()
    if fault is not None:
        msg = (
            f"{setting} is '{value}', but numba {fault}, or set {setting} to {instead}: the {same} "
            "are the same."
        )
        raise TagstackError(msg)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function compiled for this processor, for one thread and exact arithmetic.

    Dividing by zero gives infinity or NaN, as in numpy: a check would keep loops from running on
    several values at once. Only Python calls it; what compiled code calls is a `compiled_part`.
    """
    from numba import njit

    try:
        kernel: Any = njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no folder for the cache can be written: compile anew in each process
        plain: Callable[P, R] = njit(nogil=True, error_model="numpy")(function)
        return plain
    return function if kernel is function else _compiled_once(function, kernel)


def _compiled_once(function: Callable[P, R], kernel: Any) -> Callable[P, R]:
    """Return a kernel whose first call looks on disk, and compiles, while no other process does."""
    from numba import typeof

    place = Path(kernel.stats.cache_path)
    lock = place / f"{function.__module__.rpartition('.')[2]}.{function.__name__}.lock"
    ready = False

    @wraps(function)
    def call(*arguments: P.args, **_: P.kwargs) -> R:
        nonlocal ready
        if not ready:
            with _turn(lock):
                kernel.compile(tuple(typeof(argument) for argument in arguments))
            ready = True
        result: R = kernel(*arguments)
        return result

    return call


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Hold a lock for a while; go without where it is not to be had, which costs time alone."""
    lock = ProcessLock(path)
    with suppress(TagstackError, OSError, NotImplementedError):
        lock.take(wait_s=_LONGEST_S)
    try:
        yield
    finally:
        lock.release()


def compiled_part(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that `compiled` functions of its file call, and nobody else can.

    It has nothing that Python could call it by and is kept only as a part of its callers: a third
    of the time that the compiler takes.
    """
    from numba import njit

    alone: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # numba's types lack them
    part: Callable[P, R] = njit(nogil=True, error_model="numpy", **alone)(function)
    return part
