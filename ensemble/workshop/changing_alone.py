"""One run at a time changes the captions and pictures of a folder, and of all folders in it.

Each run takes its own folder's lock first and then looks at those above and below, so that of two
runs that meet, at least one sees the other.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagstack.base_models.locks import ProcessLock
from tagstack.configs.errors import TagstackError

LOCK = ".tagstack-changes.lock"  # stays in the folder: to remove it would let two hold it
# Who only looks holds another's lock for a moment: a second one who looks must outwait that.
_LOOK_S = 1.0


@contextmanager
def changing_alone(folder: Path, *, changes: bool = True) -> Iterator[None]:
    """Be the only one who changes files in a folder; without ``changes`` nobody is kept out.

    Two runs at once would each read what the other is about to write, and the undo file of one
    would bring back what the other had done. A folder above or below has the same files.

    Parameters
    ----------
    folder : Path
    changes : bool
        Whether files will change at all.

    Raises
    ------
    TagstackError
        If another run is changing the folder, one above or one below, or a lock cannot be taken.
    """
    if not changes:
        yield
        return
    own = ProcessLock(folder / LOCK)
    _take(own, 0.0)
    try:
        for path in _related(folder):
            other = ProcessLock(path)
            _take(other, _LOOK_S)
            other.release()
        yield
    finally:
        own.release()


def _related(folder: Path) -> Iterator[Path]:
    """Yield the locks that are in the folders above and below."""
    real = Path(os.path.realpath(folder))
    yield from (path for above in real.parents if (path := above / LOCK).is_file())
    for below, _, files in os.walk(real):
        if LOCK in files and Path(below) != real:
            yield Path(below) / LOCK


def _take(lock: ProcessLock, wait_s: float) -> None:
    try:
        free = lock.take(wait_s=wait_s)
    except OSError as error:
        msg = (
            f"Cannot take the lock {lock.path}: {error.strerror or error}. Nothing was changed; "
            "mend that (space, permissions) and run the same command again."
        )
        raise TagstackError(msg) from error
    if not free:
        msg = (
            f"Another run (process {lock.owner()}) is changing the files of {lock.path.parent}; "
            "expected one at a time in a folder and those in it. Nothing was changed; run the same "
            "command again when it has ended."
        )
        raise TagstackError(msg)
