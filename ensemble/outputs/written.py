"""What was written from what: the record that lets a later run touch only what is out of date.

One SQLite file under the output folder, read whole at the start and changed once a chunk. It is a
note, not the truth: without it every file counts as somebody's own.
"""

import gc
import hashlib
import os
import sqlite3
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from tagstack.configs.errors import TagstackError

FOLDER = ".tagstack"
_FILE = "written.sqlite"
_FORMAT = 1
_INODES = 2**63  # that SQLite can tell from each other
# A file may change twice within one tick of the clock that dates it: what was dated so recently
# when it was looked at is looked at again.
_RACY_NS = 2_000_000_000


class SeenFile(NamedTuple):
    """What tells a file from a changed one without reading it: size, time of change and inode."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path | str) -> "SeenFile | None":
        """Return what a path's regular file looks like now; None if there is none."""
        try:
            facts = os.stat(path)
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(facts.st_mode):
            return None
        return cls(facts.st_size, facts.st_mtime_ns, facts.st_ino % _INODES)

    @classmethod
    def from_stat(cls, facts: os.stat_result) -> "SeenFile":
        """Return what an open file looks like."""
        return cls(facts.st_size, facts.st_mtime_ns, facts.st_ino % _INODES)

    @property
    def settled(self) -> "SeenFile":
        """The same, but unlike any file if it was changed too recently to be sure of it."""
        recent = time.time_ns() - self.mtime_ns < _RACY_NS
        return SeenFile(self.size, self.mtime_ns, -1) if recent else self


class ImageRow(NamedTuple):
    """A picture that was tagged.

    Parameters
    ----------
    name, root : str
        As in `tagstack.base_models.scoring.sources.ImageSources`.
    seen : SeenFile
    sha256 : str
        Of its bytes, in hexadecimal.
    n_tags : int
    """

    name: str
    root: str
    seen: SeenFile
    sha256: str
    n_tags: int


class FileRow(NamedTuple):
    """A file that was written, or found and kept.

    Parameters
    ----------
    image : str
        Empty for a table.
    format : str
    path : str
        Absolute.
    key : str
        Hash of everything but the picture that decides the content.
    content : str
        SHA-256 of the picture; of a table, of all pictures in it.
    sha256, before : str
        Of what was written last and before that: after a crash the file is one of them.
    seen : SeenFile
        The file as it was left.
    kept : bool
        Whether somebody else's content was there and stayed.
    whole : bool
        Whether all of it was written here; else ``added`` tells what was.
    added, refused : tuple of str
        Keys of the tags that were put beside somebody's, and of those that they took out again.
    """

    image: str
    format: str
    path: str
    key: str
    content: str
    sha256: str
    before: str
    seen: SeenFile
    kept: bool = False
    whole: bool = False
    added: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def owns(self, data: bytes) -> bool:
        """Return whether a file's content is what was written."""
        return digest(data) in {self.sha256, self.before} - {""}


