"""What is SQLite's own way: connections, pragmas, locking, upserts, and what its errors mean for people.

The other modules of the store speak SQLAlchemy Core and would do so to PostgreSQL as well; whatever a second kind of
database needs differently stands here. Facts: sqlite.org/pragma.html, sqlite.org/wal.html, sqlite.org/rescode.html.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, Insert, Table, Update, create_engine, event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool, StaticPool
from sqlalchemy.sql.elements import ColumnElement

from notifier.errors import StoreError, StoreWriteError

APPLICATION_ID = 0x4E746679
"""Marks a database as ours ("Ntfy" in ASCII), where SQLite keeps such a mark (PRAGMA application_id)."""

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process that writes."""

SHORT_TIMEOUT = 0.1
"""The same after it was waited for in vain: whoever writes has something else to do, too, than to wait."""

_PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": int(BUSY_TIMEOUT * 1000)}
"""What every connection must have. synchronous 2 is FULL: with NORMAL a power cut loses the last commits."""

_DAMAGED = {sqlite3.SQLITE_CORRUPT: "damaged", sqlite3.SQLITE_NOTADB: "not an SQLite database, or damaged"}

_UNUSABLE = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space on it",
    sqlite3.SQLITE_READONLY: "it can only be read; check the owner and mode of the file and its folder, and whether "
    "its file system is mounted read-only",
    sqlite3.SQLITE_IOERR: "the disk does not read or write; look at the kernel's log and at the disk's quotas",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check the owner and mode of the file and its folder, and whether "
    "its file system is mounted read-only (even to read it, SQLite writes beside it)",
    sqlite3.SQLITE_PERM: "access is denied; check the owner and mode of the file and its folder",
    sqlite3.SQLITE_BUSY: f"another program has kept it locked for {BUSY_TIMEOUT:.0f} s; end that program",
    sqlite3.SQLITE_PROTOCOL: "another program has kept it locked for too long; end that program",
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise SQLite's errors that a person can help as a StoreError in words, others as they are.

    A StoreWriteError means that trying again later may work, a plain StoreError that the file is damaged. A violated
    constraint, a missing table or a wrong statement is our own mistake and passes unchanged.
    """
    try:
        yield
    except (sqlite3.Error, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        name = getattr(cause, "sqlite_errorname", "")
        # The low byte is the error, the rest says more precisely where it came up.
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGED:
            raise _damaged(path, f"{_DAMAGED[code]} ({name})") from error
        if code in _UNUSABLE:
            raise StoreWriteError(f"the store {path} cannot be used: {_UNUSABLE[code]} ({name})") from error
        raise


def damaged(path: Path, found: str) -> StoreError:
    """The error for a file that SQLite opens but that is not whole."""
    return _damaged(path, f"damaged: {found}")


def not_a_database(path: Path) -> StoreError:
    """The error for a file that SQLite would take for an empty database although something else is in it."""
    return _damaged(path, _DAMAGED[sqlite3.SQLITE_NOTADB])


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(
        f"the store {path} is {what}; it was left as it is. Restore it from a backup; or, to start anew (predictions "
        f"that are over are then told once more), move {path}* away"
    )


def connect_raw(path: Path) -> sqlite3.Connection:
    """A bare connection that changes nothing in the file by itself, and never creates it."""
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
    )


def _text(raw: bytes) -> str:
    """The text, even of a flipped byte: sqlite3 would refuse all rows of an answer for one that is not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace")


def _set(connection: sqlite3.Connection, name: str, value: object, path: Path) -> None:
    connection.execute(f"PRAGMA {name}={value}")
    (found,) = connection.execute(f"PRAGMA {name}").fetchone()
    if found != value:
        raise StoreError(
            f"the store {path} cannot be used: SQLite keeps {name}={found} where {value} is needed; "
            "put the store on a local disk"
        )


def _connect(path: Path) -> sqlite3.Connection:
    """A connection with our pragmas, each read back.

    Raises StoreError for one that did not take: a network file system cannot do WAL, say.
    """
    connection = connect_raw(path)
    try:
        connection.text_factory = _text
        for name, value in _PRAGMAS.items():
            _set(connection, name, value, path)
    except BaseException:  # whatever it was, the connection must not stay open
        connection.close()
        raise
    return connection


def open_engine(path: Path) -> Engine:
    """Connections to an existing file, as many as there are threads that ask. See `writing` for the one that writes."""
    engine = create_engine(
        "sqlite://",
        creator=lambda: _connect(path),
        poolclass=QueuePool,
        pool_size=4,
        max_overflow=-1,
        hide_parameters=True,
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # IMMEDIATE takes the write lock at once and waits for it; a transaction that starts by reading and then writes
        # would fail at once when another process has written in between (SQLITE_BUSY_SNAPSHOT).
        immediate = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def open_nothing() -> Engine:
    """A database in memory, for a store that does not exist yet."""
    return create_engine("sqlite://", poolclass=StaticPool, hide_parameters=True)


def writing(engine: Engine) -> Connection:
    """A connection whose transactions take the write lock at once."""
    return engine.connect().execution_options(writing=True)


def stamp(connection: Connection, version: int) -> None:
    """Mark the database as ours, with the number of its schema, where both can be read without knowing any table."""
    connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
    connection.exec_driver_sql(f"PRAGMA user_version={version}")


def checkpoint(connection: Connection) -> None:
    """Have the database hold all that was committed, so that it needs no write-ahead log beside it."""
    # Past SQLAlchemy, which would begin a transaction for it.
    connection.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")


def set_patience(connection: Connection, seconds: float) -> None:
    """How long this connection waits for another process that writes."""
    connection.connection.cursor().execute(f"PRAGMA busy_timeout={seconds * 1000:.0f}")


def data_version(connection: Connection) -> int:
    """A number that changes when anyone but this connection has committed something."""
    # Past SQLAlchemy, which would begin a transaction for it.
    (version,) = connection.connection.cursor().execute("PRAGMA data_version").fetchone()
    return int(version)


def execute_many(
    connection: Connection, statement: Insert | Update, names: tuple[str, ...], rows: Iterable[tuple[Any, ...]]
) -> None:
    """Run a statement for each row of values. `names` are its parameters, all of them, in the order of the values,
    which is the table's order of the columns, then the conditions' order.

    Past SQLAlchemy's own handling of each row, which costs as much as SQLite's, and in portions, so that a hundred
    thousand rows never stand in memory twice. Values must be what sqlite3 takes: texts, numbers, bools, None.
    """
    sql = _compiled(statement, names)
    remaining = iter(rows)
    while portion := list(islice(remaining, 2000)):
        connection.exec_driver_sql(sql, portion)


@cache
def _compiled(statement: Insert | Update, names: tuple[str, ...]) -> str:
    compiled = statement.compile(dialect=SQLiteDialect_pysqlite(), column_keys=list(names))
    if tuple(compiled.positiontup or ()) != names:
        raise ValueError(f"the statement's parameters are {compiled.positiontup}, not {names}")
    return str(compiled)


def upsert(table: Table, columns: Sequence[str], where: ColumnElement[bool] | None = None) -> Insert:
    """An INSERT that sets `columns` where a row with that primary key exists already, if `where` holds for that."""
    statement = insert(table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={name: statement.excluded[name] for name in columns},
        where=where,
    )
