"""Which files are refused as a store, with what to do about it, and what `check` says of them before a daemon does."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from notifier.errors import StoreError, StoreWriteError
from notifier.model import Key, State
from notifier.store import Change, Store, sqlite, tables
from tests.store_files import CHANGE, KEY, NOW, beside, marker, refused


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "notifier.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def filled(url: str, path: Path) -> Path:
    """The database of a store that was closed in good order, with one watch and one delivery in it."""
    with Store.open(url) as store:
        store.record([CHANGE], NOW)
    return path


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("daemon", [True, False])
def test_a_lost_database_is_refused_while_its_marker_stands(url: str, filled: Path, daemon: bool) -> None:
    with refused(url, "missing", str(marker(filled)), "backup", daemon=daemon):
        filled.unlink()
    with pytest.raises(StoreError, match="missing"):
        Store.open(url, create=False)
    assert not filled.exists()

    marker(filled).unlink()
    with Store.open(url) as store:
        assert store.load_states(NOW) == {}, "who deletes the marker starts anew"


def test_a_database_that_was_emptied_is_refused_while_its_marker_stands(url: str, filled: Path) -> None:
    with refused(url, "empty", str(marker(filled))):
        os.truncate(filled, 0)


def test_a_new_database_in_place_of_the_old_one_is_refused_while_its_marker_stands(url: str, filled: Path) -> None:
    with refused(url, "empty", str(marker(filled))):
        filled.unlink()
        with closing(sqlite3.connect(filled)) as raw:
            raw.execute("VACUUM")
        assert filled.stat().st_size > 0


def test_another_store_in_place_of_the_old_one_is_refused(url: str, filled: Path, tmp_path: Path) -> None:
    with refused(url, "not the one", str(marker(filled))):
        with Store.open(f"sqlite:///{tmp_path}/other.db"):
            pass
        (tmp_path / "other.db").replace(filled)

    marker(filled).unlink()
    with Store.open(url, daemon=True):
        pass
    with Store.open(url, daemon=True):
        pass


def test_a_marker_that_says_nothing_is_refused(url: str, filled: Path) -> None:
    with refused(url, "not the one"):
        marker(filled).write_bytes(b"\xff\n")


def test_a_lost_marker_is_written_again(url: str, filled: Path) -> None:
    before = marker(filled).read_text()
    marker(filled).unlink()
    with Store.open(url):
        assert marker(filled).read_text() == before


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("CREATE TABLE songs (title TEXT)")


def foreign_with_our_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        for name in tables.metadata.tables:
            raw.execute(f"CREATE TABLE {name} (id TEXT)")


def foreign_by_its_mark(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA application_id = 252006673")
        raw.execute("VACUUM")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (foreign, ["another program's", "songs"]),
        (foreign_with_our_tables, ["another program's", "channels"]),
        (foreign_by_its_mark, ["another program's", "none"]),
        (lambda path: path.write_text("apis:\n  cometapi: {}\n" * 50), ["not an SQLite database"]),
        (lambda path: path.write_text("x"), ["not an SQLite database"]),
        (lambda path: path.write_bytes(b"\0" * 8192), ["not an SQLite database"]),
        (lambda path: path.mkdir(), ["a folder, not a file"]),
        (os.mkfifo, ["not a file"]),
    ],
)
@pytest.mark.parametrize("daemon", [True, False])
def test_a_file_that_is_not_ours_is_refused(
    url: str, path: Path, make: Callable[[Path], None], words: list[str], daemon: bool
) -> None:
    path.parent.mkdir()
    with refused(url, *words, daemon=daemon):
        make(path)
    assert not marker(path).exists()


DATA_PAGES = range(60, 80)
"""Pages that hold watches, when there are thousands; the roots of the tables come before them."""


def page(path: Path, number: int, content: bytes = b"\0" * 4096) -> None:
    """Overwrite one page (they count from 1, and are 4096 bytes long)."""
    with path.open("r+b") as file:
        file.seek((number - 1) * 4096)
        file.write(content)


@pytest.mark.parametrize("make", ["zeros", "garbage", "cut short"])
def test_a_damaged_database_is_refused_by_the_daemon(url: str, path: Path, make: str) -> None:
    with Store.open(url) as store:
        store.record([Change(Key("cometapi", f"id{number}"), State(NOW)) for number in range(3000)], NOW)
    with refused(url, "damaged", "backup"):
        if make == "cut short":
            os.truncate(path, path.stat().st_size // 2)
        else:
            for number in DATA_PAGES:
                page(path, number, bytes(4096) if make == "zeros" else os.urandom(4096))


def test_damage_that_a_verb_meets_while_reading_is_a_known_error(url: str, path: Path) -> None:
    with Store.open(url) as store:
        store.record([Change(Key("cometapi", f"id{number}"), State(NOW)) for number in range(3000)], NOW)
    for number in DATA_PAGES:
        page(path, number)
    with Store.open(url, create=False) as store:
        with pytest.raises(StoreError, match="damaged"):
            store.watches_overview()
        assert store.history(None, 10) == [], "what is whole can still be read"
        with pytest.raises(StoreError, match="damaged"):
            store.check_identity()  # whichever thread met it


def test_a_damaged_header_is_refused(url: str, filled: Path) -> None:
    with refused(url, "not an SQLite database"):
        page(filled, 1, os.urandom(100))


def test_a_store_of_a_newer_version_is_refused(url: str, filled: Path) -> None:
    with refused(url, "newer notifier", f"{tables.SCHEMA_VERSION + 1}"), closing(sqlite3.connect(filled)) as raw:
        raw.execute(f"PRAGMA user_version = {tables.SCHEMA_VERSION + 1}")


def test_a_store_that_has_lost_a_table_is_refused(url: str, filled: Path) -> None:
    with refused(url, "damaged", "watches"), closing(sqlite3.connect(filled)) as raw:
        raw.execute("DROP TABLE watches")


def test_a_store_that_has_lost_its_id_is_refused(url: str, filled: Path) -> None:
    with refused(url, "damaged", "id"), closing(sqlite3.connect(filled)) as raw, raw:
        raw.execute("DELETE FROM store")


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    for daemon in (True, False):
        with pytest.raises(StoreError, match=r"state.*cannot be used.*another path"):
            Store.open(f"sqlite:///{tmp_path}/state/n.db", daemon=daemon)


def test_a_store_that_another_program_keeps_locked_is_refused_after_a_while(
    url: str, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sqlite._PRAGMAS, "busy_timeout", 50)
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.05)
    monkeypatch.setattr(sqlite, "SHORT_TIMEOUT", 0.01)
    with closing(sqlite3.connect(filled, isolation_level=None)) as raw:
        raw.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreWriteError, match="locked"):
            Store.open(url, daemon=True)
        with Store.open(url, create=False) as store:
            assert store.load_states(NOW) == {KEY: CHANGE.state}, "reading waits for nobody"
            with pytest.raises(StoreWriteError, match="locked"):
                store.record([CHANGE], NOW)
            raw.execute("ROLLBACK")
            store.record([CHANGE], NOW)


@pytest.mark.parametrize("daemon", [True, False])
def test_an_empty_file_is_refused_even_where_no_marker_speaks_of_it(url: str, path: Path, daemon: bool) -> None:
    """Ours appear only when they are whole, so that this one was emptied, and the marker lost with what was in it."""
    path.parent.mkdir()
    with refused(url, "empty", "backup", "delete it", daemon=daemon):
        path.touch()
    with pytest.raises(StoreError, match="empty"):
        Store.open(url, create=False)
    assert beside(path) - {"notifier.db.lock"} == {"notifier.db"}


def test_a_log_without_its_database_is_not_written_into_a_new_one(url: str, filled: Path) -> None:
    with Store.open(url, daemon=True) as store:
        store.record([CHANGE], NOW)
        log = Path(f"{filled}-wal").read_bytes()
    filled.unlink()
    marker(filled).unlink()
    Path(f"{filled}-wal").write_bytes(log)
    with refused(url, "missing", f"{filled}-wal", "backup"):
        pass
    assert Path(f"{filled}-wal").read_bytes() == log
    Path(f"{filled}-wal").unlink()
    with Store.open(url) as store:
        assert store.load_states(NOW) == {}


def test_a_link_to_nothing_is_refused(url: str, path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    with refused(url, str(tmp_path / "disk" / "n.db"), "mounted"):
        path.symlink_to(tmp_path / "disk" / "n.db")
    assert not (tmp_path / "disk").exists()


@pytest.mark.parametrize("revision", ["9999", "somebody's"])
def test_a_store_with_a_revision_that_is_not_known_yet_is_refused(url: str, filled: Path, revision: str) -> None:
    with refused(url, "newer notifier"), closing(sqlite3.connect(filled)) as raw:
        raw.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        raw.commit()


# --- what `check` sees -----------------------------------------------------------------------------------------------


def test_a_check_of_a_store_that_could_be_created_creates_nothing(url: str, path: Path) -> None:
    Store.check(url)
    assert not path.parent.exists()


def test_a_check_of_a_store_changes_no_file_also_while_its_daemon_runs(url: str, filled: Path) -> None:
    for number in (1, 2):
        before = {file.name: file.read_bytes() for file in filled.parent.iterdir()}
        Store.check(url)
        assert {file.name: file.read_bytes() for file in filled.parent.iterdir()} == before, number
        marker(filled).unlink(missing_ok=True)
    with Store.open(url, daemon=True):
        Store.check(url)


def test_a_check_finds_the_damage_that_the_daemon_would_find(url: str, path: Path) -> None:
    with Store.open(url) as store:
        store.record([Change(Key("cometapi", f"id{number}"), State(NOW)) for number in range(3000)], NOW)
    for number in DATA_PAGES:
        page(path, number)
    with pytest.raises(StoreError, match="damaged"):
        Store.check(url)


def test_a_check_migrates_nothing(url: str, filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as raw:
        raw.execute(f"PRAGMA user_version = {tables.SCHEMA_VERSION - 1}")
    before = filled.read_bytes()
    Store.check(url)
    assert filled.read_bytes() == before


def test_a_check_sees_what_stands_where_the_daemon_would_write(url: str, filled: Path, tmp_path: Path) -> None:
    Path(f"{filled}.lock").unlink()
    Path(f"{filled}.lock").mkdir()
    with pytest.raises(StoreError, match=r"notifier\.db\.lock: Is a directory; move away"):
        Store.check(url)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"Not a directory; move away"):
        Store.check(f"sqlite:///{tmp_path}/file/deeper/n.db")
