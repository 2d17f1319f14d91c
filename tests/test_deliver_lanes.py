"""All lanes with their real threads, a real store and the real words; what is waited for has a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from notifier import message
from notifier.deliver import Lane, Lanes, Outbox, Pacer, Route
from notifier.errors import DeliveryError, StoreWriteError
from notifier.model import (
    Address,
    Channel,
    Clock,
    Delivery,
    Event,
    Key,
    Message,
    Notice,
    Secret,
    State,
)
from notifier.store import Change, Store

TEAM, MAIL = Address("team", ""), Address("mail", "")
ANNA, BEN = Address("mail", "anna"), Address("mail", "ben")
DOWN = DeliveryError("HTTP 503")
SOON = 10.0
"""Seconds that anything may take at most."""


class Bench:
    """Lanes, and wires whose every message can be held up or refused."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = Clock()
        self.changed = threading.Condition()
        self.begun: list[tuple[str, str]] = []
        self.arrived: list[tuple[str, str]] = []
        self.reports: list[str] = []
        self.gates: dict[str, threading.Event] = {}
        """Where a channel hangs until it is opened."""
        self.errors: dict[str, list[Exception]] = {}
        self.counter = 0
        self.outbox = Outposts(store)
        self.lanes = Lanes(outbox=cast("Outbox", self.outbox), words=message, incidents=self, clock=self.clock)

    def configure(self, *addresses: Address, **settings: Any) -> None:
        settings = {"rate": 1e6, **settings}
        self.lanes.configure(
            {each: Route(Channel(each.channel, Secret("json://x"), **settings), self.wire(each), 3000)
             for each in addresses}
        )  # fmt: skip

    def wire(self, address: Address) -> Callable[[Message], None]:
        name = address.recipient or address.channel

        def send(words: Message) -> None:
            self.note(self.begun, (name, words.title))
            if name in self.gates:
                assert self.gates[name].wait(SOON)
            if self.errors.get(name):
                raise self.errors[name].pop(0)
            self.note(self.arrived, (name, words.title))

        return send

    def note(self, where: list[Any], what: Any) -> None:
        with self.changed:
            where.append(what)
            self.changed.notify_all()

    def tell(self, prediction: str, *addresses: Address) -> None:
        """Record a notice and wake whom it is for, as the keeper does."""
        self.counter += 1
        notice = Notice(
            f"notice{self.counter:04}", Event.STATUS, time.time(), Key("api", prediction), name=prediction,
            before="starting", status="failed", names=frozenset({"status"}),
        )  # fmt: skip
        state = State(time.time(), "failed")
        self.store.record([Change(Key("api", prediction), state, ((notice, addresses),))], self.clock.steady())
        self.lanes.wake(addresses)

    def until(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, SOON), (self.begun, self.arrived, self.reports)

    def wait_for(self, *expected: tuple[str, str]) -> None:
        """Until exactly these predictions arrived on these channels, in any order."""
        self.until(lambda: sorted(self.arrived) == sorted((name, f"❌ {what}: failed") for name, what in expected))

    def delivered(self, channel: str, outcome: str, count: int) -> None:
        """Counts are looked at with a single lane."""

    def channel_fails(self, address: Address, since: float, reason: str, held: int) -> None:
        self.note(self.reports, f"{address.channel} fails: {reason}, {held} held")

    def gave_up_meanwhile(self, address: Address, deliveries: Sequence[Delivery], reason: str, *, told: int) -> None:
        self.note(self.reports, f"{address.channel} gave up {len(deliveries)} meanwhile: {reason}")

    def gave_up(self, address: Address, deliveries: Sequence[Delivery], reason: str, *, works: bool) -> None:
        self.note(self.reports, f"{address.channel} never took {len(deliveries)}: {reason}")

    def channel_works(self, address: Address) -> None:
        self.note(self.reports, f"{address.channel} works")

    def close(self) -> None:
        for gate in self.gates.values():
            gate.set()
        assert self.lanes.stop(SOON)


