"""What systemd is told: over a real datagram socket, as sd_notify(3) says."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifier.service.systemd import ServiceManager, status_line
from tests.standins.notify import NotifySocket


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NotifySocket]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@{tmp_path}/notify"
    with NotifySocket(address) as listener:
        yield listener


def test_it_speaks_the_protocol(listener: NotifySocket) -> None:
    manager = ServiceManager({**listener.environment, "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())})
    manager.ready()
    manager.alive()
    manager.status("polling 1 of 1 watch")
    manager.reloading()
    manager.stopping()
    ready, alive, status, reloading, stopping = listener.hear()
    assert (ready, alive, status, stopping) == ("READY=1", "WATCHDOG=1", "STATUS=polling 1 of 1 watch", "STOPPING=1")
    first, second = reloading.split("\n")
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0


def test_a_status_is_one_line_and_said_only_when_it_changes(listener: NotifySocket) -> None:
    manager = ServiceManager(listener.environment)
    for _ in range(2):
        manager.status("forged\nREADY=1\x1b[31m \udc80")
    manager.status("another")
    assert listener.hear() == ["STATUS=forged READY=1 [31m  ", "STATUS=another"]


@pytest.mark.parametrize("watchdog", [{}, {"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}])
def test_a_watchdog_that_is_not_ours_is_not_fed(listener: NotifySocket, watchdog: dict[str, str]) -> None:
    ServiceManager({**listener.environment, **watchdog}).alive()
    assert listener.hear() == []


def test_without_systemd_nothing_is_said_and_nothing_fails() -> None:
    manager = ServiceManager({})
    manager.ready()
    manager.status("x")


def test_a_socket_that_is_gone_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    with caplog.at_level(logging.WARNING):
        manager.ready()
        manager.stopping()
    assert caplog.messages == ['systemd cannot be told reason="No such file or directory"']


def test_the_status_has_what_is_wrong_first_and_then_the_numbers() -> None:
    assert (
        status_line(configuration=None, watches=1, polled=1, waiting=0, incidents=[], ailing=[])
        == "polling 1 of 1 watch; 0 messages waiting; no incident"
    )
    assert status_line(
        configuration="the newest configuration is refused: config.yaml:3:5: defaults.intervall: unknown key",
        watches=6, polled=2, waiting=1,
        incidents=["channel team", "api cometapi"], ailing=["store notifier.db cannot be written: the disk is full"],
    ) == (
        "store notifier.db cannot be written: the disk is full; the newest configuration is refused: config.yaml:3:5: "
        "defaults.intervall: unknown key; polling 2 of 6 watches; 1 message waiting; 2 incidents: api cometapi, "
        "channel team"
    )  # fmt: skip


def test_a_status_is_never_too_long_for_systemd(listener: NotifySocket) -> None:
    many = [f"channel team {number}{'…' * 40}" for number in range(1000)]
    line = status_line(configuration="ü" * 5000, watches=6, polled=2, waiting=1, incidents=many, ailing=[])
    ServiceManager(listener.environment).status(line)
    (told,) = listener.hear()
    assert len(told.encode()) < 4096
    assert "; 1000 incidents: channel team 0" in told
    assert told.endswith(", ...")
