"""The folder of engines: private, locked, written whole; bad files are set aside.

An engine is code that runs on the GPU with the user's rights, so the folder must belong to the
user alone (0700), nothing in it is ever downloaded, and a file is used only if its header and
SHA-256 are right. Two processes that want the same engine meet at a lock: one builds, the other
waits and loads.
"""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tagstack.base_models.atomic import TEMPORARY, remove_leftovers, write_text
from tagstack.base_models.locks import waited_for
from tagstack.base_models.runtimes.tensorrt.engine_file import (
    EngineHeader,
    StaleEngineError,
    read_engine,
    read_header,
    unfinished,
    write_engine,
)
from tagstack.configs.errors import TagstackError
from tagstack.configs.text_files import read_json

QUARANTINE = "quarantine"
_ENGINE, _TRIED, _REASON = ".engine", ".tried.json", ".reason.json"


@dataclass(frozen=True, kw_only=True)
class EngineEntry:
    """An engine file as `EngineCache.entries` finds it.

    Parameters
    ----------
    path : Path
    header : EngineHeader or None
        None if it cannot be read.
    size_bytes : int
    state : str
        ``"tried"``, ``"untried"``, or why it cannot be used.
    """

    path: Path
    header: EngineHeader | None
    size_bytes: int
    state: str


class EngineCache:
    """Engines under their keys.

    Parameters
    ----------
    folder : Path
        Created with mode 0700 if it is not there.

    Raises
    ------
    TagstackError
        If it cannot be made, or others may write or read there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            facts = folder.stat()
        except OSError as error:
            msg = f"Cannot use {folder} for engines: {error.strerror}. Set score.engines.folder."
            raise TagstackError(msg) from error
        mode = stat.S_IMODE(facts.st_mode)
        if mode & 0o077 or facts.st_uid != os.geteuid():
            msg = (
                f"{folder} has mode {mode:04o} and owner {facts.st_uid}; expected 0700 and yours, "
                f"because an engine is code that runs as you. Run: chmod 700 {folder}"
            )
            raise TagstackError(msg)

    def path(self, key: str) -> Path:
        """Return where the engine of a key lies or would lie."""
        return self.folder / f"{key}{_ENGINE}"

    def report_path(self, key: str) -> Path:
        """Return where the parity report of a key lies, beside the engine."""
        return self.folder / f"{key}.parity.json"

    def read(self, key: str) -> tuple[EngineHeader, bytes] | None:
        """Return the engine of a key, checked, or None.

        Raises
        ------
        StaleEngineError
            If there is one that must not be used.
        """
        path = self.path(key)
        return read_engine(path, key) if path.exists() else None

    def write(self, header: EngineHeader, plan: bytes) -> None:
        """Keep an engine; it counts as untried."""
        self._beside(header.key, _TRIED).unlink(missing_ok=True)
        self.report_path(header.key).unlink(missing_ok=True)
        write_engine(self.path(header.key), header, plan)

    def is_tried(self, header: EngineHeader) -> bool:
        """Return whether this very plan has been loaded before."""
        try:
            noted = read_json(self._beside(header.key, _TRIED))
        except TagstackError:
            return False
        return isinstance(noted, dict) and noted.get("plan_sha256") == header.plan_sha256

    def mark_tried(self, header: EngineHeader) -> None:
        """Note that this plan has been loaded without a fault."""
        text = json.dumps({"plan_sha256": header.plan_sha256})
        write_text(self._beside(header.key, _TRIED), text)

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold the lock of a key; waits while another process does."""
        with waited_for(self._beside(key, ".lock")):
            yield

    def quarantine(self, key: str, reason: str) -> Path:
        """Set a bad engine aside with the reason; return where it lies now."""
        place = self.folder / QUARANTINE
        place.mkdir(mode=0o700, exist_ok=True)
        number = len(list(place.glob(f"{key}-*{_ENGINE}")))
        target = place / f"{key}-{number}{_ENGINE}"
        self.path(key).replace(target)
        self._beside(key, _TRIED).unlink(missing_ok=True)
        content = {"reason": reason}
        write_text(target.with_suffix(_REASON), json.dumps(content, indent=1))
        return target

    def entries(self) -> tuple[EngineEntry, ...]:
        """Return every engine file, those set aside included, sorted by path."""
        found = sorted(self.folder.rglob(f"*{_ENGINE}"))
        return tuple(self._entry(path) for path in found if not path.name.startswith(TEMPORARY))

    def remove(self, entry: EngineEntry) -> None:
        """Delete an engine and what lies beside it."""
        stem = entry.path.name.removesuffix(_ENGINE)
        for path in entry.path.parent.glob(f"{stem}.*"):
            path.unlink(missing_ok=True)

    def drop_unfinished(self, key: str) -> None:
        """Delete what killed builds of a key left; only while its lock is held.

        Whoever wrote such a file held that lock, so it is not being written any more.
        """
        remove_leftovers(self.folder, label=unfinished(key))

    def sweep(self) -> None:
        """Delete what killed writers left; only while no other process builds."""
        remove_leftovers(self.folder, below=True)

    def _entry(self, path: Path) -> EngineEntry:
        header, state = None, "untried"
        try:
            header = read_header(path)
        except StaleEngineError as error:
            state = str(error)
        if path.parent.name == QUARANTINE:
            state = f"quarantine: {_noted_reason(path.with_suffix(_REASON))}"
        elif header is not None and self.is_tried(header):
            state = "tried"
        return EngineEntry(path=path, header=header, size_bytes=path.stat().st_size, state=state)

    def _beside(self, key: str, ending: str) -> Path:
        return self.folder / f"{key}{ending}"


def _noted_reason(path: Path) -> str:
    try:
        noted = read_json(path)
    except TagstackError:
        noted = None
    return str(noted.get("reason")) if isinstance(noted, dict) else "reason unknown"
