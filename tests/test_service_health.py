"""Progress, not mere life: what keeps systemd's watchdog and the switch elsewhere quiet, and what does not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standins.api import ApiStandIn, hang, plain
from tests.standins.daemon import Daemon
from tests.standins.notify import NotifySocket
from tests.standins.receiver import Receiver
from tests.standins.stuck import SEAMS

WATCHED = {"WATCHDOG_USEC": "2000000"}
WHAT = {
    "scheduler": "polls: none that is due was started for",
    "transport": "polls: the transport has not looked up for",
    "keeper": "answers: the keeper has taken none for",
    "lane": "deliveries: channel team is stuck",
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(str(tmp_path / "notify")) as systemd:
        yield systemd


def config(api: ApiStandIn, receiver: Receiver) -> str:
    return (
        f"apis: {{here: {{base_url: '{api.base_url}', token: some-token, rate: 1000/s}}}}\n"
        f"channels: {{team: {{url: '{receiver.url}', rate: 1000/s}}}}\n"
        "defaults: {interval: 1s}\nwatchlist: [a, b]\n"
    )


@pytest.mark.parametrize("part", SEAMS)
def test_a_part_that_is_deadlocked_stops_the_pings_of_the_watchdog(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver, systemd: NotifySocket, part: str
) -> None:
    flip = [plain("a", "starting"), plain("a", "processing")]
    api.script("a", flip * 200)
    api.script("b", [plain("b", "processing")])
    file = tmp_path / "stop"
    with Daemon(tmp_path, config(api, receiver), {**systemd.environment, **WATCHED}) as program:
        program.launch(module=("tests.standins.stuck", part, str(file)))
        systemd.wait_for("READY=1")
        systemd.wait_for("WATCHDOG=1", 3)
        receiver.wait_for(1)
        file.touch()
        if part in WHAT:
            program.wait_for_log(lambda lines: any("no progress" in line and WHAT[part] in line for line in lines))
        else:
            systemd.hear(2.0)
        systemd.hear(0.2)
        assert "WATCHDOG=1" not in systemd.hear(3.0)
        program.kill()


def test_a_slow_api_and_a_channel_that_hangs_do_not_stop_them(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver, systemd: NotifySocket
) -> None:
    api.script("a", [plain("a", "failed", error="no")])
    api.script("b", [hang])
    receiver.hold.clear()
    text = config(api, receiver).replace("rate: 1000/s}}}\nch", "rate: 1000/s, concurrency: 1}}\nch")
    with Daemon(tmp_path, text, {**systemd.environment, **WATCHED}) as program:
        program.launch(module=("tests.standins.stuck", "heartbeat", str(tmp_path / "never")))
        systemd.wait_for("READY=1")
        api.wait_for(1, "b")
        receiver.wait_for(1)
        systemd.wait_for("WATCHDOG=1", 6)
        assert not any("no progress" in line and "polls" in line for line in program.log)
        receiver.hold.set()
        assert program.stop() == 0


def test_the_life_of_the_daemon_as_systemd_hears_of_it(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver, systemd: NotifySocket
) -> None:
    api.script("a", [plain("a", "processing")])
    api.script("b", [plain("b", "processing")])
    with Daemon(tmp_path, config(api, receiver), {**systemd.environment, **WATCHED}) as program:
        program.start()
        systemd.wait_for("READY=1")
        assert "STATUS=polling 2 of 2 watches; 0 messages waiting; no incident" in systemd.told
        program.path.write_text(config(api, receiver).replace("[a, b]", "[a]"))
        systemd.wait_for("RELOADING=1\nMONOTONIC_USEC=")
        systemd.wait_for("READY=1")
        assert "STATUS=polling 1 of 1 watch; 0 messages waiting; no incident" in systemd.told
        program.path.write_text(config(api, receiver).replace("interval", "intervall"))
        systemd.wait_for("RELOADING=1\nMONOTONIC_USEC=")
        systemd.wait_for("READY=1")
        (refused,) = (line for line in systemd.told if "refused" in line)
        assert refused.startswith(f"STATUS=the newest configuration is refused: {program.path}:3:12: ")
        assert "; polling 1 of 1 watch; 0 messages waiting; " in refused
        assert program.stop() == 0
        systemd.wait_for("STOPPING=1")


def test_a_store_that_cannot_be_written_stops_the_switch_elsewhere_but_not_the_watchdog(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver, systemd: NotifySocket
) -> None:
    """A new start would find the same disk."""
    api.script("a", [plain("a", "processing")])
    api.script("b", [plain("b", "processing")])
    api.script("switch", [plain("switch", "processing")])
    text = config(api, receiver) + f"heartbeat: {{url: '{api.base_url}/predictions/switch', every: 10s}}\n"
    with Daemon(tmp_path, text, {**systemd.environment, **WATCHED}) as program:
        program.start()
        pinged = api.wait_for(1, "switch")[0].time
        before = program.limit_files(1)
        api.script("a", [plain("a", "failed", error="no")])
        program.wait_for_log(lambda lines: any("store cannot be written" in line for line in lines))
        systemd.wait_for("STATUS=store notifier.db cannot be written: ")
        systemd.wait_for("WATCHDOG=1", 5)
        while time.monotonic() < pinged + 12:
            systemd.wait_for("WATCHDOG=1")
        assert len(api.wait_for(1, "switch")) == 1
        program.limit_files(before)
        api.wait_for(2, "switch")
        assert program.stop() == 0
