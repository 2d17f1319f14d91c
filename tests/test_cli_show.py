"""What `status` and `history` show to a person, at a terminal and through a pipe, and to a program."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from notifier.model import Address, Event, File, FileState, Incident, IncidentKind, Key, Notice, State
from notifier.store import AccountRow, Change, Store

ERROR = "CUDA out of memory. " + "Tried to allocate 20.00 MiB (GPU 0; 39.39 GiB total capacity) " * 3 + "the end"
NAMED, PLAIN, TROUBLED = (Key("cometapi", id_) for id_ in ("rrr4z55ocneqzikepnug6xezpe", "plain1", "troubled1"))
MAIL = Address("mail", "o…l@example.com~5f3c9a01")
CONFIG = f"""
apis: {{cometapi: {{token: some-token}}}}
channels: {{team: {{url: 'json://127.0.0.1:9/'}}, mail: {{url: 'json://127.0.0.1:9/'}}}}
watchlist:
  - id: {NAMED.id}
    name: A launch teaser with a name that is longer than any terminal likes
  - {PLAIN.id}
  - {TROUBLED.id}
"""
OUTPUTS = "outputs: {directory: /srv/files}\n"
PLACE = f"/srv/files/cometapi/{NAMED.id}/000-a-teaser-whose-name-makes-its-path-longer-than-a-line.mp4"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A configuration, and a store in which things went well and badly."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    now = time.time()
    with Store.open(f"sqlite:///{tmp_path}/state/notifier.db", daemon=True) as store:
        notice = Notice(
            "n1", Event.STATUS, now, NAMED, name="Teaser", before="processing", status="failed", error=ERROR
        )
        states = {
            NAMED: State(watched_since=now, status="failed", error=ERROR, done=True),
            PLAIN: State(watched_since=now, status="processing", let_go=True),
            TROUBLED: State(
                watched_since=now, status="starting", failures=7, failure="HTTP 502", troubles=("unreachable",)
            ),
        }
        owed = {NAMED: ((notice, (Address("team", ""), MAIL)),)}
        first, second = store.record([Change(key, state, owed.get(key, ())) for key, state in states.items()], now)
        store.mark_given_up([first.id], wall=now, reason="HTTP 404: no_service")
        store.mark_failed([second.id], due_at=now, reason="SMTP 451 try later")
        store.note_failing(MAIL, now - 4000)
        incident = Incident(IncidentKind.CHANNEL, " ".join(MAIL), now - 4000, "SMTP 451 try later")
        told = Notice("n2", Event.INCIDENT, now, name="channel mail", detail="SMTP 451 try later")
        store.open_incident(incident, [(told, (Address("team", ""),))], now)
    return tmp_path


def environment(folder: Path, **more: str) -> Mapping[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "STATE_DIRECTORY": str(folder / "state"), **more}


def piped(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "notifier", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(folder, **more), capture_output=True, timeout=60, encoding="utf-8"
    )


def at_a_terminal(folder: Path, columns: int, *arguments: str) -> list[str]:
    """The lines on a terminal so wide, without their colours."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [sys.executable, "-m", "notifier", *arguments]
    program = subprocess.Popen(command, cwd=folder, env=environment(folder, TERM="xterm"), stdout=its, stdin=its)
    os.close(its)
    written = b""
    try:
        while part := os.read(ours, 10_000):
            written += part
    except OSError:  # how Linux says that the last writer has closed the terminal
        pass
    finally:
        os.close(ours)
    assert program.wait(60) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", written.decode()).splitlines()


def test_status_fits_a_terminal_and_says_everything(folder: Path) -> None:
    lines = at_a_terminal(folder, 80, "status")
    assert max(map(len, lines)) <= 80
    shown = " ".join(" ".join(lines).split())
    assert ERROR in shown
    for said in (
        f"failed A launch teaser … {NAMED.id} - never: done",
        "processing plain1 - never: let go",
        "unreachable, 7 failed polls: HTTP 502",
        "team 1 1 - -",
        "`notifier resend` sends it again",
        "mail 1 0 - 67m ago SMTP 451 try later",
        "channel mail o…l@example.com 67m ago SMTP 451 try later",
    ):
        assert said in shown


