"""Files that were fetched, kept on this machine within a bound, the oldest given up first."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tagstack.base_models.atomic import TEMPORARY, written_whole
from tagstack.base_models.user_cache import cache_root

_PRUNED_TO = 0.9  # of the bound, so that not every file prunes


def pictures_folder() -> Path:
    """Return where pictures from elsewhere are kept."""
    return cache_root() / "remote" / "pictures"


class FileCache:
    """A folder of fetched files, found by what they are; processes may share it.

    Parameters
    ----------
    folder : Path
    max_bytes : int
        Together; what is beyond it is deleted, least recently used first.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max = folder, max_bytes
        self._fresh = 0

    def get(self, key: str, fetch: Callable[[], bytes]) -> bytes:
        """Return the bytes of a key, from the folder or from ``fetch``.

        A disk that takes nothing costs the cache, not the file.
        """
        path = self._path(key)
        with suppress(OSError):
            data = path.read_bytes()
            os.utime(path)
            return data
        data = fetch()
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if len(data) <= self._max:
                with written_whole(path) as temporary:
                    temporary.write_bytes(data)
                self._added(len(data))
        return data

    def forget(self, key: str) -> None:
        """Delete what is kept of a key."""
        self._path(key).unlink(missing_ok=True)

    def prune(self) -> None:
        """Delete the least recently used files beyond the bound."""
        found = []
        for path in self._folder.rglob("*"):
            with suppress(OSError):
                facts = path.stat()
                if path.is_file() and not path.name.startswith(TEMPORARY):
                    found.append((facts.st_mtime_ns, facts.st_size, path))
        total = sum(size for _, size, _ in found)
        if total <= self._max:
            return
        for _, size, path in sorted(found):
            path.unlink(missing_ok=True)
            total -= size
            if total <= self._max * _PRUNED_TO:
                return

    def _added(self, n_bytes: int) -> None:
        self._fresh += n_bytes
        if self._fresh > self._max * (1 - _PRUNED_TO):
            self._fresh = 0
            self.prune()

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        return self._folder / name[:2] / name