class Outposts:
    """The store, with something done just after one of its methods."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.after: dict[str, list[Callable[[], None]]] = {}

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            found = getattr(self._store, name)(*arguments, **named)
            if self.after.get(name):
                self.after[name].pop(0)()
            return found

        return call


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Store.open(f"sqlite:///{tmp_path}/n.db", daemon=True) as store:
        bench = Bench(store)
        try:
            yield bench
        finally:
            bench.close()


def states(bench: Bench) -> dict[str, str]:
    """What became of each delivery, by its channel."""
    return {each.address.channel: each.state.value for row in bench.store.history(None, 99) for each in row.deliveries}


# --- started, woken, reconfigured ----------------------------------------------------------------------------------


def test_whoever_is_woken_is_sent_what_waits(bench: Bench) -> None:
    bench.configure(TEAM, MAIL)
    bench.tell("a", TEAM, MAIL)
    bench.wait_for(("team", "a"), ("mail", "a"))
    bench.tell("b", MAIL)
    bench.wait_for(("team", "a"), ("mail", "a"), ("mail", "b"))


def test_an_address_that_nobody_configured_waits(bench: Bench) -> None:
    bench.configure(TEAM)
    bench.tell("a", MAIL, TEAM)
    bench.wait_for(("team", "a"))
    assert states(bench)["mail"] == "waiting"


def test_deliveries_of_a_removed_channel_wait_and_are_sent_when_it_is_back(bench: Bench) -> None:
    bench.configure(TEAM, MAIL)
    bench.tell("a", TEAM, MAIL)
    bench.wait_for(("team", "a"), ("mail", "a"))
    bench.configure(TEAM)
    bench.tell("b", TEAM, MAIL)
    bench.wait_for(("team", "a"), ("mail", "a"), ("team", "b"))
    bench.configure(TEAM, MAIL)
    bench.lanes.wake(bench.store.waiting_addresses())
    bench.wait_for(("team", "a"), ("mail", "a"), ("team", "b"), ("mail", "b"))


def test_a_channel_that_is_back_while_its_last_message_is_still_being_sent_does_not_send_it_twice(
    bench: Bench,
) -> None:
    bench.gates["mail"] = threading.Event()
    bench.configure(MAIL)
    bench.tell("a", MAIL)
    bench.until(lambda: len(bench.begun) == 1)
    for _ in range(2):
        bench.configure()
        bench.configure(MAIL)
        bench.lanes.wake([MAIL])
    bench.tell("b", MAIL)
    assert len(bench.begun) == 1
    bench.gates["mail"].set()
    bench.wait_for(("mail", "a"), ("mail", "b"))


def test_a_changed_channel_is_gone_by_at_once_although_a_lane_waits_for_its_turn(bench: Bench) -> None:
    bench.configure(ANNA, BEN, rate=1 / 3600)
    bench.tell("a", ANNA, BEN)
    bench.until(lambda: len(bench.arrived) == 1)
    bench.configure(ANNA, BEN)
    bench.wait_for(("anna", "a"), ("ben", "a"))


def test_a_failing_channel_that_was_changed_is_tried_at_once(bench: Bench) -> None:
    bench.errors["team"] = [DOWN]
    bench.outbox.after["note_failing"] = [lambda: bench.note(bench.reports, "recorded")]
    bench.configure(TEAM, retry_after=(3600.0,))
    bench.tell("a", TEAM)
    bench.until(lambda: bench.reports == ["recorded"])
    bench.configure(TEAM, retry_after=(7200.0,))
    bench.wait_for(("team", "a"))


def test_a_wake_up_between_the_last_look_and_the_wait_is_not_lost(bench: Bench) -> None:
    bench.configure(TEAM)
    # The second look finds nothing; what comes before it has returned is for the third.
    bench.outbox.after["waiting"] = [lambda: None, lambda: bench.tell("b", TEAM)]
    bench.tell("a", TEAM)
    bench.wait_for(("team", "a"), ("team", "b"))


# --- trouble -------------------------------------------------------------------------------------------------------


def test_a_channel_that_hangs_delays_no_other_nor_the_other_recipients(bench: Bench) -> None:
    bench.gates["anna"] = threading.Event()
    bench.configure(ANNA, BEN, TEAM)
    bench.tell("a", ANNA, BEN, TEAM)
    bench.tell("b", ANNA, BEN, TEAM)
    bench.wait_for(("ben", "a"), ("team", "a"), ("ben", "b"), ("team", "b"))
    bench.gates["anna"].set()
    bench.until(lambda: len(bench.arrived) == 6)


def test_a_lane_outlives_a_mistake_of_ours_and_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def mistake() -> None:
        raise ZeroDivisionError("oops")

    def another() -> None:
        raise KeyError("oops")

    monkeypatch.setattr("notifier.deliver.lane.MISTAKE_RETRY", 0.01)
    bench.outbox.after = {"waiting": [mistake, mistake], "mark_sent": [another]}
    bench.configure(TEAM)
    bench.tell("a", TEAM)
    bench.tell("b", TEAM)
    bench.wait_for(("team", "a"), ("team", "b"))
    assert caplog.text.count('effect="a channel is looked at again"') == 2


def test_a_store_out_of_reach_is_logged_once_and_sending_goes_on_when_it_is_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full() -> None:
        raise StoreWriteError("the disk is full")

    monkeypatch.setattr("notifier.deliver.lane.STORE_RETRY", 0.01)
    bench.outbox.after["waiting"] = [full] * 5
    bench.configure(TEAM)
    bench.tell("a", TEAM)
    bench.wait_for(("team", "a"))
    assert caplog.text.count("store out of reach") == 1


def test_what_was_known_before_the_start_holds(bench: Bench) -> None:
    long_ago = time.time() - 9000
    bench.lanes.remember({TEAM: long_ago, MAIL: long_ago}, [MAIL])
    bench.errors = {"team": [DOWN], "mail": [DOWN]}
    bench.configure(TEAM, MAIL, retry_after=(0.01,))
    bench.tell("a", TEAM, MAIL)
    bench.wait_for(("team", "a"), ("mail", "a"))
    bench.until(lambda: len(bench.reports) == 3)
    assert sorted(bench.reports) == ["mail works", "team fails: HTTP 503, 1 held", "team works"]


def test_what_was_known_of_a_channel_before_it_was_removed_does_not_hold_when_it_is_back(bench: Bench) -> None:
    """Its incident was closed with it."""
    long_ago = time.time() - 9000
    bench.lanes.remember({TEAM: long_ago, MAIL: long_ago}, [MAIL])
    bench.errors = {"team": [DOWN], "mail": [DOWN]}
    bench.configure()
    bench.configure(TEAM, MAIL, retry_after=(0.01,))
    bench.tell("a", TEAM, MAIL)
    bench.wait_for(("team", "a"), ("mail", "a"))
    assert bench.lanes.stop(SOON)
    assert bench.reports == []


# --- announcements -------------------------------------------------------------------------------------------------


def trouble() -> Notice:
    return Notice("storenotice", Event.INCIDENT, time.time(), name="store n.db", detail="the disk is full")


def test_an_announcement_reaches_everyone_there_is_once_and_waits_for_nobody(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bench.gates["mail"] = threading.Event()
    bench.errors["anna"] = [DeliveryError("HTTP 500")]
    bench.errors["ben"] = [ZeroDivisionError("oops")]
    bench.configure(TEAM, MAIL, ANNA, BEN)
    bench.lanes.announce(trouble(), [MAIL, ANNA, BEN, TEAM, Address("gone", "")])
    bench.until(lambda: [name for name, _ in bench.arrived] == ["team"])
    bench.gates["mail"].set()
    assert bench.lanes.stop(SOON)
    assert [name for name, _ in bench.arrived] == ["team", "mail"]
    assert bench.store.history(None, 9) == []
    assert 'not announced channel=mail recipient=anna notice=storenotice reason="HTTP 500"' in caplog.text
    about = 'effect="a channel is not told" error=ZeroDivisionError channel=mail recipient=ben notice=storenotice'
    assert f"mistake in the program {about}" in caplog.text
    assert "announced channel=team notice=storenotice" in caplog.text


# --- the end -------------------------------------------------------------------------------------------------------


def test_the_end_waits_for_a_delivery_in_flight_which_is_recorded_and_takes_no_other(bench: Bench) -> None:
    bench.gates["team"] = threading.Event()
    bench.configure(TEAM)
    bench.tell("a", TEAM)
    bench.until(lambda: len(bench.begun) == 1)
    bench.tell("b", TEAM)
    assert bench.lanes.stop(0.01) is False
    bench.gates["team"].set()
    assert bench.lanes.stop(SOON)
    assert [what for _, what in bench.arrived] == ["❌ a: failed"]
    assert [row.deliveries[0].state.value for row in bench.store.history(None, 9)] == ["sent", "waiting"]


def test_a_delivery_that_hangs_holds_up_the_end_no_longer_than_its_grace(bench: Bench) -> None:
    bench.gates["team"] = threading.Event()
    bench.configure(TEAM, MAIL)
    bench.tell("a", TEAM, MAIL)
    bench.until(lambda: len(bench.begun) == 2)
    began = time.monotonic()
    assert bench.lanes.stop(0.2) is False
    assert 0.15 < time.monotonic() - began < 5
    assert states(bench)["team"] == "waiting"


def test_the_last_message_of_a_removed_channel_has_its_grace_too(bench: Bench) -> None:
    bench.gates["team"] = threading.Event()
    bench.configure(TEAM)
    bench.tell("a", TEAM)
    bench.until(lambda: len(bench.begun) == 1)
    bench.configure()
    assert bench.lanes.stop(0.01) is False
    bench.gates["team"].set()
    assert bench.lanes.stop(SOON)
    assert states(bench) == {"team": "sent"}


@pytest.mark.parametrize("waits_for", ["news", "probe", "turn", "store"])
def test_a_lane_that_waits_ends_at_once(bench: Bench, waits_for: str) -> None:
    began = time.monotonic()
    bench.configure(ANNA, BEN, rate=1 / 3600 if waits_for == "turn" else 1e6, retry_after=(3600.0,))
    if waits_for == "probe":
        bench.errors = {"anna": [DOWN], "ben": [DOWN]}
    if waits_for == "store":
        bench.outbox.after["mark_sent"] = [full_disk]
    bench.tell("a", ANNA, BEN)
    bench.until(lambda: len(bench.begun) == (1 if waits_for == "turn" else 2))
    assert bench.lanes.stop(SOON)
    assert time.monotonic() - began < SOON / 2


def full_disk() -> None:
    raise StoreWriteError("the disk is full")


def test_a_delivery_that_was_only_looked_at_when_the_end_came_is_not_begun(bench: Bench) -> None:
    bench.tell("a", TEAM)
    lane = a_lane(bench, cast("Outbox", bench.outbox))
    bench.outbox.after["waiting"] = [lane.stop]
    lane.start()
    assert lane.join(SOON)
    assert bench.begun == []


def test_after_the_end_nobody_is_woken_and_nothing_announced(bench: Bench) -> None:
    bench.configure(TEAM)
    assert bench.lanes.stop(SOON)
    bench.tell("a", TEAM)
    bench.lanes.announce(trouble(), [TEAM])
    assert {"lane team", "announce team"}.isdisjoint(thread.name for thread in threading.enumerate())
    assert bench.begun == []


class StopsBeforeClearing(threading.Event):
    """The worst moment for `stop`: just before what it has set is cleared."""

    def __init__(self, stop: Callable[[], None]) -> None:
        super().__init__()
        self._stop_lane = stop

    def clear(self) -> None:
        self._stop_lane()
        super().clear()


def test_a_stop_at_the_worst_moment_is_not_overlooked(bench: Bench) -> None:
    lane = a_lane(bench, cast("Outbox", bench.outbox))
    lane._news = StopsBeforeClearing(lane.stop)
    lane.start()
    assert lane.join(SOON)
    assert bench.begun == []


def test_what_was_sent_but_not_recorded_yet_is_recorded_at_the_end(bench: Bench) -> None:
    """Else it would be sent again at the next start."""
    refused = threading.Event()

    class Full:
        """Cannot record what was sent, until the lane is being stopped."""

        def mark_sent(self, ids: Sequence[int], wall: float) -> None:
            if not lane._stopping.is_set():
                refused.set()
                raise StoreWriteError("the disk is full")
            bench.store.mark_sent(ids, wall)

        def __getattr__(self, name: str) -> Any:
            return getattr(bench.store, name)

    bench.tell("a", TEAM)
    lane = a_lane(bench, cast("Outbox", Full()))
    lane.start()
    assert refused.wait(SOON)
    lane.stop()
    assert lane.join(SOON)
    assert states(bench) == {"team": "sent"}
    assert len(bench.arrived) == 1


def a_lane(bench: Bench, outbox: Outbox) -> Lane:
    return Lane(
        TEAM, Channel("team", Secret("json://x")), pacer=Pacer(1e6), send=bench.wire(TEAM), limit=3000,
        outbox=outbox, words=message, incidents=bench, clock=bench.clock,
    )  # fmt: skip
