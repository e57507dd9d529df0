"""Folders that appear whole or not at all, and what killed runs left of them.

A folder is made in a staging folder beside its place, and moved there when it is complete. The
staging folder is named after its target and holds a lock for as long as its run lives, so that the
next run for the same target can tell a dead one, puts back what that had moved aside, and removes
the rest.
"""

import ctypes
import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tagstack.base_models.atomic import TEMPORARY
from tagstack.base_models.locks import ProcessLock
from tagstack.configs.errors import TagstackError

_LOCK, _NEW, _OLD = "lock", "new", "old"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fs.h


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``target`` when the block ends well.

    A folder that is there already is replaced: in one step where the system can exchange two
    folders, else by way of the staging folder, from which `recover` puts it back after a kill. If
    the block raises, ``target`` stays as it was.

    Parameters
    ----------
    target : Path
        Its parent is made where there is none.

    Raises
    ------
    OSError
        If the system refuses to write.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
    staging, lock = _begun(target)
    try:
        new = staging / _NEW
        new.mkdir()
        yield new
        _flush(new)
        _put(new, target, staging / _OLD)
    finally:
        lock.release()
        shutil.rmtree(staging, ignore_errors=True)


def recover(target: Path) -> None:
    """Put back what a killed run had moved aside of ``target``, and remove what it left."""
    for staging in target.parent.glob(f"{_prefix(target)}*"):
        lock = ProcessLock(staging / _LOCK)
        with suppress(OSError, TagstackError):
            if not lock.take():
                continue  # its run is alive
            try:
                if (staging / _OLD).exists() and not os.path.lexists(target):
                    (staging / _OLD).rename(target)
            finally:
                lock.release()
            shutil.rmtree(staging, ignore_errors=True)


def _begun(target: Path) -> tuple[Path, ProcessLock]:
    """Return a new staging folder and its lock, which is held."""
    while True:
        staging = target.parent / f"{_prefix(target)}{secrets.token_hex(4)}"
        staging.mkdir()
        lock = ProcessLock(staging / _LOCK)
        with suppress(FileNotFoundError):
            # Between the two lines above, another run may have taken it for a dead one's.
            if lock.take() and (staging / _LOCK).exists():
                return staging, lock
        lock.release()


def _prefix(target: Path) -> str:
    # A long name leaves no room for additions, so the staging name does not contain it.
    return f"{TEMPORARY}{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]}-"


def _put(new: Path, target: Path, old: Path) -> None:
    if not os.path.lexists(target):
        new.rename(target)
    elif not _exchanged(new, target):
        target.rename(old)
        new.rename(target)


def _exchanged(first: Path, second: Path) -> bool:
    """Exchange two folders in one step and return True; False where the system cannot."""
    if sys.platform != "linux":
        return False
    try:
        exchange = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    paths = (os.fsencode(first), os.fsencode(second))
    return bool(exchange(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0)


def _flush(folder: Path) -> None:
    """Let every file reach the disk, so that a crash leaves the old folder or the whole new one."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())
