"""The service as systemd runs it: from a change at the API to a message, its log and status line, its start and end."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.standins.api import plain
from tests.standins.machine import HOOK, TOKEN, Machine

STORE = "var/lib/notifier/notifier.db"


def test_a_change_at_the_api_is_told_and_a_restart_repeats_nothing(machine: Machine) -> None:
    machine.api.script("a", [plain("a", "processing")])
    machine.start()
    machine.api.wait_for(2, "a")
    machine.api.script("a", [plain("a", "succeeded", output="https://x.example/1.png")])
    (told,) = machine.receiver.wait_for(1)
    assert "processing → succeeded" in told
    machine.wait_for_log("sent channel=team")
    machine.systemctl("restart", "notifier")
    machine.watch("a", "b")
    machine.api.script("b", [plain("b", "failed", error="no")])
    assert len(machine.receiver.wait_for(2)) == 2
    assert "failed" in machine.receiver.bodies[1]


def test_the_status_line_has_the_numbers(machine: Machine) -> None:
    machine.api.script("a", [plain("a", "canceled")])
    machine.api.script("b", [plain("b", "starting")])
    machine.receiver.status = 500
    machine.watch("a", "b")
    machine.start()
    machine.wait_for_status("polling 1 of 2 watches; 1 message waiting; no incident")
    machine.receiver.status = 200
    machine.wait_for_status("polling 1 of 2 watches; 0 messages waiting; no incident")


def test_the_journal_knows_how_serious_each_line_is(machine: Machine) -> None:
    machine.start()
    good = machine.box.files("etc/notifier/config.yaml").read_text()
    machine.configure(good.replace("notifier.db", "another.db"))
    machine.wait_for_log("the new store is used after a restart")
    machine.configure("nonsense: 1\n")
    machine.wait_for_log("configuration not reloaded")
    levels = {str(entry["MESSAGE"]): int(entry["PRIORITY"]) for entry in machine.journal()}
    for text, level in (("started watches=1", 6), ("the new store is used", 4), ("configuration not reloaded", 3)):
        assert [found for line, found in levels.items() if line.startswith(text)] == [level]


def test_no_secret_is_to_be_seen_anywhere(machine: Machine) -> None:
    """Not even in trouble: the API refuses the token, the channel refuses the message."""
    machine.api.script("a", [plain("a", "failed", error="no")])
    machine.receiver.status = 500
    machine.start()
    machine.wait_for_log("HTTP 500")
    machine.api.token = "another"
    machine.watch("a", "b")
    machine.wait_for_log("HTTP 401")
    pid = machine.show("MainPID")
    places = {
        "the journal": json.dumps(machine.journal()),
        "systemd": machine.systemctl("show", "notifier").stdout,
        "status": machine.command("status").stdout + machine.command("history").stdout,
        **{name: machine.box.files(f"proc/{pid}/{name}").read_text() for name in ("environ", "cmdline")},
        "the store": "".join(
            file.read_bytes().decode("latin-1") for file in machine.box.files("var/lib/notifier").iterdir()
        ),
    }
    assert "HTTP 401" in places["the journal"]
    assert "CREDENTIALS_DIRECTORY" in places["environ"]
    assert "failed" in places["the store"]
    shown = [place for place, text in places.items() if TOKEN in text or HOOK in text]
    assert shown == []


def test_root_may_ask_for_the_status_whether_it_runs_or_not(machine: Machine) -> None:
    """And the files of the store stay the service's own."""
    machine.start()
    assert json.loads(machine.command("status", "--json").stdout)["running"]
    machine.systemctl("stop", "notifier")
    assert not json.loads(machine.command("status", "--json").stdout)["running"]
    machine.start()
    machine.api.script("a", [plain("a", "failed", error="no")])
    machine.receiver.wait_for(1)


def test_a_reload_is_applied_and_the_same_process_goes_on(machine: Machine) -> None:
    """Fewer watches by more than half: an edit alone would be held back for 30 s."""
    ids = [f"p{number:02}" for number in range(12)]
    machine.watch(*ids)
    machine.start()
    pid = machine.show("MainPID")
    machine.watch(*ids[:3])
    machine.systemctl("reload", "notifier")
    machine.wait_for_log("reloaded watches=3")
    machine.wait_for_status("polling 3 of 3 watches")
    assert (machine.show("MainPID"), machine.show("ActiveState")) == (pid, "active")