@pytest.mark.parametrize("verb", ["status", "history"])
def test_a_pipe_gets_each_thing_on_a_line_of_its_own(folder: Path, verb: str) -> None:
    done = piped(folder, verb)
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert f"    error: {ERROR}" in lines
    assert not [line for line in lines if line != line.rstrip()]


def test_history_shows_what_happened_and_what_became_of_it(folder: Path) -> None:
    lines = piped(folder, "history").stdout.splitlines()
    assert re.fullmatch(rf"\S+Z  status  Teaser \({NAMED.id}\)  processing → failed  notice n1", lines[0])
    assert [line.strip() for line in lines[2:4]] == [
        "1  team: given_up, 1 attempt: HTTP 404: no_service",
        "2  mail (o…l@example.com): waiting, 1 attempt: SMTP 451 try later",
    ]
    assert lines[4].endswith("incident  channel mail  notice n2")
    assert lines[5].strip() == "detail: SMTP 451 try later"
    assert piped(folder, "history", "nobody").stderr == "nothing is known of nobody\n"
    assert piped(folder, "history", PLAIN.id).stderr == "nothing was told yet\n"


def test_history_tells_a_failure_before_the_success_from_one_that_stands(folder: Path) -> None:
    with Store.open(f"sqlite:///{folder}/state/notifier.db", create=False) as store:
        store.mark_sent([2], time.time())
    lines = piped(folder, "history").stdout.splitlines()
    assert lines[3].strip() == "2  mail (o…l@example.com): sent, 2 attempts; before: SMTP 451 try later"


def test_history_is_whole_as_json_and_says_what_it_leaves_out_for_a_person(folder: Path) -> None:
    with Store.open(f"sqlite:///{folder}/state/notifier.db", create=False) as store:
        for number in range(250):
            store.record_notice(Notice(f"m{number}", Event.TEST, time.time(), name="many"), (), time.time())
    assert len(json.loads(piped(folder, "history", "--json").stdout)) == 252
    assert len(json.loads(piped(folder, "history", "--json", "--limit", "3").stdout)) == 3
    shown = piped(folder, "history")
    assert shown.stdout.count("notice m") == 200
    assert shown.stderr == "the newest 200; --limit shows more\n"
    assert piped(folder, "history", "--limit", "251").stdout.count("notice ") == 251


def test_json_tells_what_is_over_from_what_was_let_go_and_why_a_channel_fails(folder: Path) -> None:
    found = json.loads(piped(folder, "status", "--json").stdout)
    assert [(each["id"], each["done"], each["let_go"], each["next_poll"]) for each in found["watches"][:2]] == [
        (NAMED.id, True, False, None),
        (PLAIN.id, False, True, None),
    ]
    assert found["watches"][2]["failure"] == "HTTP 502"
    assert [(each["name"], each["last_error"]) for each in found["channels"]] == [
        ("team", None),
        ("mail", "SMTP 451 try later"),
    ]
    assert found["incidents"][0]["subject"] == "mail o…l@example.com"


def test_status_and_check_say_when_more_is_asked_for_than_can_be_done(folder: Path) -> None:
    busy = AccountRow("cometapi", asked=0.1, allowed=10.0, latency=9000.0)
    said = "at 9e+03 s a poll, 900 would be in flight and `concurrency` is 256: intervals stretch 3.52 times"
    assert "cannot keep up" not in piped(folder, "status").stdout
    assert "stretch" not in piped(folder, "check").stdout
    with Store.open(f"sqlite:///{folder}/state/notifier.db", daemon=True) as store:
        store.touch([], [busy])
    assert f"account cometapi cannot keep up: {said}\n" in piped(folder, "status").stdout
    assert f"    {said}\n" in piped(folder, "check").stdout
    assert json.loads(piped(folder, "status", "--json").stdout)["accounts"] == [
        {"name": "cometapi", "asked": 0.1, "allowed": 10.0, "latency": 9000.0, "shortfall": said}
    ]


