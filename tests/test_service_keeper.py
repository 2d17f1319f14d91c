"""The keeper with a real store, real answers and real lanes; the wire is a list, and time is passed in."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from notifier import message
from notifier.deliver import Lanes, Route
from notifier.errors import StoreWriteError
from notifier.model import (
    Address,
    Api,
    Channel,
    Clock,
    Config,
    Delivery,
    Incident,
    IncidentKind,
    Key,
    Message,
    Secret,
    Watch,
)
from notifier.poll import Poller
from notifier.schedule import DueTable
from notifier.service.keeper import Answered, Keeper
from notifier.store import Store
from notifier.transport import Transport
from tests.builders import a_watch, an_api
from tests.standins.api import Answer, as_response, plain, problem

START = 1_800_000_000.0
API = an_api("here", rate=1000.0)
LINK = "https://x.test/a.png"
REFUSED = problem(401, "Unauthenticated", "no")
BUSY = problem(503, detail="busy")
MISSING = problem(404, detail="none")


class Nobody:
    """Lanes report to it that a channel is in trouble; here none ever is."""

    def delivered(self, channel: str, outcome: str, count: int) -> None:
        assert outcome == "sent"

    def channel_fails(self, address: Address, since: float, reason: str, held: int) -> None:
        raise AssertionError(reason)

    def gave_up_meanwhile(self, address: Address, deliveries: Sequence[Delivery], reason: str, *, told: int) -> None:
        raise AssertionError(reason)

    def gave_up(self, address: Address, deliveries: Sequence[Delivery], reason: str, *, works: bool) -> None:
        raise AssertionError(reason)

    def channel_works(self, address: Address) -> None:
        raise AssertionError(address)


class Bench:
    """A keeper and what it stands between, as the service builds them."""

    def __init__(self, folder: Path, watches: Sequence[Watch], apis: Sequence[Api] = (API,)) -> None:
        self.now = START
        self.clock = Clock(wall=lambda: self.now, monotonic=lambda: self.now)
        self.store = Store.open(f"sqlite:///{folder}/n.db", daemon=True, now=START)
        self.transport = Transport()
        self.table = DueTable(lambda: self.now)
        self.posts: list[tuple[str, Message]] = []
        self._arrived = threading.Condition()
        self.lanes = Lanes(outbox=self.store, words=message, incidents=Nobody(), clock=self.clock)
        self.keeper = Keeper(store=self.store, table=self.table, lanes=self.lanes, clock=self.clock)
        self.config = self.configuration(watches, apis)
        self.apply(self.config)

    def configuration(self, watches: Sequence[Watch], apis: Sequence[Api] = (API,)) -> Config:
        channels = {name: Channel(name, Secret("json://x"), rate=1e6, digest_over=1000) for name in ("team", "mail")}
        return Config(
            Path("config.yaml"), (), {api.name: api for api in apis}, channels, ("team",), tuple(watches), "sqlite://"
        )

    def apply(self, config: Config) -> None:
        addresses = {name: (Address(name, ""),) for name in config.channels}
        self.lanes.configure(
            {Address(name, ""): Route(channel, self.wire(name), 3000) for name, channel in config.channels.items()}
        )
        pollers = {name: Poller(api, self.transport) for name, api in config.apis.items()}
        self.keeper.configure(config, pollers, addresses)

    def wire(self, channel: str) -> Any:
        def send(words: Message) -> None:
            with self._arrived:
                self.posts.append((channel, words))
                self._arrived.notify_all()

        return send

    def answer(self, prediction_id: str, answer: Answer, asked: float | None = None, api: str = "here") -> None:
        asked_at = self.now if asked is None else START + asked
        self.keeper.put(Answered(Key(api, prediction_id), asked_at, as_response(answer)))
        self.settle()

    def settle(self) -> None:
        """Wait until the keeper has recorded all that it was given."""
        for _ in range(2):  # what was posted last is done before its batch is recorded
            done = threading.Event()
            self.keeper.post(done.set)
            assert done.wait(10)

    def wait_for(self, count: int) -> list[str]:
        """The titles that arrived, with their channel, once there are so many."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.posts) >= count, 10), self.posts
            return [f"{channel}: {words.title}" for channel, words in self.posts]

    def events(self) -> list[tuple[str, str | None, str | None]]:
        return [(row.event, row.key.id if row.key else None, row.status) for row in self.store.history(None, 1000)]

    def close(self) -> None:
        if self.keeper.alive:
            self.keeper.stop(20)
        self.lanes.stop(10)
        self.transport.close()
        self.store.close()


