"""The demonstration, as people start it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "notifier", "demo"]
TOLD = [
    "Poster: processing", "A typing error: not found", "Flaky one: processing", "Thumbnail: succeeded",
    "Draft 7: canceled", "Launch teaser: processing", "Voice-over: failed", "Poster: succeeded",
    "Flaky one: unreachable", "Thumbnail: output arrived", "Batch 12: aborted", "Launch teaser: succeeded",
    "Flaky one: recovered", "Long film: stuck in processing", "Flaky one: succeeded", "Long film: succeeded",
]  # fmt: skip
"""Every notice of the play."""
TO_ONCALL = {
    "A typing error: not found", "Draft 7: canceled", "Voice-over: failed", "Flaky one: unreachable",
    "Batch 12: aborted", "Flaky one: recovered", "Long film: stuck in processing", "Long film: succeeded",
}  # fmt: skip
"""What passes the second channel's event list, and the ends of what was told there."""


def environment(folder: Path) -> dict[str, str]:
    """A person's, with what could come between the demonstration and itself."""
    temporary = folder / "temporary"
    temporary.mkdir()
    # A proxy that is not there: whatever took it would fail.
    proxy = "http://127.0.0.1:9"
    missing = str(folder / "missing")
    return {
        "PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(temporary), "COLUMNS": "80",
        "http_proxy": proxy, "HTTP_PROXY": proxy, "https_proxy": proxy, "ALL_PROXY": proxy, "PYTHONUNBUFFERED": "1",
        "REQUESTS_CA_BUNDLE": missing, "CURL_CA_BUNDLE": missing, "STATE_DIRECTORY": missing,
    }  # fmt: skip


def left_behind(folder: Path) -> list[Path]:
    return list((folder / "temporary").iterdir())


def test_it_shows_every_kind_of_notice_and_ends_by_itself_within_a_minute(tmp_path: Path) -> None:
    start = time.monotonic()
    done = subprocess.run(COMMAND, env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=90)
    assert time.monotonic() - start < 60
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout

    told = re.findall(r"s #team .*\n. \S+ (.*?) *.\n", shown)
    assert sorted(told) == sorted(TOLD)
    for name in {title.partition(":")[0] for title in TOLD}:
        assert [title for title in told if title.startswith(name)] == [each for each in TOLD if each.startswith(name)]
    assert set(re.findall(r"s #oncall \S+ (.*)\n", shown)) == TO_ONCALL
    assert "E1001: CUDA out of memory" in shown
    assert "https://replicate.delivery/demo/teaser4k/out-1.png" in shown

    assert re.search(r"in all +\d+ s +\d+ +16 +24 of 24", shown.partition("What happened")[2]), shown
    assert "The time was up" not in shown
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert left_behind(tmp_path) == []


@contextmanager
def playing(folder: Path, variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The demonstration, from the moment it shows the first message."""
    with subprocess.Popen(
        COMMAND,
        env=environment(folder) | variables,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    ) as demo:
        try:
            assert demo.stdout is not None
            assert any("#team" in line for line in demo.stdout), "it ended without a message"
            yield demo
        finally:
            demo.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_cleanly_however_often_it_comes(tmp_path: Path, number: signal.Signals) -> None:
    with playing(tmp_path, {}) as demo:
        demo.send_signal(number)
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=30)
    assert (demo.returncode, errors) == (130, "")
    assert left_behind(tmp_path) == []


def test_an_output_that_has_no_such_signs_gets_others(tmp_path: Path) -> None:
    with playing(tmp_path, {"PYTHONIOENCODING": "ascii"}) as demo:
        assert demo.stdout is not None
        assert re.search(r"\? \w.*: ", next(demo.stdout))
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=30)
    assert (demo.returncode, errors) == (130, "")


def test_a_reader_that_goes_away_ends_it_without_a_traceback(tmp_path: Path) -> None:
    with playing(tmp_path, {}) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        demo.stdout.close()
        assert demo.stderr.read() == ""
        assert demo.wait(30) == 1
    assert left_behind(tmp_path) == []
