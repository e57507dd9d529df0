"""Locks between processes, on any system; the operating system frees one with its process.

The lock file stays where it is, and names in it the process that holds it. It is never followed:
a link, or a file that has another name elsewhere, may come from a folder that someone else packed,
and what it leads to must not be touched.
"""

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tagstack.configs.errors import TagstackError

if TYPE_CHECKING:
    from filelock import FileLock

# Windows lets nobody read the byte that is locked, which is the first.
_OWNER_AT, _OWNER_BYTES = 1, 20
_LOOK_AGAIN_S = 0.1


class ProcessLock:
    """A lock that one holder has at a time, in this process or another.

    Parameters
    ----------
    path : Path
        The lock file, made where there is none; its folder must be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: FileLock | None = None

    def take(self, *, wait_s: float = 0.0) -> bool:
        """Take the lock and return True; return False if another holds it.

        Parameters
        ----------
        wait_s : float
            Seconds that another may take to let go; without an end where it is infinite.

        Raises
        ------
        TagstackError
            If the lock file is not a plain file.
        OSError
            If the system refuses to open or lock it.
        """
        from filelock import FileLock, Timeout

        self._check()
        lock = FileLock(self.path, thread_local=False)
        try:
            lock.acquire(timeout=-1 if wait_s == math.inf else wait_s, poll_interval=_LOOK_AGAIN_S)
        except Timeout:
            return False
        self._lock = lock
        self._sign()
        return True

    def owner(self) -> str:
        """Return the number of the process that holds the lock or held it last, or "unknown"."""
        try:
            with os.fdopen(_opened(self.path, os.O_RDONLY), "rb") as file:
                file.seek(_OWNER_AT)
                noted = file.read(_OWNER_BYTES).strip()
        except OSError:
            noted = b""
        return noted.decode("ascii") if noted.isdigit() else "unknown"

    def release(self) -> None:
        """Let go, in whatever thread; without effect where the lock is not held."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _check(self) -> None:
        try:
            facts = self.path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
            msg = (
                f"The lock {self.path} is a link or no plain file; expected one of its own. "
                "Nothing was written through it; delete it and run the same command again."
            )
            raise TagstackError(msg)

    def _sign(self) -> None:
        # Who holds the lock is a courtesy of the message; a full disk must not cost the lock.
        with suppress(OSError), os.fdopen(_opened(self.path, os.O_RDWR), "r+b") as file:
            file.seek(_OWNER_AT)
            file.write(f"{os.getpid():<{_OWNER_BYTES}}".encode())


@contextmanager
def waited_for(path: Path) -> Iterator[None]:
    """Hold the lock of a file, after waiting for whoever else does; see `ProcessLock`."""
    lock = ProcessLock(path)
    lock.take(wait_s=math.inf)
    try:
        yield
    finally:
        lock.release()


def remove_unheld(path: Path) -> bool:
    """Delete a lock file unless somebody holds it; return whether it is gone.

    Only where nobody can be about to take it: who has opened it already would lock a file without
    a name, beside whoever makes a new one.
    """
    lock = ProcessLock(path)
    with suppress(TagstackError, OSError):
        if lock.take():
            path.unlink(missing_ok=True)
            lock.release()
            return True
    return False


def _opened(path: Path, flags: int) -> int:
    binary, same = getattr(os, "O_BINARY", 0), getattr(os, "O_NOFOLLOW", 0)
    return os.open(path, flags | binary | same)
