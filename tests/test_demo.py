"""The demonstration, as people start it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "notifier", "demo"]


def environment(folder: Path) -> dict[str, str]:
    temporary = folder / "temporary"
    temporary.mkdir()
    # A proxy that is not there: whatever took it would fail.
    proxy = "http://127.0.0.1:9"
    return {
        "PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(temporary), "COLUMNS": "80",
        "http_proxy": proxy, "HTTP_PROXY": proxy, "https_proxy": proxy, "ALL_PROXY": proxy, "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


def test_it_shows_every_kind_of_notice_and_ends_by_itself_within_a_minute(tmp_path: Path) -> None:
    start = time.monotonic()
    done = subprocess.run(COMMAND, env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert time.monotonic() - start < 60
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout
    for told in (
        "Launch teaser: processing", "Launch teaser: succeeded", "Poster (CometAPI task): succeeded",
        "Voice-over: failed", "E1001: CUDA out of memory", "Draft 7: canceled", "Batch 12: aborted",
        "Long film: stuck", "Long film: succeeded", "Thumbnail: output arrived", "Flaky one: unreachable",
        "Flaky one: recovered", "A typing error: not found", "https://replicate.delivery/demo/teaser4k/out-1.png",
        "What happened",
    ):  # fmt: skip
        assert told in shown, shown
    assert shown.index("Flaky one: unreachable") < shown.index("Flaky one: recovered")
    assert "\x1b" not in shown
    assert "still on their way" not in shown
    assert re.search(r"\d+ polls and 15 notices in \d+ s", shown), shown
    assert list((tmp_path / "temporary").iterdir()) == []


def test_ctrl_c_ends_it_cleanly(tmp_path: Path) -> None:
    with subprocess.Popen(
        COMMAND, env=environment(tmp_path), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "#team" in line:
                break
        demo.send_signal(signal.SIGINT)
        _, errors = demo.communicate(timeout=30)
    assert (demo.returncode, errors) == (130, "")
    assert list((tmp_path / "temporary").iterdir()) == []
