"""Which file a store is, who holds it, and whether it may be used: refused with what to do, never overwritten.

Three files stand together: the database, `<database>.lock`, which a daemon holds locked for life, and
`<database>.marker`, which says that there was a store, so that a lost one is told from a new one. (An empty file is a
valid new database to SQLite; to take it for one would tell everything once more.)
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from notifier.errors import AlreadyRunningError, StoreError
from notifier.store import sqlite, tables

_PATIENCE = 0.3
"""Seconds to try for the lock: `is_running` of another process may hold it for an instant."""

_SMALLEST = 512
"""Bytes of the smallest possible database, one page (sqlite.org/fileformat.html, section 1.3.2)."""

_MARKER_TEXT = """{store_id}

The database {name} beside this file belongs to it. While this file is here, a missing or empty database is refused
instead of taken for a new one. Delete this file only to start anew.
"""


def database_path(url: str) -> Path:
    """The file that an SQLAlchemy URL such as `sqlite:////var/lib/notifier/notifier.db` names, as an absolute path.

    Raises StoreError, without quoting the URL, for anything else.
    """
    wanted = "`store` must be a file's URL, such as sqlite:////var/lib/notifier/notifier.db"
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError(wanted) from error
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite") or parsed.host or "?" in url:
        raise StoreError(wanted)
    if not parsed.database or parsed.database == ":memory:":
        raise StoreError(f"{wanted}: what is kept in memory only is lost")
    return Path(parsed.database).absolute()


@contextmanager
def _files_explained(path: Path) -> Iterator[None]:
    """Raise what the operating system says about the files as a StoreError."""
    try:
        yield
    except OSError as error:
        place = error.filename or path
        raise StoreError(f"the store {path} cannot be used: {place}: {error.strerror or error}") from error


# --- the lock --------------------------------------------------------------------------------------------------------


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


class Lock:
    """The lock of one daemon, from construction to `release`; the kernel frees it when the process ends in any way.

    Raises AlreadyRunningError when another process (or another Lock) has it.
    """

    def __init__(self, path: Path) -> None:
        self.path = _beside(path, ".lock")
        with _files_explained(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(path)
        except BaseException:  # whatever it was, the file must not stay open
            self.release()
            raise
        # Only for the person who looks: a full disk must not matter here.
        with suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def _take(self, path: Path) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not _try_lock(self._file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                holder = os.pread(self._file, 20, 0).decode("ascii", "replace").strip()
                raise AlreadyRunningError(
                    f"another notifier{f' (process {holder})' if holder else ''} holds the store {path}; "
                    "stop it first, or give this one another `store`"
                )
            time.sleep(0.02)

    def release(self) -> None:
        """Let others have it. Does nothing the second time."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_running(url: str) -> bool:
    """Whether a daemon holds the store. Creates nothing.

    Raises StoreError for a URL or a folder that cannot be used.
    """
    path = database_path(url)
    with _files_explained(path):
        try:
            file = os.open(_beside(path, ".lock"), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            # Shared, so that two that ask at once do not take each other for a daemon.
            return not _try_lock(file, fcntl.LOCK_SH)
        finally:
            os.close(file)


# --- the marker ------------------------------------------------------------------------------------------------------


def marker_path(path: Path) -> Path:
    """The marker that belongs to a database."""
    return _beside(path, ".marker")


def _read_marker(path: Path) -> str | None:
    """The store id in the marker; None without a marker."""
    try:
        return marker_path(path).read_text("utf-8", "replace").partition("\n")[0].strip()
    except FileNotFoundError:
        return None


def _write_marker(path: Path, store_id: str) -> None:
    """In one step, and so that it outlives a power cut."""
    draft = _beside(path, ".marker.new")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(file, "w", encoding="utf-8") as stream:
        stream.write(_MARKER_TEXT.format(store_id=store_id, name=path.name))
        stream.flush()
        os.fsync(file)
    draft.replace(marker_path(path))
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# --- the database ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    """What a look at the file brought; `tables` is empty for a missing or empty one."""

    exists: bool
    application_id: int = 0
    version: int = 0
    tables: frozenset[str] = frozenset()
    store_id: str | None = None

    @property
    def new(self) -> bool:
        return not self.tables and self.application_id in (0, sqlite.APPLICATION_ID)

    @property
    def usable(self) -> bool:
        return not self.new and self.version == tables.SCHEMA_VERSION


def prepare(path: Path, *, daemon: bool, create: bool) -> bool:
    """Make the file at `path` a whole store of the newest schema, unless it must be refused (StoreError).

    A daemon holds the lock already and has the whole file checked. Without `create` a store that does not exist yet
    stays so, and False is returned.
    """
    with _files_explained(path), sqlite.explained(path):
        found = _look(path, thorough=daemon)
        marker = _read_marker(path)
        _refuse(path, found, marker)
        if found.new and not create:
            return False
        if not found.usable:
            _set_up(path, locked=daemon)
            found = _look(path, thorough=False)
            _refuse(path, found, marker)
        if found.store_id is None:
            raise sqlite.damaged(path, "it has lost its id")
        if marker is None and create:
            _write_marker(path, found.store_id)
        elif marker is not None and marker != found.store_id:
            raise StoreError(
                f"the store {path} is not the one that {marker_path(path)} was written for. Put the right one back; "
                f"or, if this is the right one (brought from another machine, say), delete {marker_path(path)}"
            )
        _restrict(path)
        return True


def _look(path: Path, *, thorough: bool) -> _Found:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return _Found(exists=False)
    if size == 0:
        # Not for SQLite to see: it would delete a write-ahead log that was left of what the file once was.
        return _Found(exists=True)
    if size < _SMALLEST:
        # Nor this: it would take a file of a single byte for a new database.
        raise sqlite.not_a_database(path)
    with closing(sqlite.connect_raw(path)) as connection:

        def ask(question: str) -> list[tuple[str]]:
            return connection.execute(question).fetchall()

        found = frozenset(
            name for (name,) in ask("SELECT name FROM sqlite_master WHERE type = 'table'") if name[:7] != "sqlite_"
        )
        application_id = int(ask("PRAGMA application_id")[0][0])
        ours = application_id == sqlite.APPLICATION_ID
        if ours and thorough and (mistakes := [text for (text,) in ask("PRAGMA quick_check(3)") if text != "ok"]):
            raise sqlite.damaged(path, "; ".join(" ".join(text.split()) for text in mistakes))
        ids = ask("SELECT id FROM store") if ours and "store" in found else []
        revisions = ask("SELECT version_num FROM alembic_version") if ours and "alembic_version" in found else []
        # Stamped together; a revision beyond ours means a newer notifier, whatever the stamp says.
        newer = [version for (text,) in revisions if (version := _version_of(text)) > tables.SCHEMA_VERSION]
        return _Found(
            exists=True,
            application_id=application_id,
            version=max([int(ask("PRAGMA user_version")[0][0]), *newer]),
            tables=found,
            store_id=ids[0][0] if ids else None,
        )


def _version_of(revision: str) -> int:
    return int(revision) if revision.isdigit() else tables.SCHEMA_VERSION + 1


def _refuse(path: Path, found: _Found, marker: str | None) -> None:
    """Raise StoreError for a file that is not ours to use, or not any more, or not yet."""
    if found.new:
        if marker is not None:
            raise StoreError(
                f"the store {path} is {'empty' if found.exists else 'missing'}, but {marker_path(path)} says that "
                "there was one. Restore it from a backup; or, to start anew (predictions that are over are then told "
                f"once more), delete {marker_path(path)}"
            )
        return
    if found.application_id != sqlite.APPLICATION_ID:
        raise StoreError(
            f"{path} is another program's database (its tables: {', '.join(sorted(found.tables)[:5]) or 'none'}); "
            "it was left as it is. Give `store` another path"
        )
    if found.version > tables.SCHEMA_VERSION:
        raise StoreError(
            f"the store {path} was written by a newer notifier (its schema is {found.version}, this one knows "
            f"{tables.SCHEMA_VERSION}); it was left as it is. Install that version again"
        )
    if found.usable and (missing := tables.metadata.tables.keys() - found.tables):
        raise sqlite.damaged(path, f"it has lost tables ({', '.join(sorted(missing))})")


def _set_up(path: Path, *, locked: bool) -> None:
    """Create the tables, or bring those of an older version up to date, in one transaction."""
    if locked:
        _migrate(path)
        return
    try:
        lock = Lock(path)
    except AlreadyRunningError as error:
        raise StoreError(
            f"the store {path} is of an older version and in use: {error}. Restart that one with this version"
        ) from error
    try:
        _migrate(path)
    finally:
        lock.release()


def _migrate(path: Path) -> None:
    # Half a second of imports that only this rare case needs.
    from alembic import command
    from alembic.config import Config

    # SQLite would create it readable for all; its companions (-wal, -shm) then get the mode of the database itself.
    # Only where there is none: to close an existing one here would drop the locks that SQLite has on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    engine = sqlite.open_engine(path)
    try:
        with sqlite.writing(engine) as connection, connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            if connection.scalar(select(tables.store.c.id)) is None:
                connection.execute(insert(tables.store).values(id=uuid.uuid4().hex))
            sqlite.stamp(connection, tables.SCHEMA_VERSION)
    finally:
        engine.dispose()


def _restrict(path: Path) -> None:
    """Take everybody else's rights from files that have them (a copied backup, say)."""
    for file in (path, _beside(path, "-wal"), _beside(path, "-shm")):
        with suppress(FileNotFoundError):
            found = file.stat()
            if found.st_mode & 0o077 and found.st_uid == os.geteuid():
                file.chmod(0o600)


# --- the files under a running daemon --------------------------------------------------------------------------------


class Identity:
    """Which files a store is, to notice when they are replaced, renamed or removed under a running daemon.

    SQLite itself notices nothing: it goes on writing into a file that no longer has a name.
    """

    def __init__(self, path: Path) -> None:
        self._files = {file: _number(file) for file in (path, _beside(path, "-wal"), _beside(path, ".lock"))}

    def check(self) -> None:
        """Raise StoreError when one of the files is not the one it was."""
        for file, number in self._files.items():
            found = _number(file)
            if found != number:
                happened = "is gone" if found is None else "was replaced"
                raise StoreError(f"{file} {happened} while notifier was running; put it right and start notifier again")


def _number(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{file} cannot be reached any more: {error.strerror}") from error
    return found.st_dev, found.st_ino
