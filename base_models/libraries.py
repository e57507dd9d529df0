"""Packages that may be installed and not load, and what to say of one that does not.

A wheel takes some libraries from the system: LightGBM's wants libgomp.so.1, which slim images lack.
Whatever such a package raises when it is imported is told in one line with what to install, and is
never taken for a fault of the files that it was to read.
"""

import re
from importlib import import_module
from typing import Any

from tagstack.configs.errors import TagstackError

INSTALL = "pip install 'tagstack[cpu]' (or 'tagstack[gpu]')"
_MOST_CHARACTERS = 200
_SHARED = re.compile(r"\b(lib[\w.+-]*\.so[.\d]*)")
_PACKAGES = {"libgomp.so.1": "libgomp1 (Debian, Ubuntu) or libgomp (Fedora)"}


def library(name: str) -> Any:
    """Return a package of others, imported.

    Parameters
    ----------
    name : str
        Of its module.

    Raises
    ------
    TagstackError
        If it is not installed or does not load; says what to install.
    """
    try:
        return import_module(name)
    except Exception as error:  # a broken package raises whatever it likes
        raise library_fault(name, error) from error


def library_fault(name: str, error: Exception) -> TagstackError:
    """Return what to tell the user of a package whose import raised ``error``."""
    if isinstance(error, ModuleNotFoundError) and error.name == name:
        return TagstackError(f"{name} is not installed. Run: {INSTALL}.")
    return TagstackError(f"{name} is installed but does not load ({reason(error)}). {mend(error)}.")


def reason(error: BaseException) -> str:
    """Return an exception as one line of at most 200 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:_MOST_CHARACTERS]


def mend(error: BaseException) -> str:
    """Return what to do about a package that raised ``error`` when it was imported."""
    missing = _SHARED.search(str(error))
    if missing is None:
        return f"Install it anew: {INSTALL}"
    named = _PACKAGES.get(missing[1], f"the package that has {missing[1]}")
    return f"It needs {missing[1]} of the system: install {named}, or mend that file"
