"""Which file a store is, and whether it may be used: refused with what to do, never overwritten.

Three files stand together: the database, `<database>.lock`, which a daemon holds locked for life, and
`<database>.marker`, which says that there was a store, so that a lost one is told from a new one. (An empty file is a
valid new database to SQLite; to take it for one would tell everything once more. Our own appear only when they are
whole, so that an empty one is never of our making.)
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import uuid
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from notifier.errors import AlreadyRunningError, StoreError
from notifier.store import files, sqlite, tables

_SMALLEST = 512
"""Bytes of the smallest possible database, one page (sqlite.org/fileformat.html, section 1.3.2)."""

_START_ANEW = "to start anew (predictions that are over are then told once more)"

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
    path = Path(parsed.database).absolute()
    # By whatever links it is called, it is one store with one lock. (A link to nothing is refused as such later;
    # Path.exists would raise where a folder may not be searched.)
    return Path(os.path.realpath(path)) if os.path.exists(path) else path


def is_running(url: str) -> bool:
    """Whether a daemon holds the store. Creates nothing.

    Raises StoreError for a URL or a folder that cannot be used.
    """
    path = database_path(url)
    with files.explained(path):
        try:
            file = os.open(files.beside(path, ".lock"), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            # Shared, so that two that ask at once do not take each other for a daemon.
            return not files.try_lock(file, fcntl.LOCK_SH)
        finally:
            os.close(file)


# --- the marker ------------------------------------------------------------------------------------------------------


def marker_path(path: Path) -> Path:
    """The marker that belongs to a database."""
    return files.beside(path, ".marker")


def _read_marker(path: Path) -> str | None:
    """The store id in the marker; None without a marker."""
    try:
        return marker_path(path).read_text("utf-8", "replace").partition("\n")[0].strip()
    except FileNotFoundError:
        return None


def _write_marker(path: Path, store_id: str) -> None:
    """In one step, and so that it outlives a power cut."""
    draft = files.beside(path, ".marker.new")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(file, "w", encoding="utf-8") as stream:
        stream.write(_MARKER_TEXT.format(store_id=store_id, name=path.name))
        stream.flush()
        os.fsync(file)
    draft.replace(marker_path(path))
    files.sync_folder(path)


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
    with files.explained(path), sqlite.explained(path):
        found = _look(path, thorough=daemon)
        marker = _read_marker(path)
        _refuse(path, found, marker)
        if found.new and not create:
            return False
        if not found.usable:
            _set_up(path, locked=daemon)
            found = _look(path, thorough=False)
            _refuse(path, found, marker)
        _compare(path, found, marker)
        if marker is None and create:
            _write_marker(path, str(found.store_id))
        _restrict(path)
        return True


def examine(path: Path) -> bool:
    """Raise StoreError where a daemon could not use the file at `path`, or not create it. Creates nothing.

    Returns whether there is a store of this version.
    """
    with files.explained(path), sqlite.explained(path):
        found = _look(path, thorough=True)
        marker = _read_marker(path)
        _refuse(path, found, marker)
        if found.usable:
            _compare(path, found, marker)
        folder = path.parent
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
        if files.beside(path, ".lock").is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(files.beside(path, ".lock")))
        for file in (folder, path, *(files.beside(path, suffix) for suffix in ("-wal", "-shm", ".lock"))):
            if file.exists() and not os.access(file, os.W_OK, effective_ids=True):
                # Asked for, not tried: root's rights, say, end at a file system that is mounted read-only.
                number = errno.EROFS if os.statvfs(file).f_flag & os.ST_RDONLY else errno.EACCES
                raise OSError(number, os.strerror(number), str(file))
    return found.usable


def _look(path: Path, *, thorough: bool) -> _Found:
    try:
        outside = path.stat()
    except FileNotFoundError:
        return _Found(exists=False)
    if not stat.S_ISREG(outside.st_mode):
        kind = "a folder" if stat.S_ISDIR(outside.st_mode) else "a device, pipe or socket"
        raise StoreError(f"the store {path} cannot be used: it is {kind}, not a file; give `store` another path")
    size = outside.st_size
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
        _refuse_to_begin(path, exists=found.exists, marked=marker is not None)
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


def _refuse_to_begin(path: Path, *, exists: bool, marked: bool) -> None:
    """Raise StoreError where no new store may begin, because there was one."""
    log = files.beside(path, "-wal")
    if marked:
        what = "empty" if exists else "missing"
        away = f"move {path}* away" if exists else f"delete {marker_path(path)}"
        raise StoreError(
            f"the store {path} is {what}, but {marker_path(path)} says that there was one. Restore it from a backup; "
            f"or, {_START_ANEW}, {away}"
        )
    if exists:
        raise StoreError(
            f"the store {path} is an empty file; it was left as it is. Restore it from a backup; or, {_START_ANEW}, "
            "delete it"
        )
    if path.is_symlink():
        raise StoreError(
            f"the store {path} is a link to {path.readlink()}, where there is nothing. Put that back (is its disk "
            f"mounted?); or, {_START_ANEW}, delete the link"
        )
    with suppress(FileNotFoundError):
        if log.stat().st_size:
            # SQLite would write what stands in it into the new database.
            raise StoreError(
                f"the store {path} is missing, but its log {log} is there. Restore both from a backup; or, "
                f"{_START_ANEW}, delete the log"
            )


def _compare(path: Path, found: _Found, marker: str | None) -> None:
    """Raise StoreError for a store that is not the one its marker was written for."""
    if found.store_id is None:
        raise sqlite.damaged(path, "it has lost its id")
    if marker is not None and marker != found.store_id:
        raise StoreError(
            f"the store {path} is not the one that {marker_path(path)} was written for. Put the right one back; "
            f"or, if this is the right one (brought from another machine, say), delete {marker_path(path)}"
        )


def _set_up(path: Path, *, locked: bool) -> None:
    """Create the database, or bring one of an older version up to date, in one step."""
    if locked:
        _create_or_migrate(path)
        return
    try:
        lock = files.Lock(path)
    except AlreadyRunningError as error:
        raise StoreError(
            f"the store {path} is of an older version and in use: {error}. Restart that one with this version"
        ) from error
    try:
        _create_or_migrate(path)
    finally:
        lock.release()


def _create_or_migrate(path: Path) -> None:
    if path.exists():
        _migrate(path)
        return
    # Under a name of its own until it is whole: whatever ends this, no half or empty database is left to be refused.
    draft = files.beside(path, ".draft")
    parts = [draft, *(files.beside(draft, suffix) for suffix in ("-wal", "-shm"))]
    for part in parts:
        part.unlink(missing_ok=True)
    try:
        # SQLite would create it readable for all; its companions then get the mode of the database itself.
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        _migrate(draft)
        draft.rename(path)
    except BaseException:  # whatever it was, no half of a database may stay
        for part in parts:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        raise
    files.sync_folder(path)


def _migrate(path: Path) -> None:
    # Half a second of imports that only this rare case needs.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    engine = sqlite.open_engine(path)
    try:
        with sqlite.writing(engine) as connection:
            with connection.begin():
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                if connection.scalar(select(tables.store.c.id)) is None:
                    connection.execute(insert(tables.store).values(id=uuid.uuid4().hex))
                sqlite.stamp(connection, tables.SCHEMA_VERSION)
            sqlite.checkpoint(connection)
    finally:
        engine.dispose()


def _restrict(path: Path) -> None:
    """Take everybody else's rights from files that have them (a copied backup, say)."""
    for file in (path, files.beside(path, "-wal"), files.beside(path, "-shm")):
        with suppress(FileNotFoundError):
            found = file.stat()
            if found.st_mode & 0o077 and found.st_uid == os.geteuid():
                file.chmod(0o600)