@contextmanager
def running(folder: Path, watches: Sequence[Watch], apis: Sequence[Api] = (API,)) -> Iterator[Bench]:
    bench = Bench(folder, watches, apis)
    try:
        bench.keeper.start()
        yield bench
    finally:
        bench.close()


def watch(name: str, api: str = "here", **rules: Any) -> Watch:
    return a_watch(Key(api, name), name, **rules)


ABC = [watch("a"), watch("b"), watch("c")]


def test_a_change_is_recorded_and_told_and_a_finished_watch_is_due_no_more(tmp_path: Path) -> None:
    with running(tmp_path, [watch("a")]) as bench:
        assert bench.table.take() == [Key("here", "a")]
        bench.answer("a", plain("a", "processing"))
        assert bench.events() == []
        assert bench.table.seconds_to(Key("here", "a")) == 30.0
        bench.now += 30
        assert bench.table.take() == [Key("here", "a")]
        bench.answer("a", plain("a", "succeeded", output=LINK))
        assert bench.wait_for(1) == ["team: ✅ a: succeeded"]
        assert bench.events() == [("status", "a", "succeeded")]
        assert bench.table.seconds_to(Key("here", "a")) is None
        bench.answer("a", plain("a", "failed"))
        assert len(bench.events()) == 1


def test_a_poll_that_saw_nothing_new_writes_nothing(tmp_path: Path) -> None:
    with running(tmp_path, [watch("a")]) as bench:
        bench.answer("a", plain("a", "processing"))
        before = bench.store._writer.connection.driver_connection.total_changes  # type: ignore[union-attr]
        for _ in range(5):
            bench.answer("a", plain("a", "processing", logs="more and more"))
        assert bench.store._writer.connection.driver_connection.total_changes == before  # type: ignore[union-attr]


def test_two_refused_watches_are_one_incident_that_ends_with_an_answer(tmp_path: Path) -> None:
    with running(tmp_path, ABC) as bench:
        assert len(bench.table.take()) == 3
        bench.answer("a", REFUSED)
        bench.now += 1
        bench.answer("b", REFUSED)
        assert bench.wait_for(1)[0].startswith("team: 🚨 account here")
        assert [each.kind for each in bench.store.open_incidents()] == [IncidentKind.API]
        bench.answer("c", REFUSED)
        assert bench.table.take() == []  # it is only probed now
        bench.now += 31
        (probe,) = bench.table.take()
        bench.answer(probe.id, plain(probe.id, "processing"))
        assert bench.wait_for(2)[1].startswith("team: 🟢 account here")
        assert bench.store.open_incidents() == []
        assert {row[0] for row in bench.events()} == {"incident", "incident_over"}
        assert len(bench.table.take()) == 2


def test_failures_before_and_during_an_incident_make_no_watch_unreachable(tmp_path: Path) -> None:
    with running(tmp_path, ABC) as bench:
        for _ in range(4):
            for name in "abc":
                bench.answer(name, BUSY)
            bench.now += 40
        for name in "abc":
            bench.answer(name, BUSY)  # by now every poll has failed for two minutes
        bench.now += 300
        bench.answer("a", plain("a", "processing"))
        bench.answer("b", BUSY)
        assert [row[0] for row in bench.events()] == ["incident", "incident_over"]


def test_a_new_token_ends_the_incident_at_once_and_all_are_due(tmp_path: Path) -> None:
    with running(tmp_path, ABC) as bench:
        bench.table.take()
        for name in "abc":
            bench.now += 1
            bench.answer(name, REFUSED)
        changed = bench.configuration(ABC, [replace(API, token=Secret("another"))])
        bench.keeper.post(lambda: bench.apply(changed))
        bench.settle()
        assert bench.store.open_incidents() == []
        assert len(bench.table.take()) == 3


def test_what_is_recorded_survives_and_an_incident_is_taken_up_again(tmp_path: Path) -> None:
    with running(tmp_path, ABC) as bench:
        bench.table.take()
        bench.answer("c", plain("c", "processing"))
        for name in "ab":
            bench.now += 1
            bench.answer(name, REFUSED)
    again = Bench(tmp_path, ABC)
    gone = Incident(IncidentKind.CHANNEL, "removed", START, "no such host")
    bad = Incident(IncidentKind.CONFIG, "config.yaml", START, "unknown key")
    try:
        for incident in (gone, bad):
            again.store.open_incident(incident, [], START)
        again.keeper.resume_incidents(again.store.open_incidents())
        again.keeper.start()
        again.settle()
        assert [each.kind for each in again.store.open_incidents()] == [IncidentKind.API]
        (probe,) = again.table.take()  # at once, and only one
        again.answer(probe.id, plain(probe.id, "processing"))
        assert again.store.open_incidents() == []
        again.answer("c", plain("c", "canceled"))
        told = [row for row in again.events() if row[0] == "status"]
        assert told == [("status", "c", "canceled")]
    finally:
        again.close()


