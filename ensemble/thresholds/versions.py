"""Versions of a bundle's thresholds: immutable, each under its content's hash, one of them in use.

``thresholds/NNNN-HASH/`` holds a version's files and ``about.json`` with their SHA-256; HASH is
that of ``about.json``, so nothing in a version can change unnoticed. ``thresholds/history.json``
lists the versions in the order in which they came into use; the last one is in use. Version
``fit`` is what the bundle was fitted with. Folders are renamed into place whole and the history is
replaced whole: a reader sees the old state or the new one.
"""

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagstack.base_models.array_files import write_arrays
from tagstack.base_models.atomic import TEMPORARY, file_sha256, remove_leftovers, write_text
from tagstack.base_models.locks import ProcessLock
from tagstack.configs.errors import TagstackError
from tagstack.configs.own_files import own_path
from tagstack.configs.text_files import read_json
from tagstack.ensemble.thresholds.rung_tables import RungTables, checked_tables
from tagstack.ensemble.thresholds.table import Thresholds
from tagstack.meta.checked_arrays import CheckedArrays

FOLDER = "thresholds"
FIT = "fit"
_ABOUT, _TABLE, _RUNGS, _HISTORY = (
    "about.json",
    "thresholds.csv",
    "rung_thresholds.safetensors",
    "history.json",
)


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a bundle's thresholds.

    Parameters
    ----------
    name : str
        ``fit``, or a number and the beginning of a hash.
    about : mapping
        Where it came from: objective, images, options; empty for ``fit``.
    in_use : bool
    """

    name: str
    about: Mapping[str, Any]
    in_use: bool


class ThresholdVersions:
    """The versions of the bundle in a folder.

    Parameters
    ----------
    bundle : Path
    """

    def __init__(self, bundle: Path) -> None:
        self.bundle = bundle
        self.folder = bundle / FOLDER

    @property
    def current(self) -> str:
        """Name of the version in use.

        Raises
        ------
        TagstackError
            If the history cannot be read or names a version that is not there.
        """
        return self._history()[-1]

    def listed(self) -> tuple[Version, ...]:
        """Return every version, oldest first."""
        current = self.current
        return tuple(
            Version(name=name, about=self.about(name), in_use=name == current)
            for name in (FIT, *self._names())
        )

    def resolve(self, text: str) -> str:
        """Return the version that a name, its number or ``current`` means.

        Raises
        ------
        TagstackError
            If it means none, or several.
        """
        if text == "current":
            return self.current
        names = (FIT, *self._names())
        found = [n for n in names if n == text or n.split("-")[0].lstrip("0") == text.lstrip("0")]
        if text and len(found) == 1:
            return found[0]
        msg = f"{self.bundle} has no version {text!r} of thresholds; it has {list(names)}."
        raise TagstackError(msg)

    def about(self, name: str) -> Mapping[str, Any]:
        """Return where a version came from; its files are checked on the way."""
        return {} if name == FIT else self._checked(name)["about"]

    def thresholds(self, name: str) -> Thresholds:
        """Return a version's thresholds.

        Raises
        ------
        TagstackError
            If a file of it is missing or was changed.
        """
        if name == FIT:
            return Thresholds.from_csv(self.bundle / _TABLE)
        self._checked(name)
        return Thresholds.from_csv(self.folder / name / _TABLE)

    def rung_thresholds(self, name: str) -> RungTables | None:
        """Return every rung's thresholds of a version, shape (n_tags,) each, if it has any."""
        from safetensors.numpy import load_file

        if name == FIT or _RUNGS not in self._checked(name)["files"]:
            return None
        arrays = CheckedArrays(load_file(self.folder / name / _RUNGS), f"{name}/{_RUNGS}")
        return checked_tables(arrays, len(self.thresholds(name).vocabulary))

    def add(
        self,
        thresholds: Thresholds,
        about: Mapping[str, Any],
        rungs: RungTables | None = None,
    ) -> str:
        """Write a new version, put it in use and return its name.

        Raises
        ------
        TagstackError
            If the system refuses to write; then the version in use stays.
        """
        with self._locked(), self._written():
            remove_leftovers(self.folder)  # what a killed run left; the lock is ours
            staging = self.folder / f"{TEMPORARY}version"
            staging.mkdir()
            try:
                _write(staging, thresholds, about, rungs)
                name = f"{self._next():04d}-{file_sha256(staging / _ABOUT)[:12]}"
                staging.rename(self.folder / name)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
            self._put([*self._history(), name])
        return name

    def use(self, name: str) -> str:
        """Put a version in use and return the one that was in use before."""
        self.thresholds(name)  # a damaged one must not come into use
        with self._locked():
            history = self._history()
            if history[-1] != name:
                self._put([*history, name])
        return history[-1]

    def rollback(self) -> str:
        """Put the version in use that was so before the current one, and return it.

        Raises
        ------
        TagstackError
            If there was none.
        """
        with self._locked():
            history = self._history()
            if len(history) < 2:
                msg = f"{self.bundle} uses the thresholds of its fit; there is nothing before them."
                raise TagstackError(msg)
            self.thresholds(history[-2])
            self._put(history[:-1])
        return history[-2]

    def _names(self) -> tuple[str, ...]:
        if not self.folder.is_dir():
            return ()
        found = (path.name for path in self.folder.iterdir() if (path / _ABOUT).is_file())
        return tuple(sorted(name for name in found if not name.startswith(".")))

    def _next(self) -> int:
        return max((int(name.split("-")[0]) for name in self._names()), default=0) + 1

    def _history(self) -> list[str]:
        path = self.folder / _HISTORY
        if not path.exists():
            return [FIT]
        content = _read_object(path)
        names = content.get("history")
        if not isinstance(names, list) or not names or not set(names) <= {FIT, *self._names()}:
            msg = f"{path} is damaged or names a version that is not there. Copy the bundle again."
            raise TagstackError(msg)
        return list(names)

    def _put(self, history: list[str]) -> None:
        text = json.dumps({"history": history}, indent=1)
        write_text(self.folder / _HISTORY, text + "\n")

    def _checked(self, name: str) -> dict[str, Any]:
        """Return a version's about.json after checking every file of it."""
        folder = self.folder / name
        content = _read_object(folder / _ABOUT)
        right = file_sha256(folder / _ABOUT).startswith(name.split("-")[-1])
        if right:
            for name_inside, digest in content["files"].items():
                file = own_path(folder, name_inside, said_by=folder / _ABOUT)
                right &= file.is_file() and file_sha256(file) == digest
        if not right:
            msg = f"Thresholds {name} of {self.bundle} were changed or are incomplete. Use others."
            raise TagstackError(msg)
        return content

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one writer at a time change the versions; the system frees the lock."""
        lock = ProcessLock(self.folder / "lock")
        with self._written():
            self.folder.mkdir(exist_ok=True)
            lock.take(wait_s=math.inf)
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            msg = (
                f"Cannot write thresholds into {self.bundle}: {error.strerror or error}. "
                "The version in use stays."
            )
            raise TagstackError(msg) from error


def _write(
    folder: Path, thresholds: Thresholds, about: Mapping[str, Any], rungs: RungTables | None
) -> None:
    thresholds.to_csv(folder / _TABLE)
    if rungs is not None:
        write_arrays(folder / _RUNGS, rungs)
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    text = json.dumps({"about": dict(about), "files": files}, indent=1, allow_nan=False)
    write_text(folder / _ABOUT, text + "\n")


def _read_object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        msg = f"{path} is damaged. Copy the bundle again."
        raise TagstackError(msg)
    return content
