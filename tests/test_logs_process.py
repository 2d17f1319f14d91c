"""The log of real processes: whom it reaches, who has a say in it, and that it stops nobody."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.standins import talkative
from tests.standins.api import ApiStandIn, plain, problem
from tests.standins.daemon import ROOT, Daemon
from tests.standins.receiver import Receiver

SPOKEN = "import logging\nfrom notifier import logs\nlog = logging.getLogger('notifier.parts')\n"
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) ")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def config(api: ApiStandIn, receiver: Receiver, *, more: str = "") -> str:
    return (
        f"apis: {{here: {{base_url: '{api.base_url}', token: some-token-of-nobody, rate: 1000/s}}}}\n"
        f"channels:\n  team: {{url: '{receiver.url}', rate: 1000/s, digest_over: 1000}}\n{more}"
        "defaults: {interval: 1s}\nwatchlist: [a, b]\n"
    )


def python(program: str, stderr: int = subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A process that logs."""
    return subprocess.run(
        [sys.executable, "-c", SPOKEN + program],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=stderr,
        timeout=60,
    )


def lines(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    """What it said, each line as JSON."""
    return [json.loads(line) for line in done.stderr.decode().splitlines()]


# --- whom it reaches -------------------------------------------------------------------------------------------------

ONE_EVENT = "logs.setup(as_json={})\nlogs.event(log, logging.WARNING, 'said', id='ä')\n"
STDERR = "import os, sys\nfound = os.fstat(2)\nos.environ['JOURNAL_STREAM'] = f'{found.st_dev}:{found.st_ino}'\n"


def test_the_journal_gets_levels_and_no_times_and_json_if_it_is_asked_for() -> None:
    assert python(STDERR + ONE_EVENT.format(False)).stderr.decode() == "<4>said id=ä\n"
    level, brace, rest = python(STDERR + ONE_EVENT.format(True)).stderr.decode().partition("{")
    assert (level, json.loads(brace + rest)["id"]) == ("<4>", "ä")


def test_standard_error_that_was_taken_from_the_journal_to_a_file_or_a_pipe_is_not_the_journal() -> None:
    """Whoever starts a program in a service's environment has its JOURNAL_STREAM, too."""
    for stream in ("1:2", "nonsense", ""):
        assert STAMP.match(python(ONE_EVENT.format(False), JOURNAL_STREAM=stream).stderr.decode())
    reader, journal = os.pipe()
    found = os.fstat(journal)
    environment = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
    try:
        with tempfile.TemporaryFile() as file:
            python(ONE_EVENT.format(False), file.fileno(), **environment)
            file.seek(0)
            assert STAMP.match(file.read().decode())
        python(ONE_EVENT.format(False), journal, **environment)
        assert os.read(reader, 1000).decode() == "<4>said id=ä\n"
    finally:
        os.close(reader)
        os.close(journal)


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", b"id=?"), ("latin-1", b"id=\xe4"), ("utf-8", b"id=\xc3\xa4")]
)
def test_a_terminal_gets_what_it_can_show_and_a_program_utf_8(encoding: str, shown: bytes) -> None:
    assert shown in python(ONE_EVENT.format(False), PYTHONIOENCODING=encoding).stderr
    (line,) = lines(python(ONE_EVENT.format(True), PYTHONIOENCODING=encoding))
    assert line["id"] == "ä"


NOBODY = {"closed": "2>&-", "nobody reads": "2> >(:)", "a full disk": "2>/dev/full"}


@pytest.mark.parametrize("redirection", NOBODY.values(), ids=NOBODY.keys())
def test_a_daemon_whose_log_reaches_nobody_polls_and_delivers_and_ends_as_always(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver, redirection: str
) -> None:
    api.script("a", [plain("a", status) for status in ("starting", "processing", "succeeded")])
    api.script("b", [problem(500)])
    launcher = ("bash", "-c", f'exec "$@" {redirection}', "bash")
    with Daemon(tmp_path, config(api, receiver), launcher=launcher) as program:
        program.launch("--log-level", "debug")
        receiver.wait_for(2)
        stderr = os.readlink(f"/proc/{program.pid}/fd/2")
        assert stderr.startswith(("pipe:", "/dev/")), "no other file may stand in its place"
        assert program.stop() == 0
        assert program.log == []