def test_a_removed_watch_is_ignored_and_added_again_tells_nothing_old(tmp_path: Path) -> None:
    with running(tmp_path, ABC) as bench:
        bench.table.take()
        bench.answer("a", plain("a", "failed", error="no"))
        bench.answer("b", plain("b", "processing"))
        bench.keeper.post(lambda: bench.apply(bench.configuration(ABC[2:])))
        bench.answer("b", plain("b", "failed", error="nobody listens"))
        bench.keeper.post(lambda: bench.apply(bench.config))
        bench.settle()
        bench.answer("a", plain("a", "failed", error="no"))
        bench.answer("b", plain("b", "succeeded", output=LINK))
        told = [("status", "a", "failed"), ("status", "b", "succeeded")]
        assert bench.events() == told
        assert bench.table.seconds_to(Key("here", "a")) is None


def test_a_reload_keeps_the_phase_and_the_poll_in_flight_of_what_did_not_change(tmp_path: Path) -> None:
    with running(tmp_path, ABC) as bench:
        bench.table.take()
        bench.now += 5
        bench.answer("a", plain("a", "processing"))
        bench.keeper.post(lambda: bench.apply(bench.configuration([*ABC[:2], watch("d")])))
        bench.settle()
        assert bench.table.seconds_to(Key("here", "a")) == 25.0
        assert bench.table.seconds_to(Key("here", "b")) == 0.0  # in flight
        assert bench.table.seconds_to(Key("here", "c")) is None
        assert bench.table.take() == [Key("here", "d")]


def test_a_let_go_watch_that_is_added_again_is_watched_again(tmp_path: Path) -> None:
    short = [watch("a", watch_for=60.0)]
    with running(tmp_path, short) as bench:
        bench.table.take()
        bench.now += 61
        bench.answer("a", plain("a", "processing"))
        assert bench.events() == [("let_go", "a", "processing")]
        assert bench.table.seconds_to(Key("here", "a")) is None
        bench.keeper.post(lambda: bench.apply(bench.configuration([])))
        bench.keeper.post(lambda: bench.apply(bench.configuration(short)))
        bench.settle()
        assert bench.table.take() == [Key("here", "a")]
        bench.now += 30
        bench.answer("a", plain("a", "processing"))
        assert len(bench.events()) == 1


def test_recovered_also_goes_where_the_trouble_was_told(tmp_path: Path) -> None:
    here = [watch("a", events=frozenset({"lost"}), channels=("team", "mail"))]
    with running(tmp_path, here) as bench:
        for _ in range(3):
            bench.answer("a", MISSING)
            bench.now += 61
        bench.answer("a", plain("a", "processing"))
        titles = bench.wait_for(4)
        assert sorted(titles[:2]) == ["mail: 🔍 a: not found", "team: 🔍 a: not found"]
        assert sorted(titles[2:]) == ["mail: 💚 a: recovered", "team: 💚 a: recovered"]


def test_a_mistake_of_ours_in_one_answer_or_edit_stops_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("oops")

    with running(tmp_path, ABC) as bench:
        bench.table.take()
        bench.keeper.put(Answered(Key("here", "a"), bench.now, None))  # type: ignore[arg-type]
        bench.keeper.post(broken)
        bench.answer("b", plain("b", "failed", error="no"))
        assert bench.events() == [("status", "b", "failed")]
        assert bench.table.seconds_to(Key("here", "a")) == 30.0
    assert caplog.text.count("mistake in the program") == 2


def test_a_full_disk_is_told_once_from_memory_loses_nothing_and_heals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreWriteError("the disk is full")

    with running(tmp_path, ABC) as bench:
        with monkeypatch.context() as patch:
            patch.setattr(bench.store, "record", full)
            patch.setattr(bench.store, "touch", full)
            bench.answer("a", plain("a", "failed", error="no"))
            bench.answer("b", plain("b", "failed", error="no"))
            assert bench.wait_for(1)[0].startswith("team: 🚨 store n.db")
            assert bench.events() == []
        bench.answer("c", plain("c", "processing"))
        titles = bench.wait_for(4)
        assert [row for row in bench.events() if row[1]] == [("status", "a", "failed"), ("status", "b", "failed")]
        assert [row[0] for row in bench.events() if not row[1]] == ["incident", "incident_over"]
        assert bench.store.open_incidents() == []
        assert [title for title in titles if "store" in title] == [titles[0], "team: 🟢 store n.db: works again"]
