"""The whole daemon in this process, against a real API, while its configuration is edited; channels are a list."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import apscheduler.schedulers.base
import pytest

import notifier.schedule.clockwork
from notifier.errors import StoreError, StoreWriteError
from notifier.model import Address, Incident, IncidentKind, Key
from notifier.service import PartDiedError, heartbeat, load_config, routes, watching
from notifier.store import Store
from tests.builders import a_notice
from tests.standins.api import ApiStandIn, plain, problem
from tests.standins.asker import until
from tests.standins.running import Running, running

LONG = "50m"
pytestmark = pytest.mark.usefixtures("quick_beats", "posts")


def config(api: ApiStandIn, watchlist: str, *, token: str = "first-token", interval: str = LONG, more: str = "") -> str:
    account = f"{{base_url: '{api.base_url}', token: {token}, rate: 1000/s}}"
    return (
        f"apis:\n  here: {account}\n{more}"
        "channels: {team: {url: 'json://localhost', rate: 1000/s}}\n"
        f"defaults: {{interval: {interval}}}\nwatchlist: [{watchlist}]\n"
    )


def slowly_reconfigured(daemon: Running, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], Any]) -> None:
    """Have a reload take long enough between the due table and the lanes for something to happen."""
    genuine = daemon.service._lanes.configure

    def configure(found: Any) -> None:
        meanwhile()
        genuine(found)

    monkeypatch.setattr(daemon.service._lanes, "configure", configure)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Gets an item for each time that the daemon reads its configuration from now on."""
    reads: list[None] = []
    genuine = notifier.service.load_config

    def load(path: Path, environ: Any) -> Any:
        reads.append(None)
        return genuine(path, environ)

    monkeypatch.setattr("notifier.service.reloading.load_config", load)
    return reads


# --- races -------------------------------------------------------------------------------------------------------


