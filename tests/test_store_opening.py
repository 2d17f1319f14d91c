"""Which files a store consists of, who may hold it, and how it comes to be."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from importlib import resources
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from notifier.errors import AlreadyRunningError, StoreError
from notifier.store import Resent, Store, database_path, is_running, opening, sqlite, tables
from tests.store_files import CHANGE, KEY, NOW, TEAM, beside, marker, refused


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


# --- the files -------------------------------------------------------------------------------------------------------


def test_a_new_store_is_for_its_owner_only_whatever_the_umask(url: str, path: Path) -> None:
    script = f"""
import os
os.umask(0)
from notifier.store import Store
with Store.open({url!r}, daemon=True) as store:
    store.load_states(1.0)
    for file in sorted(os.scandir({str(path.parent)!r}), key=lambda file: file.name):
        print(file.name, oct(file.stat().st_mode & 0o777))
print(oct(os.stat({str(path.parent)!r}).st_mode & 0o777))
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    names = ["notifier.db", "notifier.db-shm", "notifier.db-wal", "notifier.db.lock", "notifier.db.marker"]
    assert output.stdout.splitlines() == [*(f"{name} 0o600" for name in names), "0o700"]


def test_rights_that_others_have_on_the_database_are_taken_away(url: str, filled: Path) -> None:
    filled.chmod(0o644)
    with Store.open(url):
        assert filled.stat().st_mode & 0o777 == 0o600


def test_every_connection_has_its_pragmas(url: str) -> None:
    with Store.open(url) as store, store._read() as reader:
        for connection in (store._writer, reader):
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "application_id")
            }
            assert found == {
                "journal_mode": "wal",
                "synchronous": 2,
                "foreign_keys": 1,
                "busy_timeout": 5000,
                "application_id": sqlite.APPLICATION_ID,
            }
        store._writer.rollback()


class Remembering(sqlite3.Connection):
    """Remembers of every connection that wrote something, when it is closed, what a commit of it was worth."""

    worth: list[tuple[str, int]] = []  # noqa: RUF012 - emptied by the test that reads it

    def close(self) -> None:
        if self.total_changes:
            ((mode,), (synchronous,)) = (self.execute(f"PRAGMA {name}").fetchone() for name in PRAGMAS)
            self.worth.append((mode, synchronous))
        super().close()


PRAGMAS = ("journal_mode", "synchronous")


def test_whatever_writes_into_the_store_outlives_a_power_cut(
    url: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """synchronous is 2, FULL, on each connection that has written: in WAL, less loses the last commits."""
    Remembering.worth.clear()
    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Remembering))
        with Store.open(url, daemon=True) as store:
            (delivery,) = store.record([CHANGE], NOW)
            store.mark_failed([delivery.id], due_at=NOW, reason="no")
            with Store.open(url, create=False) as verb:
                assert verb.resend(None, NOW) == Resent(())
                verb.mark_given_up([delivery.id], wall=NOW, reason="no")
                assert verb.resend(None, NOW).put_back == (delivery.id,)
            store.mark_sent([delivery.id], NOW)
    # The one that creates it, the daemon's, and that of `resend`.
    assert Remembering.worth == [("wal", 2)] * 3


def test_a_pragma_that_does_not_take_is_refused(url: str, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # SQLite answers 0 to a negative timeout, as it answers `delete` to WAL where there is no shared memory.
    monkeypatch.setitem(sqlite._PRAGMAS, "busy_timeout", -5)
    with refused(url, "busy_timeout=0", "local disk"):
        pass


def test_what_was_stored_is_there_after_a_restart(url: str, filled: Path) -> None:
    with Store.open(url, daemon=True) as store:
        assert store.load_states(NOW) == {KEY: CHANGE.state}
        assert store.waiting_addresses() == {TEAM: 1}
    assert beside(filled) == {"notifier.db", "notifier.db.marker", "notifier.db.lock"}


def test_a_folder_with_odd_characters_in_its_name_will_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/100% a b#&\N{SNOWMAN}/n.db"
    for _ in range(2):
        with Store.open(url) as store:
            store.record([CHANGE], NOW)
    assert (tmp_path / "100% a b#&\N{SNOWMAN}" / "n.db").is_file()


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///n.db?mode=ro",
        "sqlite:////tmp/what?/n.db",
        "postgresql://notifier:s3cret@db.example/notifier",
        "/var/lib/notifier.db",
        "",
    ],
)
def test_anything_but_the_url_of_a_file_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(StoreError, match=r"sqlite:////var/lib/notifier/notifier\.db") as caught:
        Store.open(url)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(StoreError):
        is_running(url)


