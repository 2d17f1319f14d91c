"""What a person sees when something is wrong with the store, before the start and under the running daemon."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path

import pytest

from notifier.model import Address, Event, Key, Notice, State
from notifier.store import Change, Store
from tests.standins.api import ApiStandIn, plain
from tests.standins.daemon import Daemon
from tests.standins.disk import SmallDisk
from tests.standins.receiver import Receiver
from tests.test_service_process import config

NOW = 1_790_000_000.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def filled(path: Path, watches: int = 2000) -> None:
    """A store that was closed in good order, with so many finished watches in it."""
    with Store.open(f"sqlite:///{path}") as store:
        keys = [Key("here", f"id{number}") for number in range(watches)]
        told = [((Notice(key.id, Event.STATUS, NOW, key), (Address("team", ""),)),) for key in keys]
        states = [State(NOW, "failed", error="no", done=True) for _ in keys]
        changes = [Change(*each) for each in zip(keys, states, told, strict=True)]
        store.mark_sent([delivery.id for delivery in store.record(changes, NOW)], NOW)


# --- before the start ------------------------------------------------------------------------------------------------


def sql(statement: str) -> Callable[[Path], None]:
    def run(path: Path) -> None:
        with closing(sqlite3.connect(path)) as raw, raw:
            raw.execute(statement)

    return run


def overwritten(start: float, content: bytes) -> Callable[[Path], None]:
    """Bytes in the middle of a file that are not what they were; `start` is a share of its length."""

    def overwrite(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(int(path.stat().st_size * start))
            file.write(content)

    return overwrite


def without(path: Path, *suffixes: str) -> None:
    for suffix in suffixes:
        Path(f"{path}{suffix}").unlink()


def replaced_by_a_foreign_one(path: Path) -> None:
    without(path, "", ".marker")
    sql("CREATE TABLE songs (title TEXT)")(path)


def replaced_by_a_folder(path: Path) -> None:
    without(path, "")
    path.mkdir()


def emptied_with_its_marker(path: Path) -> None:
    without(path, ".marker")
    os.truncate(path, 0)


def lost_but_for_its_log(path: Path) -> None:
    without(path, "", ".marker")
    Path(f"{path}-wal").write_bytes(b"log")


def lost_behind_a_link(path: Path) -> None:
    without(path, "", ".marker")
    path.symlink_to(path.parent / "disk" / "notifier.db")


def locked_by_a_folder(path: Path) -> None:
    without(path, ".lock")
    Path(f"{path}.lock").mkdir()


Fault = tuple[Callable[[Path], object], list[str]]
"""What happens to the file, and what a person reads."""

FAULTS: dict[str, Fault] = {
    "emptied": (lambda path: os.truncate(path, 0), ["is empty", ".marker says", "Restore it", "move {}* away"]),
    "emptied with its marker": (emptied_with_its_marker, ["an empty file", "Restore it", "delete it"]),
    "lost": (lambda path: without(path, ""), ["is missing", "Restore it", "delete {}.marker"]),
    "lost but for its log": (lost_but_for_its_log, ["is missing", "{}-wal", "delete the log"]),
    "lost behind a link": (lost_behind_a_link, ["a link to", "disk/notifier.db", "delete the link"]),
    "foreign": (replaced_by_a_foreign_one, ["another program's", "songs", "Give `store` another path"]),
    "a text": (lambda path: path.write_text("apis:\n" * 500), ["not an SQLite database", "move {}* away"]),
    "a folder": (replaced_by_a_folder, ["a folder, not a file", "another path"]),
    "garbled head": (overwritten(0, os.urandom(100)), ["not an SQLite database", "Restore it"]),
    "garbled middle": (overwritten(0.4, bytes(40960)), ["damaged", "Restore it", "move {}* away"]),
    "cut short": (lambda path: os.truncate(path, 8192), ["damaged", "Restore it"]),
    "newer schema": (sql("PRAGMA user_version = 7"), ["a newer notifier", "Install that version"]),
    "another's marker": (
        lambda path: Path(f"{path}.marker").write_text("0123\n"),
        ["not the one", "Put the right one back", "delete {}.marker"],
    ),
    "a folder for a lock": (locked_by_a_folder, ["{}.lock: Is a directory", "move away"]),
}


def contents(folder: Path) -> dict[str, bytes | None]:
    """All there is in a folder; what a daemon writes into its lock file does not count."""
    return {
        str(file.relative_to(folder)): file.read_bytes() if file.is_file() else None
        for file in folder.rglob("*")
        if file.suffix != ".lock"
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store that nothing is wrong with."""
    folder = tmp_path_factory.mktemp("whole") / "state"
    filled(folder / "notifier.db")
    return folder


