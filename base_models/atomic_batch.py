"""Many small files at once, each whole or not at all, for the price of one flush to the disk."""

import ctypes
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from tagstack.base_models.atomic import UNLOCKED
from tagstack.configs.errors import TagstackError


class AtomicBatch:
    """Files that are written beside their targets, flushed together, then moved into place.

    `write` any number of files, then `flush`, then `publish`. A crash before the end of `publish`
    leaves each target as it was or whole and new. Leaving the context removes what was not
    published.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "a.txt"
    >>> with AtomicBatch() as batch:
    ...     _ = batch.write(target, b"1girl")
    ...     batch.flush()
    ...     batch.publish()
    >>> target.read_text()
    '1girl'
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[Path, Path]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for temporary, _ in self._waiting:
            temporary.unlink(missing_ok=True)
        self._waiting.clear()

    def __len__(self) -> int:
        return len(self._waiting)

    def write(self, target: Path, content: bytes) -> os.stat_result:
        """Write a file beside its target; its size, time and inode will be the target's.

        Raises
        ------
        TagstackError
            If the system refuses to write: no space, no permission, a read-only disk.
        """
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            name = f"{UNLOCKED}{secrets.token_hex(8)}{target.suffix}"
            temporary = target.parent / name
            with temporary.open("xb") as stream:
                self._waiting.append((temporary, target))
                stream.write(content)
                stream.flush()
                return os.fstat(stream.fileno())
        except OSError as error:
            raise _refused(target, error) from error

    def flush(self) -> None:
        """Make sure that everything written is on the disk, by one call for each file system."""
        folders = {os.stat(temporary.parent).st_dev: temporary for temporary, _ in self._waiting}
        for temporary in folders.values():
            _sync_file_system(temporary)

    def publish(self) -> None:
        """Move every file to its target.

        Raises
        ------
        TagstackError
            If the system refuses; files before that one are in place.
        """
        while self._waiting:
            temporary, target = self._waiting[0]
            try:
                temporary.replace(target)
            except OSError as error:
                raise _refused(target, error) from error
            self._waiting.pop(0)


def remove_leftovers_in(folders: Iterable[Path]) -> None:
    """Delete what a killed batch left in folders, not in those below; the caller is alone there."""
    for folder in folders:
        for path in folder.glob(f"{UNLOCKED}*"):
            path.unlink(missing_ok=True)


def _refused(target: Path, error: OSError) -> TagstackError:
    return TagstackError(
        f"Cannot write {target}: {error.strerror or error}. Nothing of it was written; mend that "
        "(space, permissions) and run the same command again."
    )


def _sync_file_system(path: Path) -> None:
    """Flush the file system that holds a path; Python has no name for Linux's ``syncfs``."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if syncfs is None:
            os.sync()
        elif syncfs(handle):
            number = ctypes.get_errno()
            raise _refused(path, OSError(number, os.strerror(number)))
    finally:
        os.close(handle)