def test_a_watch_of_a_new_account_is_polled_at_once(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.script("new", [plain("new", "processing")])
    with running(tmp_path, config(api, "")) as daemon:
        slowly_reconfigured(daemon, monkeypatch, lambda: api.wait_for(1, "new"))
        more = f"  other: {{base_url: '{api.base_url}', token: other-token}}\n"
        daemon.reload(config(api, "{id: new, api: other}", more=more))
        (asked,) = api.requests
        assert asked.headers["authorization"] == "Bearer other-token"


def test_what_is_due_because_of_a_new_token_is_asked_with_the_new_token(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch, posts: list[str]
) -> None:
    api.script("a", [plain("a", "processing")])
    api.token = "second-token"
    with running(tmp_path, config(api, "a")) as daemon:
        until(lambda: bool(posts))
        already = len(api.requests)
        slowly_reconfigured(daemon, monkeypatch, lambda: api.wait_for(already + 1))
        daemon.reload(config(api, "a", token="second-token"))
        until(lambda: len(posts) == 2)
        assert {seen.headers["authorization"] for seen in api.requests[already:]} == {"Bearer second-token"}
    assert posts == ["🚨 account here: in trouble", "🟢 account here: works again"]


def test_a_refusal_that_was_under_way_when_the_token_changed_is_no_incident(
    tmp_path: Path, api: ApiStandIn, posts: list[str]
) -> None:
    refused = problem(401, "Unauthenticated", "no").with_(held=True)
    api.script("a", [refused, plain("a", "processing"), plain("a", "failed", error="no")])
    with running(tmp_path, config(api, "a", interval="1s")) as daemon:
        api.wait_for(1)
        daemon.reload(config(api, "a", interval="1s", token="second-token"))
        api.release()
        until(lambda: bool(posts))
    assert posts == ["❌ a: failed"]


def test_an_account_that_is_removed_with_polls_in_flight_and_comes_back_is_no_mistake(
    tmp_path: Path, api: ApiStandIn, posts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    api.script("a", [plain("a", "failed", error="old").with_(held=True), plain("a", "failed", error="new")])
    more = f"  other: {{base_url: '{api.base_url}', token: other-token, rate: 1000/s}}\n"
    both = config(api, "{id: a, api: other}", more=more, interval="1s")
    with running(tmp_path, both) as daemon:
        api.wait_for(1)
        daemon.reload(config(api, ""))
        daemon.reload(both)
        assert len(api.requests) == 1  # its poll from before is still in flight
        api.release()
        api.wait_for(2)
        until(lambda: bool(posts))
        (row,) = daemon.service._store.history(None, 9)
    assert (row.error, posts) == ("new", ["❌ a: failed"])
    assert "mistake" not in caplog.text


# --- edits -------------------------------------------------------------------------------------------------------


def test_a_mistake_is_told_once_and_mended_in_the_new_file_that_has_it(
    tmp_path: Path,
    api: ApiStandIn,
    monkeypatch: pytest.MonkeyPatch,
    posts: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    api.script("b", [plain("b", "failed", error="no")])
    new = tmp_path / "new.yaml"
    new.write_text("- {idd: b}\n")
    with running(tmp_path, config(api, "")) as daemon:
        reads = counted(monkeypatch)
        daemon.edit(config(api, "") + "include: new.yaml\n")
        until(lambda: len(posts) == 1 and len(reads) == 2)  # again, when two looks agreed on the new file too
        (tmp_path / "mended").write_text("- {id: b}\n")
        (tmp_path / "mended").replace(new)  # written in place, it would be empty for a moment
        until(lambda: len(posts) == 3)
    assert sorted(posts) == [
        "❌ b: failed", "🚨 configuration config.yaml: in trouble", "🟢 configuration config.yaml: works again",
    ]  # fmt: skip
    assert caplog.text.count("configuration not reloaded") == 1


def test_an_edit_that_removes_most_watches_is_read_once_and_waits_and_is_forgotten_when_undone(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "notifier")
    monkeypatch.setattr(watching, "SHRINK_WAIT", 1.0)
    many = ", ".join(f"w{number}" for number in range(20))
    with running(tmp_path, config(api, many)) as daemon:
        reads = counted(monkeypatch)
        daemon.edit(config(api, "w1"))
        until(lambda: "edit held back" in caplog.text)
        daemon.edit(config(api, many))
        until(lambda: not daemon.service._reloading._watch.is_holding)
        assert "reloaded" not in caplog.text
        begin = time.monotonic()
        daemon.edit(config(api, "w1"))
        until(lambda: "reloaded watches=1" in caplog.text)
        assert time.monotonic() - begin > 1.0
        assert len(reads) == 3
    assert caplog.text.count("edit held back") == 2


def test_an_edit_that_a_full_disk_keeps_from_being_applied_is_applied_later(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    api.script("b", [plain("b", "processing")])
    tries: list[None] = []
    genuine = Store.relist

    def relist(store: Store, *arguments: Any) -> Any:
        tries.append(None)
        if len(tries) < 4:
            raise StoreWriteError("the disk is full")
        return genuine(store, *arguments)

    monkeypatch.setattr(Store, "relist", relist)
    with running(tmp_path, config(api, "")) as daemon:
        daemon.reload(config(api, "b"))
        api.wait_for(1, "b")
    assert len(tries) == 4
    assert caplog.text.count("not reloaded yet") == 1


def test_a_mistake_of_ours_in_reading_an_edit_is_met_once(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[None] = []

    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    with running(tmp_path, config(api, "")) as daemon:
        monkeypatch.setattr("notifier.service.reloading.load_config", broken)
        daemon.edit(config(api, "b"))
        until(lambda: "regular task failed" in caplog.text)
        genuine = daemon.service._reloading._watch.is_ready

        def is_ready() -> bool:
            looks.append(None)
            return genuine()

        monkeypatch.setattr(daemon.service._reloading._watch, "is_ready", is_ready)
        until(lambda: len(looks) > 4)
    assert caplog.text.count("regular task failed") == 1


def test_an_edit_that_is_applied_late_does_not_undo_a_later_one(tmp_path: Path, api: ApiStandIn) -> None:
    with running(tmp_path, config(api, "")) as daemon:
        service = daemon.service
        older = load_config(daemon.path, daemon.environ)
        daemon.reload(config(api, "b"))
        done = threading.Event()
        service._keeper.post(lambda: service._reloading._apply(older, routes(older)))
        service._keeper.post(done.set)
        assert done.wait(10)
        assert [watch.key.id for watch in service._config.watches] == ["b"]


# --- clocks, and ends --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_wall_clock_that_is_set_back_or_forward_an_hour_silences_nothing_and_makes_no_storm(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    class Stepped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = UTC) -> Self:
            return super().now(tz) + timedelta(seconds=step)

    api.script("a", [plain("a", "processing")])
    with running(tmp_path, config(api, "a", interval="2s")) as daemon:
        api.wait_for(1)
        until(lambda: bool(daemon.service._table.seconds_to(Key("here", "a"))))  # it has landed: nothing else will wake
        monkeypatch.setattr(apscheduler.schedulers.base, "datetime", Stepped)
        monkeypatch.setattr(notifier.schedule.clockwork, "datetime", Stepped)
        daemon.wall_step = step
        first, *_, last = api.wait_for(4, timeout=12)
        assert last.time - first.time == pytest.approx(6.0, abs=1.0)


def test_a_slow_read_of_the_configuration_does_not_hold_up_the_end(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, finish = threading.Event(), threading.Event()

    def slow(path: Path, environ: Any) -> Any:
        reading.set()
        finish.wait(20)
        return genuine(path, environ)

    genuine = notifier.service.load_config
    with running(tmp_path, config(api, "")) as daemon:
        monkeypatch.setattr("notifier.service.reloading.load_config", slow)
        daemon.service.reload()
        assert reading.wait(10)
        begin = time.monotonic()
        daemon.stop()
        assert time.monotonic() - begin < 5
        assert daemon.ended is None
        finish.set()
        daemon.service._heartbeat._thread.join()
        daemon.service._store.close()


def test_a_part_that_dies_and_a_store_that_is_replaced_end_the_daemon(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.service.IDENTITY_EVERY", 2)
    with running(tmp_path, config(api, "")) as daemon:
        daemon.service._keeper.stop(20)
        daemon.wait()
        assert isinstance(daemon.ended, PartDiedError)
        assert daemon.ended.exit_code == 70
    with running(tmp_path, config(api, "")) as daemon:
        (tmp_path / "notifier.db").rename(tmp_path / "elsewhere.db")
        daemon.wait()
        assert isinstance(daemon.ended, StoreError)
        assert daemon.ended.exit_code == 74


def test_a_start_that_fails_leaves_the_store_to_the_next(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreWriteError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "keep_listed", full)
        daemon = Running(tmp_path, config(api, ""))
        daemon.start()
        daemon.wait()
    assert isinstance(daemon.ended, StoreError)
    api.script("a", [plain("a", "processing")])
    with running(tmp_path, config(api, "a")):
        api.wait_for(1, "a")


def test_what_another_process_puts_into_the_outbox_is_taken_up_although_the_store_fails_once(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch, posts: list[str]
) -> None:
    api.script("a", [plain("a", "failed", error="no")])
    with running(tmp_path, config(api, "a")) as daemon:
        until(lambda: len(posts) == 1)
        service = daemon.service
        (row,) = service._store.history(None, 9)
        (delivery,) = row.deliveries
        until(lambda: service._store.history(None, 9)[0].deliveries[0].state == "sent")
        failed = threading.Event()
        genuine = service._store.waiting_addresses

        def fails_once() -> Any:
            if not failed.is_set():
                failed.set()
                raise StoreWriteError("locked")
            return genuine()

        monkeypatch.setattr(service._store, "waiting_addresses", fails_once)
        with Store.open(service._config.store, create=False) as store:
            store.mark_given_up([delivery.id], wall=time.time(), reason="test")
            store.resend(None, time.time())
        until(lambda: len(posts) == 2)
        assert failed.is_set()


@pytest.mark.parametrize("works", [True, False])
def test_a_channel_that_a_crash_left_in_its_incident_is_out_of_it_at_the_next_start(
    tmp_path: Path, api: ApiStandIn, posts: list[str], *, works: bool
) -> None:
    """If it works, that is: nothing may wait for it any more that would show it."""
    team, since = Address("team", ""), time.time() - 900
    with Store.open(f"sqlite:///{tmp_path}/notifier.db", daemon=True) as store:
        store.note_failing(team, since)
        store.open_incident(Incident(IncidentKind.CHANNEL, "team", since, "HTTP 500"), [], since)
        if works:
            (delivery,) = store.record_notice(a_notice(), (team,), since)
            store.mark_sent([delivery.id], since + 60)
    text = config(api, "a").replace("channels: {", "channels: {mail: {url: 'json://localhost'}, ")
    with running(tmp_path, text) as daemon:
        api.wait_for(1, "a")
        until(lambda: len(posts) == works)
    assert posts == ["🟢 channel team: works again"] * works
    with Store.open(daemon.service._config.store, create=False) as store:
        assert len(store.open_incidents()) == (not works)


def test_after_a_heartbeat_is_told_to_stop_nothing_more_is_begun() -> None:
    begun, finish = threading.Event(), threading.Event()
    made: list[str] = []

    def first() -> None:
        begun.set()
        finish.wait(10)

    beats = heartbeat.Heartbeat([(1, first), (1, lambda: made.append("second"))])
    beats.start()
    assert begun.wait(10)
    assert not beats.stop(0.0)
    finish.set()
    assert beats.stop(10)
    assert made == []
