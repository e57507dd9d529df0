"""The user's cache folder: what can be made again at any time, and nothing that is missed."""

import os
from pathlib import Path


def cache_root(folder: str = "") -> Path:
    """Return the folder of engines, prepared models, parity reports and notes of checks.

    Parameters
    ----------
    folder : str
        What the settings name (``score.engines.folder``); by default ``$TAGSTACK_HOME/cache``,
        else ``tagstack`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Raises
    ------
    RuntimeError
        If nothing names a folder and the user has no home.
    """
    if folder:
        return Path(folder)
    home = os.environ.get("TAGSTACK_HOME")
    if home:
        return Path(home) / "cache"
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tagstack"
