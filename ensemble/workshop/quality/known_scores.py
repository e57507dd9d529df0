"""Scores of pictures that are known already: in memory, or in a record beside a table.

The record is one SQLite file, read whole at the start and added to now and then; what it holds
outlives a killed run. A score is kept by the picture's content and by what its scorer is, so a
picture under another name, or twice, is scored once, and a changed scorer starts anew.
"""

import sqlite3
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tagstack.base_models.locks import ProcessLock
from tagstack.configs.errors import TagstackError
from tagstack.ensemble.outputs.written import FOLDER, SeenFile, digest, uncollected

_FORMAT = 1


class SeenPicture(NamedTuple):
    """A picture as it was looked at: where its name lies, what the file was, its content."""

    root: str
    seen: SeenFile
    sha256: str


class KnownScores:
    """Scores in memory.

    Attributes
    ----------
    pictures : dict of name to SeenPicture
    scorers : dict of name to fingerprint
        Of every scorer that was ever asked for, in order.
    """

    def __init__(self) -> None:
        self.pictures: dict[str, SeenPicture] = {}
        self.scorers: dict[str, str] = {}
        self._place: dict[bytes, int] = {}
        # By fingerprint: values by place, and which of them are known.
        self._values: dict[str, tuple[array[float], bytearray]] = {}

    def has(self, sha256: str, fingerprint: str) -> bool:
        """Return whether a scorer has looked at a content."""
        return self._known(bytes.fromhex(sha256), fingerprint) is not None

    def value(self, sha256: str, fingerprint: str) -> float:
        """Return a score; NaN where there is none."""
        found = self._known(bytes.fromhex(sha256), fingerprint)
        return float("nan") if found is None else found

    def add(self, name: str, picture: SeenPicture, values: Mapping[str, float]) -> None:
        """Take a picture in, and its scores by fingerprint."""
        self.pictures[name] = picture
        for fingerprint, value in values.items():
            self._put(bytes.fromhex(picture.sha256), fingerprint, value)

    def save(self) -> None:
        """Keep what was added; here there is nothing to do."""

    def _known(self, content: bytes, fingerprint: str) -> float | None:
        values, known = self._values.get(fingerprint, (array("d"), bytearray()))
        place = self._place.get(content, len(known))
        return values[place] if place < len(known) and known[place] else None

    def _put(self, content: bytes, fingerprint: str, value: float) -> None:
        place = self._place.setdefault(content, len(self._place))
        values, known = self._values.setdefault(fingerprint, (array("d"), bytearray()))
        missing = place + 1 - len(known)
        if missing > 0:
            values.extend([0.0] * missing)
            known.extend(bytes(missing))
        values[place], known[place] = value, 1


class ScoreRecord(KnownScores):
    """Scores beside a table; use it as a context manager, one process at a time.

    Parameters
    ----------
    table : Path
        The table that is made of it; the record lies in ``.tagstack`` beside it.

    Raises
    ------
    TagstackError
        On entering, if the folder cannot be written, or another process is at it.
    """

    def __init__(self, table: Path) -> None:
        super().__init__()
        name = f"quality-scores-{digest(table.name.encode('utf-8', 'surrogateescape'))[:16]}"
        self._path = table.parent / FOLDER / f"{name}.sqlite"
        self._lock = ProcessLock(self._path.with_suffix(".lock"))
        self._connection: sqlite3.Connection | None = None
        self._new_pictures: dict[str, SeenPicture] = {}
        self._new_values: list[tuple[bytes, bytes, float]] = []
        self._tables: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if not self._lock.take():
                msg = (
                    f"Process {self._lock.owner()} is scoring into the same table. Wait for it to "
                    "end, or name another table."
                )
                raise TagstackError(msg)
            self._connection = sqlite3.connect(self._path, isolation_level=None)
            with uncollected():
                self._read(self._connection)
        except (OSError, sqlite3.Error) as error:
            self._close()
            msg = (
                f"Cannot use the record {self._path}: {error}. Mend that (space, permissions), or "
                "delete it: then every picture is scored anew."
            )
            raise TagstackError(msg) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def add(self, name: str, picture: SeenPicture, values: Mapping[str, float]) -> None:
        """Take a picture in, and its scores by fingerprint; `save` keeps them."""
        if self.pictures.get(name) != picture:
            self._new_pictures[name] = picture
        super().add(name, picture, values)
        content = bytes.fromhex(picture.sha256)
        self._new_values += [(content, bytes.fromhex(key), v) for key, v in values.items()]

    def save(self) -> None:
        """Keep what was added; it is on the disk when this returns."""
        pictures = [
            (_bytes(name), _bytes(p.root), *p.seen, bytes.fromhex(p.sha256))
            for name, p in self._new_pictures.items()
        ]
        self._change(
            ("insert or replace into pictures values (?, ?, ?, ?, ?, ?)", pictures),
            ("insert or replace into scores values (?, ?, ?)", self._new_values),
        )
        self._new_pictures, self._new_values = {}, []

    def name_scorers(self, scorers: Iterable[tuple[str, str]]) -> None:
        """Note names and fingerprints of scorers; a name has its last one."""
        self.scorers.update(scorers)
        rows = [(name, key, place) for place, (name, key) in enumerate(self.scorers.items())]
        self._change(("insert or replace into scorers values (?, ?, ?)", rows))

    def owns(self, table: Path) -> bool:
        """Return whether a table is as it was written here."""
        from tagstack.base_models.atomic import file_sha256

        return file_sha256(table) in self._tables

    def name_table(self, sha256: str) -> None:
        """Note what the table will be in a moment; after a crash it is that or the one before."""
        self._tables = (sha256, *self._tables[:1])
        rows = [(place, key) for place, key in enumerate(self._tables)]
        self._change(("insert or replace into tables values (?, ?)", rows))

    def _change(self, *changes: tuple[str, Sequence[tuple[object, ...]]]) -> None:
        if self._connection is None:
            msg = "the record is not open; use it as a context manager"
            raise ValueError(msg)
        try:
            self._connection.execute("begin immediate")
            for command, rows in changes:
                self._connection.executemany(command, rows)
            self._connection.execute("commit")
        except sqlite3.Error as error:
            msg = f"Cannot write the record {self._path}: {error}. Run the same command again."
            raise TagstackError(msg) from error

    def _read(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("pragma user_version").fetchone()
        if version not in (0, _FORMAT):
            msg = f"it has version {version}, expected {_FORMAT}"
            raise sqlite3.DatabaseError(msg)
        for columns in (
            "pictures (name blob primary key, root blob, size integer, mtime_ns integer, "
            "inode integer, sha256 blob)",
            "scores (sha256 blob, scorer blob, value real, primary key (sha256, scorer))",
            "scorers (name text primary key, fingerprint text, place integer)",
            "tables (place integer primary key, sha256 text)",
        ):
            connection.execute(f"create table if not exists {columns} without rowid")
        connection.execute(f"pragma user_version = {_FORMAT}")
        for name, root, size, mtime_ns, inode, sha256 in connection.execute(
            "select * from pictures"
        ):
            seen = SeenFile(size, mtime_ns, inode)
            self.pictures[_text(name)] = SeenPicture(_text(root), seen, sha256.hex())
        for sha256, scorer, value in connection.execute("select * from scores"):
            self._put(sha256, scorer.hex(), float("nan") if value is None else value)
        named = connection.execute("select name, fingerprint from scorers order by place")
        self.scorers = dict(named.fetchall())
        tables = connection.execute("select sha256 from tables order by place")
        self._tables = tuple(sha256 for (sha256,) in tables)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._lock.release()


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
