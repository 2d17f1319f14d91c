"""What systemd does to a daemon that hangs or dies, and what it leaves alone."""

from __future__ import annotations

import shutil

from tests.standins.api import plain
from tests.standins.daemon import ROOT
from tests.standins.machine import Machine

IMPATIENT = "[Service]\nWatchdogSec=3s\nRestartSec=200ms\n"


def test_a_process_that_stands_still_is_killed_and_started_again(machine: Machine) -> None:
    assert machine.show("WatchdogUSec") == "2min"  # or there would be nothing to shorten
    machine.drop_in(IMPATIENT)
    machine.start()
    pid = machine.show("MainPID")
    machine.systemctl("kill", "--kill-whom=main", "--signal=STOP", "notifier")
    machine.wait_for_log("Watchdog timeout")
    machine.wait_for(lambda: machine.show("MainPID") not in (pid, "0"), "another process")
    machine.api.script("a", [plain("a", "failed", error="no")])
    machine.receiver.wait_for(1)
    assert int(machine.show("NRestarts")) >= 1


def test_a_part_that_is_stuck_is_found_told_of_and_mended(machine: Machine) -> None:
    """The heartbeat goes on meanwhile: only a watchdog that asks for progress can tell."""
    for name in ("__init__.py", "standins/__init__.py", "standins/stuck.py"):
        copy = machine.box.files(f"usr/local/lib/stand-ins/tests/{name}")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / name, copy)
    machine.drop_in(f"""
        {IMPATIENT}
        Environment=PYTHONPATH=/usr/local/lib/stand-ins
        ExecStart=
        ExecStart=/opt/notifier/bin/python3 -m tests.standins.stuck keeper /run/stuck \\
            run --config /etc/notifier/config.yaml
    """)
    stuck = machine.box.files("run/stuck")
    stuck.unlink(missing_ok=True)
    machine.api.script("a", [plain("a", "processing")])
    machine.start()
    machine.api.wait_for(2, "a")
    stuck.touch()
    machine.wait_for_log("Watchdog timeout")
    stuck.unlink()
    machine.api.script("a", [plain("a", "failed", error="no")])
    machine.receiver.wait_for(1, timeout=60)
    log = machine.log()
    assert any(line.startswith("no progress") and "the keeper has taken none" in line for line in log)
    assert any("stuck.py" in line and "in stopping" in line for line in log)  # where its threads stood


def test_an_api_that_answers_slowly_is_no_reason_to_start_again(machine: Machine) -> None:
    machine.drop_in("[Service]\nWatchdogSec=5s\n")
    machine.api.script("a", [plain("a", "failed", error="no").with_(held=True)])
    machine.start()
    machine.api.wait_for(1, "a")

    def last_ping() -> int:
        return int(machine.show("WatchdogTimestampMonotonic"))

    begun = last_ping()
    machine.wait_for(lambda: last_ping() > begun + 10_000_000, "pings for twice as long as systemd waits for one")
    assert machine.receiver.posts == []
    machine.api.release()
    machine.receiver.wait_for(1)
    assert machine.show("NRestarts") == "0"


def test_a_killed_daemon_is_started_again_and_nothing_is_lost_or_told_twice(machine: Machine) -> None:
    """But what was under way: that is told again, as the same notice."""
    machine.drop_in("[Service]\nRestartSec=1s\n")
    for each in "abc":
        machine.api.script(each, [plain(each, "processing")])
    machine.watch("a", "b", "c")
    machine.start()
    for each in "abc":
        machine.api.wait_for(2, each)
    machine.api.script("a", [plain("a", "succeeded", output="x")])
    machine.wait_for_log("sent channel=team")
    machine.receiver.hold.clear()
    machine.api.script("b", [plain("b", "succeeded", output="x")])
    _, under_way = machine.receiver.wait_for(2)
    machine.systemctl("kill", "--kill-whom=main", "--signal=KILL", "notifier")
    machine.api.script("c", [plain("c", "failed", error="no")])
    machine.receiver.hold.set()
    machine.wait_for_log("sent channel=team", count=3)
    assert sorted(post.title for post in machine.receiver.posts) == [
        "✅ a: succeeded", "✅ b: succeeded", "✅ b: succeeded", "❌ c: failed",
    ]  # fmt: skip
    assert machine.receiver.bodies.count(under_way) == 2
    assert machine.show("NRestarts") == "1"
