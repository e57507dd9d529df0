"""The lock that lets one process at a time write to a score store."""

import fcntl
import os
from pathlib import Path

from tagstack.configs.errors import TagstackError


def locked(path: Path) -> int:
    """Return an open file that holds the store's lock; the system frees it with the process.

    Raises
    ------
    TagstackError
        If another process holds it; the message names that process.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.read(handle, 32).decode("ascii", "replace").strip()
        os.close(handle)
        msg = (
            f"The score store {path.parent} is being written by process {owner or 'unknown'}. "
            f"Wait for it to end, or use another folder."
        )
        raise TagstackError(msg) from error
    os.truncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle
