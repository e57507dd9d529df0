"""Outcomes at rest: one SQLite file; the first word on a unit in an arm stands.

A second outcome of the same unit is not taken: whoever could replace outcomes after looking could
prove anything.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tagstack.configs.errors import TagstackError
from tagstack.ensemble.experiments.contrast import Outcome
from tagstack.ensemble.sqlite_file import SqliteFile

FILE = "outcomes.sqlite"
_APPLICATION = 0x74734578
_WAIT_S = 30.0
_MAKE = (
    "create table if not exists outcomes (id integer primary key, unit blob not null, "
    "arm text not null, value real not null, at_s real not null, unique (unit, arm))",
    "create table if not exists facts (name text primary key, value text not null)",
)


class OutcomeStore(SqliteFile):
    """The outcomes of one experiment; use it as a context manager. Threads may share it.

    Parameters
    ----------
    folder : Path
        Of the experiment.

    Raises
    ------
    TagstackError
        If the file cannot be used or is none of ours.
    """

    _holds = "outcomes"
    _advice = "Mend that and go on."

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / FILE)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, isolation_level=None, timeout=_WAIT_S, check_same_thread=False
        )
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def record(self, outcomes: Iterable[Outcome]) -> int:
        """Keep outcomes, all or none; return how many are new. They are on the disk then.

        Raises
        ------
        TagstackError
            If the experiment is over, or the file cannot be written.
        """
        rows = [(_bytes(o.unit), o.arm, o.value, time.time()) for o in outcomes]
        with self._change() as connection:
            if self.stopped_s is not None:
                raise TagstackError("The experiment was stopped: it takes no more outcomes.")
            before = connection.total_changes
            connection.executemany(
                "insert or ignore into outcomes (unit, arm, value, at_s) values (?, ?, ?, ?)",
                rows,
            )
            return connection.total_changes - before

    def all(self) -> Iterator[Outcome]:
        """Yield every outcome, in the order in which they came."""
        with self._lock, self._blamed():
            rows = (
                self._open().execute("select unit, arm, value from outcomes order by id").fetchall()
            )
        for unit, arm, value in rows:
            yield Outcome(unit=unit.decode("utf-8", "surrogateescape"), arm=arm, value=value)

    @property
    def stopped_s(self) -> float | None:
        """When it was stopped; None if it goes on."""
        with self._lock, self._blamed():
            found = self._open().execute("select value from facts where name = 'stopped'")
            row = found.fetchone()
        return None if row is None else float(row[0])

    def stop(self) -> None:
        """End the experiment; said twice, the first time counts."""
        with self._lock, self._blamed():
            self._open().execute(
                "insert or ignore into facts values ('stopped', ?)", (repr(time.time()),)
            )


def _prepare(connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("pragma application_id").fetchone()
    (n_tables,) = connection.execute("select count(*) from sqlite_master").fetchone()
    if application != _APPLICATION and (n_tables or application):
        raise sqlite3.DatabaseError("it is a file of another program")
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    for statement in _MAKE:
        connection.execute(statement)
    connection.execute(f"pragma application_id = {_APPLICATION}")


def _bytes(unit: str) -> bytes:
    return unit.encode("utf-8", "surrogateescape")