@pytest.mark.parametrize("arguments", [("status",), ("history", "--json"), ("schema",), ("check",)])
def test_an_output_that_cannot_be_written_is_one_line(folder: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "notifier", *arguments],
            cwd=folder,
            env=environment(folder),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (
        1,
        "notifier: the output cannot be written: No space left on device\n",
    )


def a_file(key: Key, number: int, state: FileState, **facts: object) -> File:
    values = {"url": f"https://u:p@h/{number}?sig=s3cr3t", "created_at": time.time(), "due_at": time.time()}
    return File(key, number, f"https://h/{number}", state=state, **{**values, **facts})  # type: ignore[arg-type]


@pytest.fixture
def keeping(folder: Path) -> Path:
    """The same with files: one of each kind of the teaser's, all of another's, and those of one that is not listed."""
    (folder / "config.yaml").write_text(CONFIG + OUTPUTS)
    saved = {
        "place": PLACE,
        "size": 1_234_567,
        "sha256": "5" * 64,
        "content_type": "video/mp4",
        "last_error": "HTTP 500",
    }
    mine = [
        a_file(NAMED, 0, FileState.SAVED, name="000-a.mp4", url=None, **saved),
        a_file(NAMED, 1, FileState.WAITING, last_error="HTTP 502", expires_at=time.time() + 3000),
        a_file(NAMED, 2, FileState.WAITING),
        a_file(NAMED, 3, FileState.LOST, last_error="HTTP 404 [not] found " * 5, ended_at=time.time()),
        a_file(NAMED, 4, FileState.REMOVED, url=None, name="004-b.png", size=5, ended_at=time.time()),
    ]
    others = [a_file(PLAIN, number, FileState.SAVED, place=f"/srv/{number}", size=1) for number in range(2)]
    unlisted = a_file(Key("cometapi", "byhand"), 0, FileState.SAVED, place="s3://b/byhand/000", size=1)
    with Store.open(f"sqlite:///{folder}/state/notifier.db", create=False) as store:
        for file in (*mine, *others, unlisted):
            store.end_file(file, lambda _: (), time.time())
    return folder


def test_status_says_what_became_of_a_watchs_files_and_of_all(keeping: Path) -> None:
    lines = piped(keeping, "status").stdout.splitlines()
    teaser = next(number for number, line in enumerate(lines) if NAMED.id in line)
    assert lines[teaser + 2] == "    files: 1 of 5 kept, 2 on their way, 1 lost, 1 removed"
    plain = next(number for number, line in enumerate(lines) if PLAIN.id in line)
    assert lines[plain + 1] == "    files: 2 kept"
    assert lines[plain + 2].startswith("starting"), "a watch without files has no line for them"
    assert lines[-1] == "outputs: 4 kept, 2 on their way, 1 lost, in /srv/files"
    assert max(map(len, at_a_terminal(keeping, 80, "status"))) <= 80


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ("saved", "1 kept"),
        ("saved waiting", "1 of 2 kept, 1 on its way"),
        ("waiting waiting", "2 on their way"),
        ("lost lost", "2 lost"),
        ("removed", "1 removed"),
    ],
)
def test_what_became_of_files_is_said_in_few_words(folder: Path, states: str, said: str) -> None:
    with Store.open(f"sqlite:///{folder}/state/notifier.db", create=False) as store:
        for number, state in enumerate(states.split()):
            store.end_file(a_file(PLAIN, number, FileState(state)), lambda _: (), time.time())
    assert f"    files: {said}\n" in piped(folder, "status").stdout