# --- who has a say ---------------------------------------------------------------------------------------------------


def test_libraries_speak_from_warnings_on_and_their_chatter_is_kept_out() -> None:
    done = python(
        "logs.setup(logging.DEBUG, as_json=True)\n"
        "for name in ('urllib3', 'apprise.plugins', 'notifier_of_others', 'notifier.parts'):\n"
        "    library = logging.getLogger(name)\n"
        "    if name != 'notifier.parts': library.setLevel(logging.DEBUG)\n"
        "    for level in (10, 20, 30): library.log(level, 'level %s', level)\n"
    )
    said = [(line["logger"], line["level"]) for line in lines(done)]
    assert [level for name, level in said if name == "notifier.parts"] == ["debug", "info", "warning"]
    assert [entry for entry in said if entry[0] != "notifier.parts"] == [
        (name, "warning") for name in ("urllib3", "apprise.plugins", "notifier_of_others")
    ]


def test_with_the_level_error_libraries_warn_of_nothing() -> None:
    assert python("logs.setup(logging.ERROR)\nlogging.getLogger('urllib3').warning('x')\n").stderr == b""


def test_a_library_that_logs_what_cannot_be_shown_breaks_nothing() -> None:
    done = python(
        "logs.setup(as_json=True)\nclass Odd:\n    def __str__(self): raise LookupError('no words')\n"
        "logging.getLogger('library').warning('%d %s', 'secret')\n"
        "logging.getLogger('library').error(Odd())\n"
        "logs.event(log, logging.INFO, 'said', odd=Odd(), long=10**5000)\n"
        "logs.event(log, logging.INFO, 'said')\n"
    )
    said = [(line["logger"], line["level"], line["event"]) for line in lines(done)]
    assert said == [
        ("library", "warning", "a line cannot be shown"),
        ("library", "error", "a line cannot be shown"),
        ("notifier.parts", "info", "a line cannot be shown"),
        ("notifier.parts", "info", "said"),
    ]


def test_exceptions_and_warnings_that_python_would_print_are_lines_of_the_log() -> None:
    done = python(
        "logs.setup(as_json=True)\nlogs.hide(['a-secret'])\nimport threading, warnings, sys\n"
        "warnings.warn('of a-secret')\n"
        "class Odd:\n    def __del__(self): raise LookupError('a-secret')\n"
        "Odd()\n"
        "def fail(): raise ValueError('a-secret')\n"
        "def end(): sys.exit()\n"
        "for target in (end, fail):\n"
        "    thread = threading.Thread(target=target, name='named a-secret')\n    thread.start(); thread.join()\n"
        "fail()\n"
    )
    assert done.returncode == 1
    assert b"a-secret" not in done.stderr
    warned, passed_over, thread, main = lines(done)
    assert "UserWarning: of ***" in warned["event"]
    assert [(line.get("effect"), line["level"], line["event"]) for line in (passed_over, thread, main)] == [
        ("passed over", "error", "mistake in the program"),
        ("a thread has ended", "critical", "mistake in the program"),
        ("the program ends", "critical", "mistake in the program"),
    ]
    assert passed_over["traceback"].endswith("LookupError: ***")
    assert thread["thread"] == "named ***"
    assert main["traceback"].endswith("ValueError: ***")


