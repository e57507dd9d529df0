"""Files that are written whole or not at all, and what killed writers left of them.

A file is written under a temporary name beside its place, and moved there when it is complete. The
temporary file is locked for as long as its writer lives, so that the next one to write into that
folder can tell those of the dead, and removes them.
"""

import errno
import hashlib
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tagstack.configs.errors import TagstackError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# What a killed process leaves behind starts so, and nothing else does.
TEMPORARY = ".tagstack-tmp-"
UNLOCKED = f"{TEMPORARY}tag-"
"""How names begin of temporary files that no lock tells from those of the dead: there are many."""


@contextmanager
def written_whole(target: Path, *, label: str = "") -> Iterator[Path]:
    """Yield a temporary path beside ``target`` that replaces it when the block ends well.

    The bytes reach the disk before the rename, so that a crash leaves the old file or the new
    one. If the block raises, ``target`` stays as it was and the temporary file is removed. A device
    or a pipe (``/dev/null``, ``/dev/stdout``) is no file that another could stand for: the bytes go
    into it when they are complete.

    Parameters
    ----------
    target : Path
    label : str
        Part of the temporary name, by which `remove_leftovers` can tell it from others.

    Raises
    ------
    TagstackError
        If the system refuses to write: no space, no permission, a read-only disk.
    """
    try:
        if _is_stream(target):
            with _poured_into(target) as temporary:
                yield temporary
            return
        temporary, mode, lock = _reserve(target, label)
        try:
            yield temporary
            _flush_to_disk(temporary)
            temporary.chmod(mode)  # a writer may have put another file in its place
            temporary.replace(target)
        finally:
            if lock is not None:
                os.close(lock)
            temporary.unlink(missing_ok=True)
    except OSError as error:
        msg = (
            f"Cannot write {target}: {error.strerror or error}. Nothing of it was written; "
            "mend that (space, permissions) and run the same command again."
        )
        raise TagstackError(msg) from error


def _is_stream(target: Path) -> bool:
    """Return whether a path names a device, a pipe or one of a process's open files."""
    try:
        kind = target.stat().st_mode
    except OSError:
        return False
    if stat.S_ISREG(kind):
        # What /dev/stdout leads to may be a file; its own name is still not to be replaced.
        folder = os.path.realpath(target.parent)
        return folder == "/dev" or folder.startswith("/proc/")
    return not stat.S_ISDIR(kind)


@contextmanager
def _poured_into(stream: Path) -> Iterator[Path]:
    """Yield a temporary file whose bytes go into a stream when the block ends well."""
    with tempfile.TemporaryDirectory(prefix=TEMPORARY) as folder:
        temporary = Path(folder) / f"written{stream.suffix}"
        yield temporary
        with temporary.open("rb") as source, _opened_stream(stream) as sink:
            shutil.copyfileobj(source, sink)


def _opened_stream(stream: Path) -> IO[bytes]:
    """Open a stream for writing; a disk is none, and a pipe that nobody reads is not waited for."""
    kind = stream.stat().st_mode
    if stat.S_ISBLK(kind) or stat.S_ISSOCK(kind):
        raise OSError(errno.EINVAL, "it is no file")
    handle = os.open(stream, os.O_WRONLY | os.O_APPEND | _NO_WAIT)
    os.set_blocking(handle, True)
    return os.fdopen(handle, "wb")


def write_text(target: Path, text: str) -> None:
    r"""Write ``text`` to ``target`` in UTF-8, whole or not at all.

    Bytes of file names that are not UTF-8 are written as escapes (``\udcff``), which JSON reads
    back as they were.
    """
    with written_whole(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def remove_leftovers(folder: Path, *, below: bool = False, label: str = "") -> None:
    """Delete what killed writers left in ``folder``; what a living one has locked stays.

    What has no lock is deleted, so the caller is the only one who writes such files there.

    Parameters
    ----------
    folder : Path
    below : bool
        Look into the folders below, too.
    label : str
        Only files of this label; by default all.
    """
    pattern = f"{TEMPORARY}{label}*"
    for path in folder.rglob(pattern) if below else folder.glob(pattern):
        if not path.is_dir():
            _remove_unless_locked(path)
        elif not (path / "lock").exists():  # a staging folder is left to `staging.recover`
            shutil.rmtree(path, ignore_errors=True)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal.

    A file is read once in a process as long as the system says that nobody touched it.
    """
    with path.open("rb") as stream:
        state = _state(stream.fileno())
        known = _SUMS.get(state)
        if known is None:
            known = hashlib.file_digest(stream, "sha256").hexdigest()
            if state == _state(stream.fileno()) and _is_settled(state):
                _SUMS[state] = known
        return known


# Where a file lies, its size and when it was changed: its content (mtime) or anything (ctime).
_FileState = tuple[int, int, int, int, int]
_SUMS: dict[_FileState, str] = {}
# Two changes within one tick of the clock, 2 s on some disks, would look like one.
_SETTLED_NS = 3_000_000_000


def _state(handle: int) -> _FileState:
    facts = os.fstat(handle)
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _is_settled(state: _FileState) -> bool:
    return max(state[-2:]) < time.time_ns() - _SETTLED_NS


def _reserve(target: Path, label: str) -> tuple[Path, int, int | None]:
    """Make an empty file beside the target; return it, its mode, and what keeps it locked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep_once(target.parent)
    while True:
        # A long target name leaves no room for additions: the temporary name does not contain it.
        name = f"{TEMPORARY}{label}{secrets.token_hex(8)}{target.suffix}"
        temporary = target.parent / name
        try:
            # The mode comes from the umask at the very moment, which a process can only read by
            # changing it for all its threads.
            handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            continue
        mode, lock = stat.S_IMODE(os.fstat(handle).st_mode), _locked(handle)
        if lock is None:
            os.close(handle)
            return temporary, mode, None
        # Before it was locked, somebody may have taken it for a dead writer's.
        if lock and temporary.exists():
            return temporary, mode, handle
        os.close(handle)


def _sweep_once(folder: Path) -> None:
    """Delete what the dead left in a folder, when this process first writes there."""
    place = os.path.abspath(folder)
    if place in _SWEPT:
        return
    _SWEPT.add(place)
    with os.scandir(place) as entries:
        found = [Path(entry) for entry in entries if entry.name.startswith(TEMPORARY)]
    for path in found:
        if not path.is_dir() and not path.name.startswith(UNLOCKED):
            _remove_unless_locked(path, unsure=False)


_SWEPT: set[str] = set()


def _remove_unless_locked(path: Path, *, unsure: bool = True) -> None:
    """Delete a temporary file unless its writer lives; ``unsure``: also where locks say nothing."""
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY | _NO_FOLLOW | _NO_WAIT)
        try:
            state = _locked(handle)
            if state or (state is None and unsure):
                path.unlink(missing_ok=True)
        finally:
            os.close(handle)


_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # on a pipe


def _locked(handle: int) -> bool | None:
    """Lock an open file and return True, False if somebody else holds it, None without locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that has none
        return None
    return True


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
