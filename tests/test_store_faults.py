"""What the store survives: a full disk, a read-only one, kill -9 at any moment."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from notifier.errors import StoreWriteError
from notifier.model import Address, Event, Key, Notice, State
from notifier.store import Change, Store

NOW = 1_800_000_000.0
KEY = Key("cometapi", "aaa")
TEAM = Address("team", "")
ROOT = Path(__file__).parents[1]


def change(number: int, text: str = "") -> Change:
    notice = Notice(f"n{number}", Event.STATUS, NOW, KEY, error=text)
    return Change(KEY, State(NOW, "processing", notices=number), ((notice, (TEAM,)),))


def in_a_namespace(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python as root in a mount namespace of its own; skips the test where the machine does not allow that."""
    unshare = ["unshare", "--mount", "--propagation", "private"]
    try:
        allowed = subprocess.run([*unshare, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs unshare(1)")
    if allowed.returncode:
        pytest.skip("needs the right to mount: " + allowed.stderr.decode().strip())
    return subprocess.run(
        [*unshare, sys.executable, "-c", script, str(folder)], capture_output=True, text=True, timeout=60, cwd=ROOT
    )


FULL_DISK = """
import os, subprocess, sys
from notifier.errors import StoreError, StoreWriteError
from notifier.store import Store
from tests.test_store_faults import KEY, NOW, TEAM, change

subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "none", sys.argv[1]], check=True)
filler = sys.argv[1] + "/filler"

def fill():
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass

def refusal(action):
    try:
        action()
    except StoreError as error:
        assert "disk is full" in str(error), error
        return type(error)

url = f"sqlite:///{sys.argv[1]}/n.db"
fill()
assert refusal(lambda: Store.open(url, daemon=True)) is not None
assert not os.path.exists(sys.argv[1] + "/n.db"), "nothing half-made is left"
os.unlink(filler)
with Store.open(url, daemon=True) as store:
    store.record([change(1)], NOW)
    fill()
    for number in range(2, 100):
        if refusal(lambda: store.record([change(number, "x" * 3000)], NOW)):
            break
    assert refusal(lambda: store.record([change(number, "x" * 3000)], NOW)) is StoreWriteError
    assert store.load_states(NOW)[KEY].notices == number - 1
    assert len(store.waiting(TEAM, limit=100, now=NOW)) == number - 1
    os.unlink(filler)
    store.record([change(number)], NOW)
    assert store.load_states(NOW)[KEY].notices == number
    store.check_identity()
print("survived", number)
"""


def test_a_full_disk_is_survived_and_heals_on_the_same_connection(tmp_path: Path) -> None:
    result = in_a_namespace(FULL_DISK, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("survived")


def test_a_database_that_may_not_grow_is_survived_and_heals(tmp_path: Path) -> None:
    """As a full disk, without the right to mount one."""
    with Store.open(f"sqlite:///{tmp_path}/n.db", daemon=True) as store:
        store.record([change(1)], NOW)
        pages = store._writer.exec_driver_sql("PRAGMA page_count").scalar()
        store._writer.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        store._writer.rollback()

        large = [change(number, "x" * 5000) for number in range(2, 10)]
        for _ in range(2):
            with pytest.raises(StoreWriteError, match=r"disk is full; free some space.*SQLITE_FULL"):
                store.record(large, NOW)
            assert store.load_states(NOW)[KEY].notices == 1
            assert store.waiting_addresses() == {TEAM: 1}

        store._writer.exec_driver_sql("PRAGMA max_page_count = 100000")
        store._writer.rollback()
        store.record(large, NOW)
        assert store.load_states(NOW)[KEY].notices == 9
        assert store.waiting_addresses() == {TEAM: 9}


READ_ONLY = """
import subprocess, sys
from notifier.errors import StoreError
from notifier.store import Store

subprocess.run(["mount", "--bind", sys.argv[1], sys.argv[1]], check=True)
subprocess.run(["mount", "-o", "remount,bind,ro", sys.argv[1]], check=True)
for name in ("n.db", "new.db"):
    url = f"sqlite:///{sys.argv[1]}/{name}"
    for use in (lambda: Store.open(url, daemon=True), lambda: Store.open(url), lambda: Store.check(url)):
        try:
            use()
        except StoreError as error:
            print(error)
"""


def test_a_read_only_file_system_is_refused_in_words(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/n.db", daemon=True) as store:
        store.record([change(1)], NOW)
    result = in_a_namespace(READ_ONLY, tmp_path)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 6
    assert all("read-only" in line.lower() for line in lines), lines


NOT_WRITABLE = """
import sys
from notifier.errors import StoreError
from notifier.store import Store

for name in ("n.db", "new.db", "a/folder/new.db"):
    url = f"sqlite:///{sys.argv[1]}/{name}"
    for use in (lambda: Store.open(url, daemon=True), lambda: Store.check(url)):
        try:
            use()
        except StoreError as error:
            print(error)
"""


def test_a_folder_that_may_not_be_written_is_refused_in_words(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/n.db"):
        pass
    # Root may write everywhere, unless it gives up what makes it root.
    powerless = ["setpriv", "--bounding-set=-all"] if os.geteuid() == 0 else []
    tmp_path.chmod(0o500)
    try:
        result = subprocess.run(
            [*powerless, sys.executable, "-c", NOT_WRITABLE, str(tmp_path)], capture_output=True, text=True
        )
    finally:
        tmp_path.chmod(0o700)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 6
    assert all("cannot be used" in line and "owner and mode" in line for line in lines), result.stdout


def test_a_store_that_can_only_be_read_for_a_while_is_survived(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/n.db", daemon=True) as store:
        store._writer.exec_driver_sql("PRAGMA query_only = 1")
        store._writer.rollback()
        with pytest.raises(StoreWriteError, match=r"can only be read; check .*SQLITE_READONLY"):
            store.record([change(1)], NOW)
        store.check_identity()
        store._writer.exec_driver_sql("PRAGMA query_only = 0")
        store._writer.rollback()
        store.record([change(1)], NOW)
        assert store.waiting_addresses() == {TEAM: 1}


RECORDER = """
import sys
from notifier.model import Address, Event, Key, Notice, State
from notifier.store import Change, Store

keys = [Key("cometapi", f"id{number}") for number in range(7)]
with Store.open(sys.argv[1], daemon=True) as store:
    states = store.load_states(2e9)
    made = {key: states[key].notices if key in states else 0 for key in keys}
    while True:
        changes = []
        for key in keys:
            made[key] += 2
            notices = tuple(Notice("n", Event.STATUS, 2e9, key, logs="x" * 500) for _ in range(2))
            owed = tuple((notice, (Address("a", ""), Address("b", ""))) for notice in notices)
            changes.append(Change(key, State(2e9, "processing", notices=made[key]), owed))
        deliveries = store.record(changes, 2e9)
        store.mark_sent([one.id for one in deliveries if one.address.channel == "a"], 2e9)
        print(sum(made.values()), flush=True)
"""


def test_state_and_outbox_agree_after_every_kill(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/n.db"
    chance = random.Random(7)
    said = 0
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", RECORDER, url], stdout=subprocess.PIPE, text=True)
        with process:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 25)):
                said = int(process.stdout.readline())
            process.kill()
            # What it said until the signal took effect is promised, too.
            said = max([said, *(int(line) for line in process.stdout if line.endswith("\n"))])

        with Store.open(url, daemon=True, now=NOW) as store:
            rows = store.history(None, 10**9)
            told = Counter(row.key for row in rows)
            assert told == {key: state.notices for key, state in store.load_states(2e9).items()}
            assert {len(row.deliveries) for row in rows} == {2}
            assert told.total() >= said, "what was recorded stays recorded"
    with closing(sqlite3.connect(tmp_path / "n.db")) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []


def test_a_mistake_of_our_own_stays_loud_without_showing_values_and_breaks_nothing(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/n.db") as store:
        broken = Change(KEY, State(watched_since=None, error="a value"))  # type: ignore[arg-type]
        with pytest.raises(IntegrityError, match=r"watches\.watched_since") as caught:
            store.record([broken], NOW)
        assert "a value" not in str(caught.value)
        store.record([change(1)], NOW)
        assert store.waiting_addresses() == {TEAM: 1}


def test_a_transaction_that_writes_takes_the_write_lock_before_it_reads(tmp_path: Path) -> None:
    """Else one that reads first would fail at once when `resend` has written in between."""
    with (
        Store.open(f"sqlite:///{tmp_path}/n.db") as store,
        closing(sqlite3.connect(store.path, timeout=0, isolation_level=None)) as other,
    ):
        with store._write(), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        with store._read() as connection:
            connection.exec_driver_sql("SELECT * FROM watches").all()
            other.execute("BEGIN IMMEDIATE")
