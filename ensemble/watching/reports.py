"""What the system reports of a folder, by the package watchfiles."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tagstack.base_models.scoring.sources import is_of_system
from tagstack.configs.errors import TagstackError


def reported_changes(folder: Path, every_s: float) -> Iterator[set[str]]:
    """Yield the paths below a folder to which something happened; an empty set where nothing did.

    Parameters
    ----------
    folder : Path
        Absolute.
    every_s : float
        The longest time between two sets, in seconds.

    Raises
    ------
    TagstackError
        If the extra is not installed, or the system will not watch the folder.
    """
    try:
        from watchfiles import watch
    except ImportError as error:
        msg = f"Watching a folder needs an extra ({error}): pip install 'tagstack[watch]'."
        raise TagstackError(msg) from error
    reports = watch(
        folder,
        watch_filter=None,
        rust_timeout=max(1, int(every_s * 1000)),
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )
    try:
        for changes in reports:
            yield {path for _, path in changes}
    except OSError as error:  # the limit of watches, most of all
        msg = (
            f"The system will not watch {folder}: {error}. Raise fs.inotify.max_user_watches, or "
            "set WATCHFILES_FORCE_POLLING=true."
        )
        raise TagstackError(msg) from error


def matters(path: str, folder: Path, out: Path, extensions: Sequence[str]) -> bool:
    """Return whether what happened to a path may be about a picture: one, a folder, or one gone.

    What lies in the output folder, and what runs never look at, is none of it.
    """
    below = os.path.relpath(path, folder)
    if below.startswith("..") or any(
        map(is_of_system, below.split(os.sep)) if below != "." else ()
    ):
        return False
    if out != folder and out.is_relative_to(folder) and Path(path).is_relative_to(out):
        return False
    return path.lower().endswith(tuple(extensions)) or not os.path.isfile(path)
