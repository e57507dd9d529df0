"""One SQLite file as a context manager: changes whole or not at all, faults in one line."""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import ClassVar, Self

from tagstack.configs.errors import TagstackError


class SqliteFile(ABC):
    """A file of rows that threads may share.

    A class of it says what it holds and how a connection is made, and asks `_open` or `_change`
    for the connection.

    Parameters
    ----------
    path : Path
        The file, made where there is none; its folder must be there.

    Raises
    ------
    TagstackError
        On entering, if the file cannot be used or is none of ours.
    """

    _holds: ClassVar[str]
    _advice: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = RLock()
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        with self._blamed():
            self._connection = self._connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @abstractmethod
    def _connect(self) -> sqlite3.Connection:
        """Return a connection to the file, its tables made; one that fails is closed."""

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection in a transaction that is whole or not at all."""
        with self._lock, self._blamed():
            connection = self._open()
            connection.execute("begin immediate")
            try:
                yield connection
                connection.execute("commit")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("rollback")
                raise

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            msg = f"the {self._holds} are not open; use the store as a context manager"
            raise ValueError(msg)
        return self._connection

    @contextmanager
    def _blamed(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error, UnicodeEncodeError) as error:
            msg = f"Cannot use the {self._holds} in {self.path}: {error}. {self._advice}"
            raise TagstackError(msg) from error
