"""The tables of a decisions file, version by version.

A change of the tables is a new entry at the end of `MIGRATIONS`; what is there never changes, for
it is what files out there were made with.
"""

import sqlite3
from pathlib import Path

from tagstack.configs.errors import TagstackError

APPLICATION = 0x74616773  # "tags": tells a file of ours from any other SQLite file

_FIRST = (
    # Names are bytes, since file names need not be UTF-8.
    """create table images (
        id integer primary key, name blob not null unique, content text not null
    )""",
    """create table decisions (
        id integer primary key autoincrement,
        token text not null unique,
        action text not null,
        at_s real not null,
        who text not null,
        image integer not null references images(id),
        tag text not null,
        answer text not null check (answer in ('yes', 'no', 'skip', 'undo')),
        undoes integer references decisions(id),
        rule text not null,
        bundle text not null,
        thresholds text not null,
        proba real,
        threshold real,
        tagged integer not null,
        shown_by text not null,
        propensity real,
        probe integer not null,
        judging integer not null,
        check ((answer = 'undo') = (undoes is not null))
    )""",
    "create unique index decisions_undone on decisions(undoes) where undoes is not null",
    "create index decisions_pair on decisions(image, tag, id)",
    "create index decisions_who on decisions(who, id)",
    # What holds now, kept in step with the log within each transaction.
    """create table standing (
        image integer not null,
        tag text not null,
        decision integer not null references decisions(id),
        primary key (image, tag)
    ) without rowid""",
    "create index standing_tag on standing(tag)",
    # Which contents judge; once said, for ever.
    "create table slice (content text primary key, judging integer not null) without rowid",
    "create table facts (name text primary key, value text not null) without rowid",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST,)


def opened(path: Path, *, wait_s: float) -> sqlite3.Connection:
    """Return a connection to a decisions file, made or brought to the present tables.

    Every commit is on the disk when it returns (write-ahead log, synchronous FULL).

    Raises
    ------
    TagstackError
        If the file is none of ours, or of a later version.
    sqlite3.Error
        If it cannot be used.
    """
    connection = sqlite3.connect(
        path, timeout=wait_s, isolation_level=None, check_same_thread=False
    )
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("pragma foreign_keys = on")
    connection.execute("pragma synchronous = full")
    _check(connection, path)
    connection.execute("pragma journal_mode = wal")
    connection.execute("begin immediate")
    try:
        version = _check(connection, path)  # another process may have been here meanwhile
        for number, statements in enumerate(MIGRATIONS[version:], version + 1):
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"pragma user_version = {number}")
        connection.execute(f"pragma application_id = {APPLICATION}")
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise


def _check(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of a file of ours; 0 for an empty one."""
    (application,) = connection.execute("pragma application_id").fetchone()
    (version,) = connection.execute("pragma user_version").fetchone()
    (n_tables,) = connection.execute("select count(*) from sqlite_master").fetchone()
    if application != APPLICATION and (n_tables or application or version):
        msg = f"{path} is an SQLite file of another program. Choose another --out."
        raise TagstackError(msg)
    if version > len(MIGRATIONS):
        msg = (
            f"{path} was written by a later tagstack (tables {version}, known up to "
            f"{len(MIGRATIONS)}). Update tagstack; the file is left as it is."
        )
        raise TagstackError(msg)
    return int(version)
