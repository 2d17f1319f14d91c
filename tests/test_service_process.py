"""The daemon as a process: how it starts, ends, and shares the machine with another."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standins.api import ApiStandIn, hang, plain
from tests.standins.daemon import Daemon
from tests.standins.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def config(api: ApiStandIn, receiver: Receiver, *ids: str, channel: str = "rate: 1000/s, digest_over: 1000") -> str:
    return (
        f"apis: {{here: {{base_url: '{api.base_url}', token: some-token, rate: 1000/s}}}}\n"
        f"channels: {{team: {{url: '{receiver.url}', {channel}}}}}\n"
        f"defaults: {{interval: 1s}}\nwatchlist: [{', '.join(ids)}]\n"
    )


def test_sigterm_ends_it_in_time_while_a_poll_and_a_delivery_hang(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    api.script("slow", [hang])
    api.script("done", [plain("done", "failed", error="no")])
    receiver.hold.clear()
    with Daemon(tmp_path, config(api, receiver, "slow", "done")) as program:
        program.start()
        receiver.wait_for(1)
        api.wait_for(1, "slow")
        start = time.monotonic()
        assert program.stop() == 0
        assert 9 < time.monotonic() - start < 14
        receiver.hold.set()
        program.start()
        first, second = receiver.wait_for(2)
        assert first == second  # it may have arrived: the repeat has the same notice id
        assert program.stop() == 0


def test_a_second_daemon_ends_with_75_and_an_unusable_store_with_74(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    with Daemon(tmp_path, config(api, receiver, "a")) as program:
        program.start()
        assert program.json("status")["running"]
        assert "another notifier" in program.command("run", check=75).stderr
        assert program.stop() == 0
        assert not program.json("status")["running"]
        for file in (tmp_path / "state").glob("notifier.db*"):
            if file.name != "notifier.db" and "marker" not in file.name:
                file.unlink()
        (tmp_path / "state" / "notifier.db").write_text("this is a text that somebody put here\n" * 100)
        for verb in ("run", "status", "history", "check"):
            refused = program.command(verb, check=74)
            assert refused.stderr.splitlines()[-1].startswith("notifier: ")
            assert "Traceback" not in refused.stderr


def test_a_bad_configuration_ends_with_78_and_touches_no_store(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    with Daemon(tmp_path, config(api, receiver, "a").replace("interval", "intervall")) as program:
        refused = program.command("run", check=78)
        assert refused.stderr.splitlines() == [refused.stderr.strip()]
        assert refused.stderr.startswith(f"{program.path}:3:12: defaults.intervall: ")
        assert not (tmp_path / "state").exists()


def test_a_given_up_delivery_that_is_resent_is_taken_up_by_the_running_daemon(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    api.script("a", [plain("a", "failed", error="no")])
    receiver.status = 500
    impatient = "rate: 1000/s, give_up_after: 1s, retry_after: [0.3s]"
    with Daemon(tmp_path, config(api, receiver, "a", channel=impatient)) as program:
        program.start()
        program.wait_for_log(lambda lines: any("given up" in line for line in lines))
        (notice,) = program.json("history")
        (delivery,) = notice["deliveries"]
        assert (delivery["state"], delivery["last_error"]) == ("given_up", "HTTP 500")
        assert program.json("status")["channels"][0]["given_up"] == 1
        receiver.status = 200
        assert program.command("resend", str(delivery["delivery"])).stdout == "1 put back\n"
        program.wait_for_log(lambda lines: any("sent channel=team" in line for line in lines), timeout=10)
        assert program.json("history")[0]["deliveries"][0]["state"] == "sent"
        assert program.command("resend", "999", check=2).stderr == "delivery 999: there is none\n"
        assert program.stop() == 0


def test_an_edit_that_removes_most_watches_waits_and_sighup_applies_it(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    ids = [f"p{number:02}" for number in range(12)]
    for prediction_id in ids:
        api.script(prediction_id, [plain(prediction_id, "processing")])
    with Daemon(tmp_path, config(api, receiver, *ids)) as program:
        program.start()
        program.path.write_text(config(api, receiver, *ids[:3]))
        program.wait_for_log(lambda lines: any("edit held back" in line for line in lines))
        assert not any("reloaded" in line for line in program.log)
        program.signal(signal.SIGHUP)
        program.wait_for_log(lambda lines: any("reloaded watches=3" in line for line in lines))
        assert program.stop() == 0


def test_signals_that_come_in_a_hail_while_it_starts_end_it_all_the_same(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    """A handler that took a lock which the interrupted code holds would wait for ever."""
    with Daemon(tmp_path, config(api, receiver, "a")) as program:
        program.start()
        for _ in range(300):
            program.signal(signal.SIGHUP)
        for _ in range(300):
            program.signal(signal.SIGTERM)
        assert program.wait(15) == 0
