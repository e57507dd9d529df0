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
    """
    if folder:
        return Path(folder)
    home = os.environ.get("TAGSTACK_HOME")
    if home:
        return Path(home) / "cache"
    base = os.environ.get("XDG_CACHE_HOME") or home_folder() / ".cache"
    return Path(base) / "tagstack"


def home_folder() -> Path:
    """Return the user's home; for a user without one, a place where nothing can be.

    What can be made again is then not kept, and what must be kept is refused with its place.
    """
    try:
        return Path.home()
    except RuntimeError:  # neither HOME nor an entry among the system's users
        return Path(os.devnull)