class WrittenRecord:
    """The rows of one output folder; use it as a context manager.

    Raises
    ------
    TagstackError
        On entering, if the folder cannot be written or the record is of another version.
    """

    def __init__(self, out: Path) -> None:
        self._path = out / FOLDER / _FILE
        self.images: dict[str, ImageRow] = {}
        self.files: dict[tuple[str, str], FileRow] = {}
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self._path, isolation_level=None)
            self._read(self._connection)
        except (OSError, sqlite3.Error) as error:
            self._close()
            msg = (
                f"Cannot use the record {self._path}: {error}. Mend that (space, permissions), or "
                "delete it: then files that are there count as made by hand."
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

    def save(self, images: Iterable[ImageRow] = (), files: Iterable[FileRow] = ()) -> None:
        """Add or change rows, all or none of them; they are on the disk when this returns."""
        images, files = list(images), list(files)
        self.images.update((row.name, row) for row in images)
        self.files.update(((row.image, row.format), row) for row in files)
        self._change(
            ("insert or replace into images values (?, ?, ?, ?, ?, ?, ?)", map(_image, images)),
            (f"insert or replace into files values ({'?, ' * 13}?)", map(_file, files)),
        )

    def forget(self, files: Iterable[FileRow]) -> None:
        """Remove rows, and those of pictures that no file is left of."""
        files = list(files)
        for row in files:
            self.files.pop((row.image, row.format), None)
        left = {image for image, _ in self.files}
        gone = {row.image for row in files} - left
        for image in gone:
            self.images.pop(image, None)
        self._change(
            (
                "delete from files where image = ? and format = ?",
                ((_bytes(row.image), row.format) for row in files),
            ),
            ("delete from images where name = ?", ((_bytes(image),) for image in gone)),
        )

    def _change(self, *changes: tuple[str, Iterable[tuple[object, ...]]]) -> None:
        connection = self._connection
        if connection is None:
            msg = "the record is not open; use it as a context manager"
            raise ValueError(msg)
        try:
            connection.execute("begin immediate")
            for command, rows in changes:
                connection.executemany(command, rows)
            connection.execute("commit")
        except sqlite3.Error as error:
            msg = f"Cannot write the record {self._path}: {error}. Run the same command again."
            raise TagstackError(msg) from error

    def _read(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("pragma user_version").fetchone()
        if version not in (0, _FORMAT):
            msg = f"it has version {version}, expected {_FORMAT}"
            raise sqlite3.DatabaseError(msg)
        connection.execute(
            "create table if not exists images (name blob primary key, root blob, size integer, "
            "mtime_ns integer, inode integer, sha256 blob, n_tags integer) without rowid"
        )
        connection.execute(
            "create table if not exists files (image blob, format text, path blob, key blob, "
            "content blob, sha256 blob, before blob, size integer, mtime_ns integer, "
            "inode integer, kept integer, whole integer, added text, refused text, "
            "primary key (image, format)) without rowid"
        )
        connection.execute(f"pragma user_version = {_FORMAT}")
        images = map(_image_row, connection.execute("select * from images"))
        files = map(_file_row, connection.execute("select * from files"))
        with uncollected():
            self.images = {row.name: row for row in images}
            self.files = {(row.image, row.format): row for row in files}

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector off while many small things are made that all stay.

    It would walk the whole process again and again, which took as long as reading a record.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


# Made by the hundred thousand, so by position and without a call for each value.
def _image_row(values: tuple[Any, ...]) -> ImageRow:
    name, root, size, mtime_ns, inode, sha256, n_tags = values
    return ImageRow(
        name.decode("utf-8", "surrogateescape"),
        sys.intern(root.decode("utf-8", "surrogateescape")),
        SeenFile(size, mtime_ns, inode),
        sha256.hex(),
        n_tags,
    )


def _file_row(values: tuple[Any, ...]) -> FileRow:
    image, form, path, key, content, sha256, before, size, mtime_ns, inode, *rest = values
    kept, whole, added, refused = rest
    return FileRow(
        image.decode("utf-8", "surrogateescape"),
        form,
        path.decode("utf-8", "surrogateescape"),
        sys.intern(key.hex()),
        content.hex(),
        sha256.hex(),
        before.hex(),
        SeenFile(size, mtime_ns, inode),
        bool(kept),
        bool(whole),
        _listed(added),
        _listed(refused),
    )


def _image(row: ImageRow) -> tuple[object, ...]:
    seen = (row.seen.size, row.seen.mtime_ns, row.seen.inode)
    return (_bytes(row.name), _bytes(row.root), *seen, bytes.fromhex(row.sha256), row.n_tags)


def _file(row: FileRow) -> tuple[object, ...]:
    return (
        _bytes(row.image),
        row.format,
        _bytes(row.path),
        *(bytes.fromhex(value) for value in (row.key, row.content, row.sha256, row.before)),
        *(row.seen.size, row.seen.mtime_ns, row.seen.inode),
        int(row.kept),
        int(row.whole),
        "\n".join(row.added),
        "\n".join(row.refused),
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split("\n")) if text else ()


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