def read_one_line(program: Daemon, verb: str, code: int, words: list[str]) -> None:
    """The verb ends so, and says on one line which file it is about, what is wrong, and what to do."""
    path = program.folder / "state" / "notifier.db"
    arguments = (verb, "--all") if verb == "resend" else (verb,)
    (line,) = program.command(*arguments, check=code).stderr.splitlines()
    assert line.startswith("notifier: ")
    for word in [str(path), *(word.format(path) for word in words)]:
        assert word in line


@pytest.mark.parametrize("name", FAULTS)
def test_a_store_that_cannot_be_used_is_refused_in_one_line_and_left_as_it_is(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver, whole: Path, name: str
) -> None:
    happens, words = FAULTS[name]
    shutil.copytree(whole, tmp_path / "state")
    happens(tmp_path / "state" / "notifier.db")
    with Daemon(tmp_path, config(api, receiver, "a")) as program:
        program.path.chmod(0o600)
        before = contents(tmp_path)
        read_one_line(program, "run", 74, words)
        read_one_line(program, "check", 74, words)
        if name in ("emptied", "garbled head"):
            read_one_line(program, "status", 74, words)
            read_one_line(program, "history", 74, words)
            read_one_line(program, "resend", 74, words)
        assert contents(tmp_path) == before
    assert api.requests == []
    assert receiver.bodies == []


@pytest.mark.parametrize("what", ["deleted", "garbled"])
def test_a_log_that_is_lost_after_a_kill_costs_no_more_than_what_was_in_it(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver, what: str
) -> None:
    api.script("a", [plain("a", "processing"), plain("a", "failed", error="no")])
    log = tmp_path / "state" / "notifier.db-wal"
    with Daemon(tmp_path, config(api, receiver, "a")).start() as program:
        receiver.wait_for(1)
        program.kill()
        log.unlink() if what == "deleted" else log.write_bytes(os.urandom(log.stat().st_size))
        program.start()
        receiver.wait_for(2)  # that it was told already is among what is lost
        assert program.stop() == 0
        assert program.json("status")["watches"][0]["done"]
    assert not any("Traceback" in line for line in program.log)