def test_history_of_a_prediction_says_where_its_files_are_and_why_not(keeping: Path) -> None:
    whole = [line.rstrip() for line in piped(keeping, "history", NAMED.id).stdout.splitlines()]
    assert whole[-11:] == [
        "files",
        "         0  saved, 1.2 MB",
        f"            {PLACE}",
        "         1  waiting, given up in 50m: HTTP 502",
        "            https://h/1",
        "         2  waiting",
        "            https://h/2",
        f"         3  lost: {'HTTP 404 [not] found ' * 5}".rstrip(),
        "            https://h/3",
        "         4  removed, 5 bytes",
        "            https://h/4",
    ]
    lines = at_a_terminal(keeping, 80, "history", NAMED.id)
    assert f"            {PLACE}" in lines, "to be copied, it is the terminal that breaks it"
    assert max(len(line) for line in lines if PLACE not in line) <= 80
    assert "files" not in piped(keeping, "history").stdout.split("\n")


def test_history_knows_files_of_a_prediction_of_which_nothing_was_told(keeping: Path) -> None:
    done = piped(keeping, "history", "byhand")
    assert done.stdout == "files\n         0  saved, 1 byte\n            s3://b/byhand/000\n"
    assert done.stderr == ""


def test_json_has_every_file_and_how_many_there_are(keeping: Path) -> None:
    said = piped(keeping, "status", "--json").stdout
    assert "s3cr3t" not in said
    found = json.loads(said)
    assert found["outputs"] == {"directory": "/srv/files", "waiting": 2, "saved": 4, "lost": 1}
    files = {watch["id"]: watch["files"] for watch in found["watches"]}
    assert files[NAMED.id][0] == {
        "number": 0,
        "name": "000-a.mp4",
        "state": "saved",
        "place": PLACE,
        "size": 1_234_567,
        "sha256": "5" * 64,
        "content_type": "video/mp4",
        "source": "https://h/0",
        "error": "HTTP 500",
        "expires": None,
    }
    assert [file["state"] for file in files[NAMED.id]] == ["saved", "waiting", "waiting", "lost", "removed"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}Z", files[NAMED.id][1]["expires"])
    assert (len(files[PLAIN.id]), files[TROUBLED.id]) == (2, [])
    notices = json.loads(piped(keeping, "history", "--json").stdout)
    assert [(notice["notice"], notice["files"]) for notice in notices] == [("n1", files[NAMED.id]), ("n2", [])]


def test_without_a_place_for_files_there_is_none_in_json_nor_a_line(folder: Path) -> None:
    assert json.loads(piped(folder, "status", "--json").stdout)["outputs"] is None
    assert "outputs" not in piped(folder, "status").stdout
    (folder / "config.yaml").write_text(CONFIG + OUTPUTS)
    assert piped(folder, "status").stdout.splitlines()[-1] == "outputs: 0 kept, in /srv/files"


def test_a_terminal_that_lacks_a_character_gets_a_question_mark(folder: Path) -> None:
    done = piped(folder, "history", PYTHONIOENCODING="ascii")
    assert "processing ? failed" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_run_is_still_loading_ends_or_reloads_it_in_good_order(folder: Path, number: int) -> None:
    """From its first own line on: what comes before that is Python's."""
    program = subprocess.Popen(
        [sys.executable, "-m", "notifier", "run"],
        cwd=folder,
        env=environment(folder),
        stderr=subprocess.PIPE,
        text=True,
    )
    # It takes most of a second from here on to be loaded.
    while not int(re.findall(r"SigBlk:\s*(\w+)", Path(f"/proc/{program.pid}/status").read_text())[0], 16) >> 14 & 1:
        assert program.poll() is None
        time.sleep(0.001)
    program.send_signal(number)
    if number == signal.SIGHUP:
        assert program.stderr is not None
        said = iter(program.stderr.readline, "")
        assert any("reloaded" in line for line in said)
        program.terminate()
    _, said_last = program.communicate(timeout=60)
    assert program.returncode == 0, said_last
    assert "Traceback" not in said_last
