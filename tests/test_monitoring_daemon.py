"""The daemon as it shows itself over http: with real predictions, channels and sockets."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pytest
from prometheus_client.parser import text_string_to_metric_families

from notifier import data
from notifier.errors import StoreError
from notifier.monitoring import site
from notifier.service import oversight
from tests.standins.api import ApiStandIn, plain, problem
from tests.standins.asker import ask, free_port, get, request, until
from tests.standins.daemon import Daemon
from tests.standins.disk import SmallDisk
from tests.standins.receiver import Receiver
from tests.standins.running import Running

TOKEN = "s3cr3t-token"
IDS = ("rrr4z55ocneqzikepnug6xezpe", "ufawqhfynnddngldkgtslldrkq")
WELL, ILL = IDS
pytestmark = pytest.mark.usefixtures("quick_beats")
IMPATIENT = "rate: 1000/s, give_up_after: 1s, retry_after: [0.2s]"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def config(api: ApiStandIn, channel: str, *, watchlist: str = ", ".join(IDS), http: str = "", more: str = "") -> str:
    return (
        f"apis: {{here: {{base_url: '{api.base_url}', token: {TOKEN}, rate: 1000/s}}}}\n"
        f"channels: {{team: {{{channel}}}{more}}}\n"
        f"defaults: {{interval: 1s, channels: [team]}}\nwatchlist: [{watchlist}]\n"
        + (f"http: {{{http}}}\n" if http else "")
    )


class Watched(Running):
    """A daemon in this process, and its port."""

    def __init__(self, folder: Path, api: ApiStandIn, channel: str, **settings: str) -> None:
        self.api, self.channel, self.port = api, channel, free_port()
        super().__init__(folder, self._text(**settings))

    def _text(self, **settings: str) -> str:
        """Another configuration; `http` is at its port unless said otherwise."""
        return config(self.api, self.channel, **{"http": f"listen: '127.0.0.1:{self.port}'", **settings})

    def change(self, **settings: str) -> None:
        """Save another configuration."""
        self.edit(self._text(**settings))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("http")])

    def metric(self, name: str, **labels: str) -> float | None:
        """The value of one series now."""
        for family in text_string_to_metric_families(get(self.port, "/metrics").text):
            for sample in family.samples:
                if (sample.name, sample.labels) == (name, labels):
                    return sample.value
        return None

    def is_there(self, port: int | None = None) -> bool:
        try:
            return get(port or self.port, "/healthz").ok
        except OSError:
            return False


# --- /metrics ----------------------------------------------------------------------------------------------------


def test_polls_watches_and_deliveries_are_told(tmp_path: Path, api: ApiStandIn, receiver: Receiver) -> None:
    api.script(WELL, [plain(WELL, "processing"), plain(WELL, "succeeded", output="x")])
    api.script(ILL, [problem(500, detail="busy")])
    with Watched(tmp_path, api, f"url: '{receiver.url}'") as daemon:
        receiver.wait_for(1)
        until(lambda: daemon.metric("notifier_deliveries_total", channel="team", outcome="sent") == 1)
        until(lambda: daemon.metric("notifier_watches_polled", api="here") == 1)
        assert daemon.metric("notifier_polls_total", api="here", outcome="answered") == 2
        failed = daemon.metric("notifier_polls_total", api="here", outcome="server")
        timed = daemon.metric("notifier_poll_duration_seconds_count", api="here")
        assert failed is not None
        assert timed is not None
        assert timed >= 2 + failed >= 3
        assert daemon.metric("notifier_watches", api="here", status="succeeded") == 1
        assert daemon.metric("notifier_watches", api="here", status="unseen") == 1
        assert daemon.metric("notifier_polls_asked_per_second", api="here") == 1
        assert daemon.metric("notifier_polls_allowed_per_second", api="here") == 1000
        assert daemon.metric("notifier_healthy") == 1
        started = daemon.metric("process_start_time_seconds")
        answered = daemon.metric("notifier_last_successful_poll_timestamp_seconds", api="here")
        assert started is not None
        assert answered is not None
        assert answered > started


def test_a_poll_in_flight_is_told(tmp_path: Path, api: ApiStandIn) -> None:
    api.script(WELL, [plain(WELL, "processing").with_(held=True)])
    with Watched(tmp_path, api, "url: 'json://127.0.0.1:9/'", watchlist=WELL) as daemon:
        api.wait_for(1)
        assert daemon.metric("notifier_polls_in_flight", api="here") == 1
        api.release()
        until(lambda: daemon.metric("notifier_polls_in_flight", api="here") == 0)


def test_a_channel_that_takes_nothing_is_told(tmp_path: Path, api: ApiStandIn, receiver: Receiver) -> None:
    def deliveries(outcome: str) -> float | None:
        return daemon.metric("notifier_deliveries_total", channel="team", outcome=outcome)

    api.script(WELL, [plain(WELL, "failed", error="no")])
    receiver.status = 500
    with Watched(tmp_path, api, f"url: '{receiver.url}', {IMPATIENT}", watchlist=WELL) as daemon:
        until(lambda: deliveries("failed"))
        until(lambda: deliveries("given_up"))
        until(lambda: daemon.metric("notifier_deliveries_given_up", channel="team") == 1)
        assert daemon.metric("notifier_deliveries_waiting", channel="team") == 0
        assert (deliveries("sent"), deliveries("given_up"), deliveries("failed")) == (0, 1, len(receiver.posts))


def test_what_waits_is_told(tmp_path: Path, api: ApiStandIn, receiver: Receiver) -> None:
    api.script(WELL, [plain(WELL, "failed", error="no")])
    receiver.status = 500
    with Watched(tmp_path, api, f"url: '{receiver.url}', retry_after: [1h]", watchlist=WELL) as daemon:
        until(lambda: daemon.metric("notifier_deliveries_waiting", channel="team") == 1)


def test_an_incident_is_told_while_it_lasts(tmp_path: Path, api: ApiStandIn, receiver: Receiver) -> None:
    api.script(WELL, [problem(401, "Unauthenticated", "no"), plain(WELL, "processing")])
    with Watched(tmp_path, api, f"url: '{receiver.url}', rate: 1000/s", watchlist=WELL) as daemon:
        until(lambda: daemon.metric("notifier_polls_total", api="here", outcome="refused"))
        until(lambda: daemon.metric("notifier_incidents_open", kind="api") == 1)
        assert daemon.metric("notifier_incidents_open", kind="network") == 0
        daemon.service._table.all_due("here")
        until(lambda: daemon.metric("notifier_incidents_open", kind="api") == 0)


def test_a_bad_edit_is_told_until_it_is_mended(tmp_path: Path, api: ApiStandIn, receiver: Receiver) -> None:
    name = "notifier_config_last_reload_successful"
    with Watched(tmp_path, api, f"url: '{receiver.url}'", watchlist="") as daemon:
        assert daemon.metric(name) == 1
        before = daemon.metric("notifier_config_last_reload_success_timestamp_seconds")
        assert before is not None
        good = daemon.path.read_text()
        daemon.edit(good.replace("watchlist", "watchlust"))
        until(lambda: daemon.metric(name) == 0)
        until(lambda: daemon.metric("notifier_incidents_open", kind="config") == 1)
        assert daemon.metric("notifier_config_last_reload_success_timestamp_seconds") == before
        daemon.edit(good)
        until(lambda: daemon.metric(name) == 1)
        after = daemon.metric("notifier_config_last_reload_success_timestamp_seconds")
        assert after is not None
        assert after > before
        until(lambda: daemon.metric("notifier_incidents_open", kind="config") == 0)


def test_a_reload_brings_series_and_takes_what_is_gone_out_of_the_state(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    with Watched(tmp_path, api, f"url: '{receiver.url}'", watchlist="") as daemon:
        assert daemon.metric("notifier_deliveries_total", channel="new", outcome="sent") is None
        daemon.change(watchlist="", more=f", new: {{url: '{receiver.url}'}}")
        until(lambda: daemon.metric("notifier_deliveries_total", channel="new", outcome="sent") == 0)
        assert daemon.metric("notifier_deliveries_waiting", channel="new") == 0
        daemon.change(watchlist="")
        until(lambda: daemon.metric("notifier_deliveries_waiting", channel="new") is None)
        assert daemon.metric("notifier_deliveries_total", channel="new", outcome="sent") == 0


def test_nothing_that_is_watched_or_secret_or_somebodys_address_is_told(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    api.script(WELL, [plain(WELL, "a-status-of-its-own", error="the model said so")])
    api.script(ILL, [problem(500, detail="busy with things")])
    mail = ", mail: {url: 'mailtos://bot:mail-password@mail.test?to=oncall@example.com'}"
    with Watched(tmp_path, api, f"url: '{receiver.url}a-secret-path'", more=mail) as daemon:
        receiver.wait_for(1)
        until(lambda: daemon.metric("notifier_polls_total", api="here", outcome="server"))
        text = get(daemon.port, "/metrics").text + get(daemon.port, "/healthz").text
    secrets = (TOKEN, "a-secret-path", "mail-password", "oncall", "example", "mail.test", receiver.url, api.base_url)
    for told in (*IDS, *secrets, "a-status", "said", "busy"):
        assert told not in text
    assert 'channel="mail"' in text


# --- /healthz and /api/status ------------------------------------------------------------------------------------


def test_health_is_what_the_daemon_finds_of_itself(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Watched(tmp_path, api, "url: 'json://127.0.0.1:9/'", watchlist="") as daemon:
        answer = get(daemon.port, "/healthz")
        assert (answer.status_code, answer.json()) == (200, {"healthy": True, "problems": []})
        monkeypatch.setattr(daemon.service._oversight, "_problems", lambda: ["polls: none for 45 s"])
        answer = get(daemon.port, "/healthz")
        assert (answer.status_code, answer.json()) == (503, {"healthy": False, "problems": ["polls: none for 45 s"]})
        assert daemon.metric("notifier_healthy") == 0


def test_a_part_that_is_stuck_is_unhealthy(tmp_path: Path, api: ApiStandIn, receiver: Receiver) -> None:
    text = config(api, f"url: '{receiver.url}'", http=f"listen: '127.0.0.1:{(port := free_port())}'")
    with Daemon(tmp_path, text) as program:
        stop = tmp_path / "stop"
        program.launch(module=("tests.standins.stuck", "scheduler", str(stop)))
        until(lambda: any("started" in line for line in program.log))
        assert get(port, "/healthz").ok
        stop.touch()
        until(lambda: "polls: none that is due was started" in get(port, "/healthz").text)
        assert get(port, "/healthz").status_code == 503
        program.kill()


def test_a_store_that_cannot_be_written_is_unhealthy_until_it_can(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    api.script(WELL, [plain(WELL, "processing"), *[plain(WELL, "starting"), plain(WELL, "processing")] * 100])
    text = config(api, f"url: '{receiver.url}', rate: 1000/s", watchlist=WELL,
                  http=f"listen: '127.0.0.1:{(port := free_port())}'")  # fmt: skip
    with SmallDisk(tmp_path / "state", "4M") as disk, Daemon(tmp_path, text, launcher=disk.launcher) as program:
        program.start()
        receiver.wait_for(1)
        assert get(port, "/healthz").ok
        disk.fill()
        until(lambda: get(port, "/healthz").status_code == 503)
        (problem,) = get(port, "/healthz").json()["problems"]
        assert problem.startswith("store notifier.db cannot be written: ")
        metrics = get(port, "/metrics").text
        assert "notifier_healthy 0.0\n" in metrics
        assert 'notifier_incidents_open{kind="store"} 1.0\n' in metrics
        assert get(port, "/api/status").ok
        disk.make_room()
        until(lambda: get(port, "/healthz").ok)
        assert program.stop() == 0


def test_the_status_is_the_one_that_the_command_prints(tmp_path: Path, api: ApiStandIn, receiver: Receiver) -> None:
    def both() -> list[dict[str, Any]]:
        found = [get(port, "/api/status").json(), program.json("status")]
        for status in found:
            status.pop("as_of")
        return found

    def agree() -> bool:
        over_http, printed = both()
        return bool(over_http == printed)

    api.script(WELL, [plain(WELL, "failed", error="no")])
    text = config(api, f"url: '{receiver.url}'", watchlist=WELL, http=f"listen: '127.0.0.1:{(port := free_port())}'")
    with Daemon(tmp_path, text) as program:
        program.start()
        receiver.wait_for(1)
        until(lambda: get(port, "/api/status").json()["channels"][0]["last_sent"])
        until(agree)
        over_http, _ = both()
        (watch,) = over_http["watches"]
        assert (over_http["running"], watch["id"], watch["status"], watch["done"]) == (True, WELL, "failed", True)
        assert program.stop() == 0


def test_the_status_is_of_the_configuration_in_force(tmp_path: Path, api: ApiStandIn, receiver: Receiver) -> None:
    with Watched(tmp_path, api, f"url: '{receiver.url}'", watchlist=WELL) as daemon:
        good = daemon.path.read_text()
        daemon.edit(good.replace("watchlist", "watchlust"))
        until(lambda: daemon.metric("notifier_config_last_reload_successful") == 0)
        daemon.edit(good.replace(WELL, ILL))
        until(lambda: [watch["id"] for watch in get(daemon.port, "/api/status").json()["watches"]] == [ILL])


def test_many_who_ask_for_the_status_at_once_have_it_made_once_and_the_others_are_answered(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[None] = []
    gate = threading.Event()

    def slow(*_: object) -> object:
        made.append(None)
        gate.wait(20)
        return {"watches": []}

    monkeypatch.setattr(data, "status_in", slow)
    monkeypatch.setattr(oversight, "KEEP", 60.0)
    with Watched(tmp_path, api, "url: 'json://127.0.0.1:9/'", watchlist="") as daemon:
        heard: list[int] = []
        askers = [threading.Thread(target=lambda: heard.append(get(daemon.port, "/api/status").status_code))
                  for _ in range(10)]  # fmt: skip
        for asker in askers:
            asker.start()
        until(lambda: len(heard) == 8)
        assert set(heard) == {503}
        assert get(daemon.port, "/api/status").headers["Retry-After"] == "1"
        assert daemon.is_there()
        gate.set()
        for asker in askers:
            asker.join()
        assert heard[8:] == [200, 200]
        assert get(daemon.port, "/api/status").json() == {"watches": []}
    assert len(made) == 1


def test_a_store_that_cannot_be_read_takes_the_status_and_leaves_the_rest(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def damaged(*_: object) -> None:
        raise StoreError("the store /somewhere is damaged")

    with Watched(tmp_path, api, "url: 'json://127.0.0.1:9/'", watchlist="") as daemon:
        monkeypatch.setattr(daemon.service._store, "channels_overview", damaged)
        for _ in range(3):
            answer = get(daemon.port, "/api/status")
            assert (answer.status_code, answer.json()) == (503, {"error": "the store cannot be read"})
        assert daemon.metric("notifier_healthy") is not None
        assert daemon.metric("notifier_deliveries_waiting", channel="team") is None
    assert caplog.text.count("not answered") == 1


# --- where it is -------------------------------------------------------------------------------------------------


def test_without_the_key_nobody_listens(tmp_path: Path, api: ApiStandIn) -> None:
    with Watched(tmp_path, api, "url: 'json://127.0.0.1:9/'", watchlist="", http="") as daemon:
        api.wait_for(0)
        assert daemon.service._oversight._site._serving is None
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("http")]


def test_a_reload_adds_moves_and_removes_it_and_changes_who_may_ask(tmp_path: Path, api: ApiStandIn) -> None:
    def status_of(host: str) -> int:
        return ask(daemon.port, request("/healthz", f"Host: {host}")).status

    with Watched(tmp_path, api, "url: 'json://127.0.0.1:9/'", watchlist="", http="") as daemon:
        daemon.change(watchlist="")
        until(daemon.is_there)
        assert status_of("monitor.example.com") == 403
        serving = daemon.service._oversight._site._serving
        daemon.change(watchlist="", http=f"listen: '127.0.0.1:{daemon.port}', hosts: [Monitor.example.com]")
        until(lambda: status_of("monitor.example.com") == 200)
        assert daemon.service._oversight._site._serving is serving  # whoever was connected still is
        before, daemon.port = daemon.port, free_port()
        daemon.change(watchlist="")
        until(daemon.is_there)
        assert not daemon.is_there(before)
        daemon.change(watchlist="", http="")
        until(lambda: not daemon.is_there())


def test_a_port_that_is_taken_at_the_start_keeps_nothing_from_working_and_is_taken_when_it_is_free(
    tmp_path: Path,
    api: ApiStandIn,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(site, "RETRY", 0.2)
    caplog.set_level(logging.INFO)
    api.script(WELL, [plain(WELL, "failed", error="no")])
    daemon = Watched(tmp_path, api, f"url: '{receiver.url}'", watchlist=WELL)
    with closing(socket.create_server(("127.0.0.1", daemon.port))) as taker, daemon:
        receiver.wait_for(1)
        assert daemon.service._oversight._site._serving is None
        taker.close()
        until(daemon.is_there)
    assert caplog.text.count("http: cannot listen") == 1


def test_the_end_is_quick_while_connections_are_open(tmp_path: Path, api: ApiStandIn) -> None:
    with Daemon(tmp_path, config(api, "url: 'json://127.0.0.1:9/'", watchlist="",
                                 http=f"listen: '127.0.0.1:{(port := free_port())}'")) as program:  # fmt: skip
        program.start()
        with socket.create_connection(("127.0.0.1", port)):
            assert get(port, "/healthz").json()["healthy"] is True
            program.signal(15)
            assert program.wait(8) == 0
        assert not any("Traceback" in line or "WARNING http" in line for line in program.log)
        assert json.dumps(program.log).count("http: listening") == 1