def test_a_disk_without_room_or_that_can_only_be_read_is_no_place_to_start(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    with (
        SmallDisk(tmp_path / "state", "1M") as disk,
        Daemon(tmp_path, config(api, receiver, "a"), launcher=disk.launcher) as program,
    ):
        program.path.chmod(0o600)
        disk.fill()
        read_one_line(program, "run", 74, ["free some space"])
        assert {file.name for file in disk.inside.iterdir()} <= {"filler", "notifier.db.lock"}
        disk.make_room()
        program.start()
        assert program.stop() == 0
        disk.make_read_only()
        for verb in ("run", "check", "status"):
            read_one_line(program, verb, 74, ["ead-only"])


# --- under the running daemon ----------------------------------------------------------------------------------------


@contextmanager
def full_disk(program: Daemon, disk: SmallDisk | None) -> Iterator[str]:
    assert disk is not None
    disk.fill()
    yield "the disk is full; free some space"
    disk.make_room()


@contextmanager
def exhausted_quota(program: Daemon, _: SmallDisk | None) -> Iterator[str]:
    """Needs no right to mount; to SQLite it is a disk that fails to write."""
    limits = program.limit_files(0)
    yield "the disk does not read or write; look at the kernel's log and at the disk's quotas"
    program.limit_files(limits)


@contextmanager
def held_lock(program: Daemon, _: SmallDisk | None) -> Iterator[str]:
    with closing(sqlite3.connect(program.folder / "state" / "notifier.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield "another program has kept it locked for 5 s; end that program"
        other.execute("ROLLBACK")


Trouble = Callable[[Daemon, SmallDisk | None], AbstractContextManager[str]]


@pytest.mark.parametrize("trouble", [full_disk, exhausted_quota, held_lock])
def test_what_cannot_be_recorded_is_told_once_it_can_be(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver, trouble: Trouble
) -> None:
    """Meanwhile polls go on, operators hear of it once, and nothing is told, also not what is being delivered again."""
    for name in ("early", "late", "never"):
        api.script(name, [plain(name, "processing")])
    disk = SmallDisk(tmp_path / "state", "8M") if trouble is full_disk else None
    text = config(api, receiver, "early", "late", "never")
    with (
        disk or nullcontext(),
        Daemon(tmp_path, text, launcher=disk.launcher if disk else ()).start() as program,
    ):
        for name in ("early", "late", "never"):
            api.wait_for(2, name)
        receiver.hold.clear()
        api.script("early", [plain("early", "failed", error="no")])
        receiver.wait_for(1)  # it is being delivered when the trouble begins
        before = len([seen for seen in api.requests if seen.id == "late"])
        with trouble(program, disk) as reason:
            receiver.hold.set()
            api.script("late", [plain("late", "starting"), plain("late", "succeeded", output="https://x.test/a.png")])
            bodies = receiver.wait_for(2)
            assert "Store notifier.db cannot be written." in bodies[1]
            assert reason in bodies[1]
            api.wait_for(before + 2, "late")
            api.wait_for(len([seen for seen in api.requests if seen.id == "never"]) + 2, "never")
            assert program.json("status")["running"]
            assert len(receiver.bodies) == 2
        program.wait_for_log(lambda lines: any("incident over kind=store" in line for line in lines))
        for _ in range(20):  # each is a process of its own, that is pause enough
            known = program.json("status")
            if not known["incidents"] and not known["channels"][0]["waiting"]:
                break
        assert program.stop() == 0
        history = program.json("history")
    assert [(each["event"], each["before"], each["after"]) for each in history if each["id"] == "late"] == [
        ("status", "processing", "starting"),
        ("status", "starting", "succeeded"),
    ]
    assert {each["state"] for notice in history for each in notice["deliveries"]} == {"sent"}
    assert [each["event"] for each in history if each["id"] is None] == ["incident", "incident_over"]
    told = Counter(each["notice"] for each in history for body in receiver.bodies if each["notice"] in body)
    assert told == dict.fromkeys([each["notice"] for each in history], 1)
    assert not any("Traceback" in line for line in program.log)


def garbled(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    overwritten(0.01, os.urandom(path.stat().st_size))(path)


def replaced_by_a_copy(path: Path) -> None:
    Path(shutil.copy(path, path.with_suffix(".copy"))).replace(path)


TAKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "renamed": (lambda path: path.rename(f"{path}.old"), "notifier.db is gone"),
    "replaced": (replaced_by_a_copy, "db was replaced"),
    "without its log": (lambda path: without(path, "-wal"), "notifier.db-wal is gone"),
    "without its lock": (lambda path: without(path, ".lock"), "notifier.db.lock is gone"),
    "without its folder": (lambda path: path.parent.rename(path.parent.with_name("elsewhere")), "notifier.db is gone"),
    "garbled": (garbled, "damaged"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_store_that_is_taken_from_under_the_daemon_ends_it_and_operators_hear_why(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver, name: str
) -> None:
    happens, words = TAKEN[name]
    api.script("a", [plain("a", "processing")])
    with Daemon(tmp_path, config(api, receiver, "a")).start() as program:
        api.wait_for(2, "a")
        happens(tmp_path / "state" / "notifier.db")
        api.script("a", [plain("a", "starting")])
        assert program.wait() == 74
        assert program.log[-1].startswith("notifier: the store")
        assert words in program.log[-1]
        assert not any("Traceback" in line for line in program.log)
        (body,) = (body for body in receiver.bodies if "Store notifier.db" in body)
        assert words in body
        assert "Notifier has stopped" in body


def test_a_channel_that_works_is_no_incident_after_a_crash_that_kept_the_daemon_from_saying_so(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    """It died between the record that the channel took a message and the record that the incident is over."""
    text = "operators: [team]\n" + config(api, receiver, "a").replace(
        "channels: {", f"channels: {{other: {{url: '{receiver.url}'}}, third: {{url: '{receiver.url}'}}, "
    )
    with Daemon(tmp_path, text).start() as program:
        program.kill()
        with closing(sqlite3.connect(tmp_path / "state" / "notifier.db")) as raw, raw:
            for name in ("other", "third"):
                incident = ("channel", name, NOW, "refused", 3)
                raw.execute("INSERT INTO incidents VALUES (?, ?, ?, ?, ?)", incident)
            raw.execute("INSERT INTO channels VALUES ('other', '', ?, NULL), ('third', '', NULL, ?)", (NOW, NOW))
        program.start()
        (told,) = receiver.wait_for(1)
        assert [each["subject"] for each in program.json("status")["incidents"]] == ["third"]
        assert program.stop() == 0
        (over,) = program.json("history")
    assert (over["event"], over["name"]) == ("incident_over", "channel other")
    assert over["notice"] in told