def test_a_relative_url_means_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert database_path("sqlite:///n.db") == tmp_path / "n.db"


# --- reading what is not there ---------------------------------------------------------------------------------------


def test_a_store_that_does_not_exist_yet_reads_as_empty_and_no_file_is_made(url: str, path: Path) -> None:
    with Store.open(url, create=False) as store:
        assert store.load_states(NOW) == {}
        assert store.watches_overview() == []
        assert store.channels_overview() == []
        assert store.channel_health() == {}
        assert store.open_incidents() == []
        assert store.history(None, 10) == []
        assert store.waiting_addresses() == {}
        assert store.waiting(TEAM, limit=10, now=NOW) == []
        assert store.resend([1], NOW) == Resent((), unknown=(1,))
        assert not store.changed_elsewhere()
        store.check_identity()
    assert not is_running(url)
    assert not path.parent.exists()


def test_a_reading_verb_makes_no_file_beside_an_existing_store(url: str, filled: Path) -> None:
    marker(filled).unlink()
    with Store.open(url, create=False) as store:
        assert store.load_states(NOW) == {KEY: CHANGE.state}
    assert beside(filled) == {"notifier.db", "notifier.db.lock"}


# --- the lock --------------------------------------------------------------------------------------------------------


def test_a_store_that_is_reached_by_a_link_is_one_store_with_one_lock(url: str, filled: Path, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(filled)
    with Store.open(url, daemon=True):
        assert is_running(f"sqlite:///{tmp_path}/link.db")
        with pytest.raises(AlreadyRunningError):
            Store.open(f"sqlite:///{tmp_path}/link.db", daemon=True)
    with Store.open(f"sqlite:///{tmp_path}/link.db", daemon=True) as store:
        assert store.waiting_addresses() == {TEAM: 1}
        store.check_identity()
    assert [file.name for file in tmp_path.iterdir() if file.is_symlink() or file.is_file()] == ["link.db"]


DAEMON = """
import sys
from notifier.store import Store
with Store.open(sys.argv[1], daemon=True):
    print("open", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_daemon(url: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", DAEMON, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.kill()


def test_one_daemon_holds_the_store_and_the_verbs_work_beside_it(url: str) -> None:
    assert not is_running(url)
    with another_daemon(url) as process:
        assert is_running(url)
        with pytest.raises(AlreadyRunningError, match=rf"process {process.pid}\b"):
            Store.open(url, daemon=True)
        with Store.open(url, create=False) as verb:
            verb.record([CHANGE], NOW)
            assert verb.waiting_addresses() == {TEAM: 1}
        assert is_running(url)
    assert not is_running(url), "kill -9 frees it"
    with Store.open(url, daemon=True) as store:
        assert is_running(url)
        assert store.waiting_addresses() == {TEAM: 1}
        store.close()
        assert not is_running(url)


def test_a_look_at_the_lock_at_the_wrong_instant_does_not_keep_the_daemon_out(url: str, filled: Path) -> None:
    looking = os.open(f"{filled}.lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    assert not is_running(url), "two that look do not see each other"
    timer = threading.Timer(0.1, lambda: os.close(looking))
    timer.start()
    with Store.open(url, daemon=True):
        pass
    timer.join()


def test_the_files_are_known_to_be_the_same_while_they_are(url: str) -> None:
    with Store.open(url, daemon=True) as store:
        store.record([CHANGE], NOW)
        store.check_identity()


@pytest.mark.parametrize("name", ["notifier.db", "notifier.db-wal", "notifier.db.lock"])
@pytest.mark.parametrize("what", ["renamed", "removed", "replaced"])
def test_a_file_that_is_taken_from_under_the_daemon_is_noticed(url: str, path: Path, name: str, what: str) -> None:
    file = path.with_name(name)
    with Store.open(url, daemon=True) as store:
        content = file.read_bytes() if name.endswith(".lock") else b""
        file.rename(f"{file}.old")
        if what == "removed":
            Path(f"{file}.old").unlink()
        if what == "replaced":
            file.write_bytes(content)
        with pytest.raises(StoreError, match=f"{name} {'was replaced' if what == 'replaced' else 'is gone'}"):
            store.check_identity()


# --- the schema ------------------------------------------------------------------------------------------------------


def scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(resources.files("notifier.store") / "migrations"))
    return ScriptDirectory.from_config(config)


def test_the_steps_from_nothing_to_the_newest_make_exactly_the_tables(url: str) -> None:
    with Store.open(url) as store, store._read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, tables.metadata) == []
        assert connection.exec_driver_sql("PRAGMA user_version").scalar() == tables.SCHEMA_VERSION


def test_the_number_of_the_schema_is_that_of_the_newest_step() -> None:
    assert scripts().get_current_head() == f"{tables.SCHEMA_VERSION:04}"


def test_a_store_of_an_older_version_is_brought_up_to_date(
    url: str, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(filled)) as raw:
        raw.execute(f"PRAGMA user_version = {tables.SCHEMA_VERSION - 1}")
    with Store.open(url) as store, store._read() as connection:
        assert connection.exec_driver_sql("PRAGMA user_version").scalar() == tables.SCHEMA_VERSION
        assert store.load_states(NOW) == {KEY: CHANGE.state}


def test_a_store_of_an_older_version_is_left_alone_while_its_daemon_runs(url: str, filled: Path) -> None:
    with another_daemon(url) as process:
        with closing(sqlite3.connect(filled)) as raw:
            raw.execute(f"PRAGMA user_version = {tables.SCHEMA_VERSION - 1}")
        with pytest.raises(StoreError, match=rf"older version and in use.*{process.pid}.*[Rr]estart"):
            Store.open(url, create=False)


def test_a_step_that_fails_leaves_nothing_behind(url: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: set[int] = set()

    def fail(*_: object) -> None:
        modes.update(file.stat().st_mode & 0o777 for file in path.parent.iterdir())
        raise RuntimeError("halfway")

    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "stamp", fail)
        with pytest.raises(RuntimeError, match="halfway"):
            Store.open(url, daemon=True)
    assert modes == {0o600}, "at no moment can others read it"
    assert beside(path) == {"notifier.db.lock"}
    assert not is_running(url)
    with Store.open(url, daemon=True) as store:
        store.record([CHANGE], NOW)


def test_alembic_is_imported_only_when_the_schema_is_not_the_newest(url: str, filled: Path) -> None:
    """It takes as long as all the rest, and `status` should answer at once."""
    script = f"""
import sys
from notifier.store import Store
with Store.open({url!r}, create=False) as store:
    assert store.waiting_addresses()
print("alembic" in sys.modules)
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert output.stdout == "False\n"


def test_a_crash_before_the_marker_is_written_loses_nothing(
    url: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patched:
        patched.setattr(opening, "_write_marker", crash)
        with pytest.raises(RuntimeError, match="power cut"):
            Store.open(url)
    with Store.open(url):
        assert marker(path).exists()


def test_a_draft_that_a_crash_has_left_is_no_store(url: str, path: Path) -> None:
    path.parent.mkdir()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}.draft{suffix}").write_bytes(b"half of it")
    with Store.open(url) as store:
        assert store.load_states(NOW) == {}
    assert beside(path) == {"notifier.db", "notifier.db.marker", "notifier.db.lock"}
