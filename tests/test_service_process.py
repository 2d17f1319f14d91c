"""The daemon as a process: how it starts, ends, shares the machine with another, and survives being killed."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest

from tests.standins.api import ApiStandIn, Seen, hang, plain
from tests.standins.daemon import Daemon

STATUSES = ("starting", "processing", "succeeded")


class Receiver:
    """Takes what Apprise's json:// posts, or refuses or holds it, as told."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.status = 200
        self.hold = threading.Event()
        self.hold.set()
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with receiver._changed:
                    receiver.bodies.append(told["message"])
                    receiver._changed.notify_all()
                receiver.hold.wait(60)
                try:
                    self.send_response(receiver.status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                except OSError:
                    pass  # whoever asked was killed

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"json://127.0.0.1:{self._server.server_port}/"

    def wait_for(self, count: int) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.bodies) >= count, 30), self.bodies
            return list(self.bodies)

    def close(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


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


def _all_played(requests: list[Seen], lengths: dict[str, int]) -> bool:
    polls = Counter(request.id for request in requests)
    return all(polls[prediction_id] >= length for prediction_id, length in lengths.items())


def test_killed_again_and_again_it_misses_nothing_and_repeats_only_what_a_kill_explains(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    chance = random.Random(7)
    ids = [f"p{number:02}" for number in range(20)]
    lengths: dict[str, int] = {}
    for prediction_id in ids:
        polls = [plain(prediction_id, status) for status in STATUSES[:2] for _ in range(chance.randint(2, 5))]
        lengths[prediction_id] = len(polls) + 1
        api.script(prediction_id, [*polls, plain(prediction_id, "succeeded", output="https://x.test/a.png")])
    kills = 0
    with Daemon(tmp_path, config(api, receiver, *ids)) as program:
        for _ in range(4):  # the log is that of all starts
            program.start()
            enough = len(api.requests) + chance.randint(5, 45)
            # On a slow machine all may be over before: then there is nothing more to come.
            api.wait_for(predicate=lambda seen, enough=enough: len(seen) >= enough or _all_played(seen, lengths))  # type: ignore[misc]
            program.kill()
            kills += 1
        program.start()
        program.wait_for_log(
            lambda lines: sum("status api=here" in line and "succeeded" in line for line in lines) >= 20
        )
        for _ in range(30):  # each is a process of its own, that is pause enough
            history = program.json("history")
            if all(each["state"] == "sent" for notice in history for each in notice["deliveries"]):
                break
        assert program.stop() == 0

    told: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for notice in history:
        assert [each["state"] for each in notice["deliveries"]] == ["sent"], notice
        told[notice["id"]].append((notice["before"], notice["after"]))
    for prediction_id in ids:
        # A poll whose answer was never recorded is a state nobody saw; what was recorded is a chain without a gap.
        chain = told[prediction_id]
        assert chain[-1][1] == "succeeded"
        assert all(earlier[1] == later[0] for earlier, later in pairwise(chain))
    arrivals = [notice["notice"] for body in receiver.bodies for notice in history if notice["notice"] in body]
    assert set(arrivals) == {notice["notice"] for notice in history}
    assert len(arrivals) - len(set(arrivals)) <= kills


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
