"""Files that are written whole or not at all."""

import hashlib
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tagstack.configs.errors import TagstackError

# What a killed process leaves behind starts so, and nothing else does.
TEMPORARY = ".tagstack-tmp-"


@contextmanager
def written_whole(target: Path, *, label: str = "") -> Iterator[Path]:
    """Yield a temporary path beside ``target`` that replaces it when the block ends well.

    The bytes reach the disk before the rename, so that a crash leaves the old file or the new
    one. If the block raises, ``target`` stays as it was and the temporary file is removed.

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
        temporary, mode = _reserve(target, label)
        try:
            yield temporary
            _flush_to_disk(temporary)
            temporary.chmod(mode)  # a writer may have put another file in its place
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        msg = (
            f"Cannot write {target}: {error.strerror or error}. Nothing of it was written; "
            "mend that (space, permissions) and run the same command again."
        )
        raise TagstackError(msg) from error


def write_text(target: Path, text: str) -> None:
    r"""Write ``text`` to ``target`` in UTF-8, whole or not at all.

    Bytes of file names that are not UTF-8 are written as escapes (``\udcff``), which JSON reads
    back as they were.
    """
    with written_whole(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def remove_leftovers(folder: Path, *, below: bool = False, label: str = "") -> None:
    """Delete what a killed writer left in ``folder``; the caller is its only writer.

    Parameters
    ----------
    folder : Path
    below : bool
        Look into the folders below, too.
    label : str
        Only files of this label, whose only writer the caller is; by default all.
    """
    pattern = f"{TEMPORARY}{label}*"
    for path in folder.rglob(pattern) if below else folder.glob(pattern):
        if not path.is_dir():
            path.unlink(missing_ok=True)
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


def _reserve(target: Path, label: str) -> tuple[Path, int]:
    """Make an empty file beside the target; return it with the mode that the system gave it."""
    target.parent.mkdir(parents=True, exist_ok=True)
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
        try:
            return temporary, stat.S_IMODE(os.fstat(handle).st_mode)
        finally:
            os.close(handle)


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