def test_a_signal_of_the_watchdog_shows_where_each_thread_stands_and_no_value(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    with Daemon(tmp_path, config(api, receiver)) as program:
        program.start()
        program.signal(signal.SIGABRT)
        assert program.wait() == -signal.SIGABRT
        said = "\n".join(program.log)
    assert "Fatal Python error: Aborted" in said
    assert len(re.findall(r"^(Current thread|Thread) 0x", said, re.MULTILINE)) >= 5
    for file in ("keeper.py", "heartbeat.py", "signals.py"):
        assert f'{file}"' in said
    assert "some-token-of-nobody" not in said


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_whole_of_a_daemons_log_is_json_if_it_is_asked_for(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    api.script("a", [plain("a", "failed", error="no")])
    api.script("b", [problem(500, "Oops")])
    with Daemon(tmp_path, config(api, receiver)) as program:
        program.launch("--log-format", "json", "--log-level", "debug")
        program.wait_for_log(lambda said: any('"event": "sent"' in line for line in said))
        program.wait_for_log(lambda said: any('"event": "poll failed"' in line for line in said))
        program.path.write_text("intervall: 1s\n")
        program.wait_for_log(lambda said: any("not reloaded" in line for line in said))
        assert program.stop() == 0
    said = [json.loads(line) for line in program.log]
    assert all(list(line)[:4] == ["time", "level", "logger", "event"] for line in said)
    assert [(line["watches"], line["channels"]) for line in said if line["event"] == "started"] == [(2, 1)]
    (told,) = (line for line in said if line["event"] == "status")
    (sent,) = (line for line in said if line["event"] == "sent" and line["notices"] == told["notice"])
    assert (told["id"], told["status"], sent["channel"], sent["level"]) == ("a", "failed", "team", "info")


def test_why_it_does_not_start_is_json_too_and_has_its_level_in_the_journal(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    program = Daemon(tmp_path, config(api, receiver).replace("interval", "intervall").replace("[a, b]", "7"))
    done = program.command("run", "--log-format", "json", check=78)
    first, second, last = (json.loads(line) for line in done.stderr.splitlines())
    assert {first["event"], second["event"]} == {"mistake in the configuration"}
    assert ": defaults.intervall: " in first["mistake"]
    assert (last["level"], last["exit_code"]) == ("critical", 78)
    script = STDERR + f"sys.argv = ['notifier', 'run', '-c', '{program.path}']\nfrom notifier.cli import main\nmain()\n"
    done_in_journal = python(script)
    assert done_in_journal.returncode == 78
    assert [line[:3] for line in done_in_journal.stderr.decode().splitlines()] == ["<3>", "<3>", "<2>"]


SECRETS: Mapping[str, str] = {
    "SECRET_TOKEN": "r8_token_of_nobody+/=",
    "SECRET_PASSWORD": 'pass "word" \\ ünd so',
    "SECRET_HOOK": "path-of-the-hook",
    "SECRET_SHORT": "q9x7z",
}


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_in_anything_the_daemon_says_when_everybody_says_them(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver, form: str
) -> None:
    password = "pass%20%22word%22%20%5C%20%C3%BCnd%20so"
    hook = receiver.url.replace("://", f"://jane:{password}@") + "path-of-the-hook"
    more = (
        f"  hook: {{url: '{hook}', rate: 100/s, retry_after: [0.2s]}}\n"
        "  broken: {url: 'mailto://jane:q9x7z@localhost:9?from=a@x.example&to=b@x.example', retry_after: [0.2s]}\n"
    )
    text = config(api, receiver, more=more).replace("some-token-of-nobody", "'${SECRET_TOKEN}'")
    api.script("a", [problem(500, detail="it was r8_token_of_nobody+/=, q9x7z"), plain("a", "failed", error="no")])
    receiver.status = 500
    with Daemon(tmp_path, text, SECRETS) as program:
        arguments = ("--log-level", "debug", "--log-format", form)
        program.launch(*arguments, module=("tests.standins.talkative",))
        program.wait_for_log(lambda said: any("a message is not sent" in line for line in said))
        program.wait_for_log(lambda said: sum("not delivered" in line for line in said) > 2)
        assert program.stop() == 0
    said = "\n".join(program.log)
    assert sum("mistake in the program" in line for line in program.log) >= 4
    assert "chatter" not in said
    for library in talkative.LIBRARIES:
        if not library.startswith("apprise"):  # whose log goes to whoever sends
            assert f"{library} warns of" in said
    if form == "json":
        said += "\n" + "\n".join(str(json.loads(line)) for line in program.log)
    else:
        assert all(STAMP.match(line) or line.startswith("  ") for line in program.log)
    for secret in (*SECRETS.values(), password, "pass 'word'", 'pass "word"', "ünd so", "r8_token", "the-hook"):
        assert secret not in said, secret