def test_a_reload_of_a_bad_configuration_is_refused_and_touches_nothing(machine: Machine) -> None:
    machine.api.script("a", [plain("a", "processing")])
    machine.start()
    pid = machine.show("MainPID")
    good = machine.box.files("etc/notifier/config.yaml").read_text()
    machine.configure(good.replace("interval:", "intervall:"))
    machine.systemctl("reload", "notifier", check=1)
    assert any(re.search(r"config.yaml:\d+:3: defaults.intervall: ", line) for line in machine.log())
    machine.wait_for_status("the newest configuration is refused: ")
    machine.configure(good.replace("${credential:slack}", "${credential:none}"))
    machine.systemctl("reload", "notifier")  # which is not given the secrets: the daemon says no to this one
    machine.wait_for_status("channels.team.url: '/run/credentials/notifier.service/none' cannot be read")
    assert (machine.show("MainPID"), machine.show("ActiveState")) == (pid, "active")
    machine.api.script("a", [plain("a", "failed", error="no")])
    assert any("failed" in told for told in machine.receiver.wait_for(2))
    machine.configure(good)
    machine.systemctl("reload", "notifier")
    machine.wait_for_status("polling 0 of 1 watch; 0 messages waiting; no incident")


def test_a_bad_configuration_ends_it_with_78_and_it_is_not_started_again(machine: Machine) -> None:
    machine.drop_in("[Service]\nRestartSec=100ms\n")
    machine.configure("watchlist: 1\n")
    machine.systemctl("start", "notifier", check=1)
    machine.wait_for(lambda: machine.show("SubState") == "failed", "the end")
    assert (machine.show("ExecMainStatus"), machine.show("NRestarts")) == ("78", "0")


def test_without_a_credential_the_start_is_refused_until_it_is_there(machine: Machine) -> None:
    machine.drop_in("[Service]\nRestartSec=200ms\n")
    file = machine.box.files("etc/notifier/credentials/cometapi")
    file.unlink()
    machine.systemctl("start", "notifier", check=1)
    assert (machine.show("ExecMainStatus"), machine.show("Result")) == ("243", "exit-code")
    assert any("status=243/CREDENTIALS" in line for line in machine.log())
    machine.credential("cometapi", TOKEN)
    machine.wait_for(lambda: machine.show("ActiveState") == "active", "the start")


def test_an_unusable_store_is_tried_again_for_ever(machine: Machine) -> None:
    """systemd's own limit would be five starts in ten seconds."""
    machine.drop_in("[Service]\nRestartSec=100ms\n")
    assert machine.show("StartLimitIntervalUSec") == "0"
    store = machine.box.files(STORE)
    store.parent.mkdir()
    store.write_text("this is a text that somebody put here\n" * 100)
    machine.systemctl("start", "--no-block", "notifier")
    machine.wait_for_log("status=74/IOERR", count=2)
    store.unlink()
    machine.wait_for(lambda: machine.show("ActiveState") == "active", "the start")


def test_a_second_daemon_waits_for_the_first_to_end(machine: Machine) -> None:
    machine.drop_in("[Service]\nRestartSec=100ms\n")
    settings = [
        "Type=notify",
        "User=notifier",
        "StateDirectory=notifier",
        "LoadCredential=cometapi:/etc/notifier/credentials/cometapi",
        "LoadCredential=slack:/etc/notifier/credentials/slack",
    ]
    machine.box.run("systemd-run", "--unit=another", "--quiet", *(f"--property={each}" for each in settings),
                    "/opt/notifier/bin/notifier", "run", "--config", "/etc/notifier/config.yaml")  # fmt: skip
    try:
        machine.wait_for(lambda: machine.systemctl("is-active", "another", check=None).stdout == "active\n", "another")
        machine.systemctl("start", "--no-block", "notifier")
        machine.wait_for_log("status=75/TEMPFAIL", count=2)
    finally:
        machine.systemctl("stop", "another")
    machine.wait_for(lambda: machine.show("ActiveState") == "active", "the start")


@pytest.mark.parametrize("hanging", [False, True], ids=["idle", "with a channel that hangs"])
def test_it_stops_by_itself_within_its_time(machine: Machine, hanging: bool) -> None:
    machine.api.script("a", [plain("a", "failed", error="no")])
    if hanging:
        machine.receiver.hold.clear()
    machine.start()
    machine.receiver.wait_for(1)
    begun = time.monotonic()
    machine.systemctl("stop", "notifier")
    assert time.monotonic() - begun < 25
    assert (machine.show("Result"), machine.show("ExecMainCode"), machine.show("ExecMainStatus")) == (
        "success",
        "1",
        "0",
    )
    machine.receiver.hold.set()
    machine.start()
    if hanging:
        first, second = machine.receiver.wait_for(2)
        assert first == second  # it may have arrived: the repeat has the same notice id
