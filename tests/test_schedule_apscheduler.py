"""The due table's job in the genuine APScheduler, on the real clock; only a stepped wall clock is handed to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Self

import apscheduler.schedulers.base
import pytest

import notifier.schedule.clockwork
from notifier.model import Key
from notifier.schedule import DueTable, PollScheduler
from tests.builders import an_api

SOON = 0.5
"""Seconds within which what is due starts, also on a busy machine."""
LONG = 3000.0


class Started:
    """Notes what was started, and when, and lets a test wait for it."""

    def __init__(self) -> None:
        self.starts: list[tuple[str, float]] = []
        self._changed = threading.Condition()

    def __call__(self, key: Key) -> None:
        with self._changed:
            self.starts.append((key.id, time.monotonic()))
            self._changed.notify_all()

    def wait_for(self, count: int, timeout: float = 10.0) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.starts) >= count, timeout), self.starts
            return [name for name, _ in self.starts]


class Running:
    """A table, and the job that drains it."""

    def __init__(self) -> None:
        self.table, self.started = DueTable(), Started()
        self.table.configure({"api": an_api("api", rate=1000.0, concurrency=1000)})
        self.scheduler = PollScheduler(self.table, self.started)

    def add(self, name: str, interval: float = LONG) -> None:
        self.table.add([(Key("api", name), interval)])

    def land(self, name: str) -> None:
        self.table.land(Key("api", name), None)


@pytest.fixture
def running() -> Iterator[Running]:
    running = Running()
    running.scheduler.start()
    yield running
    if running.scheduler.alive:
        running.scheduler.stop(20)


def test_what_is_due_at_the_start_and_what_comes_later_is_started_at_once(running: Running) -> None:
    assert running.scheduler.alive
    begin = time.monotonic()
    running.add("first")  # the job was told to sleep for an hour
    running.started.wait_for(1)
    running.land("first")
    running.add("second")
    assert running.started.wait_for(2) == ["first", "second"]
    assert running.started.starts[-1][1] - begin < SOON


def test_a_row_that_is_due_in_a_while_is_started_then(running: Running) -> None:
    running.add("again", interval=1.0)
    running.started.wait_for(1)
    running.land("again")
    assert running.started.wait_for(2) == ["again", "again"]
    gap = running.started.starts[1][1] - running.started.starts[0][1]
    assert 0.85 < gap < 1.0 + SOON


def test_rows_that_were_there_before_the_start_are_polled() -> None:
    running = Running()
    running.add("early")
    running.scheduler.start()
    try:
        assert running.started.wait_for(1) == ["early"]
    finally:
        running.scheduler.stop(20)


def test_a_stopped_one_starts_nothing_more_and_stops_quickly(running: Running) -> None:
    running.add("first")
    running.started.wait_for(1)
    begin = time.monotonic()
    running.scheduler.stop(20)
    assert time.monotonic() - begin < SOON
    assert not running.scheduler.alive
    running.add("second")
    running.scheduler.wake()
    assert [name for name, _ in running.started.starts] == ["first"]
    assert [thread for thread in threading.enumerate() if thread.name == "APScheduler"] == []


def test_a_wake_up_that_comes_late_does_not_undo_another(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The heartbeat wakes it after a clock step, and while that is under way the keeper lands a poll."""
    running.add("poll", interval=1.0)
    running.started.wait_for(1)
    genuine = running.scheduler._scheduler.modify_job
    under_way, landed = threading.Event(), threading.Event()

    def slow_for_the_heartbeat(*arguments: Any, **changes: Any) -> Any:
        if threading.current_thread() is heartbeat:
            under_way.set()
            assert landed.wait(10)
        return genuine(*arguments, **changes)

    monkeypatch.setattr(running.scheduler._scheduler, "modify_job", slow_for_the_heartbeat)
    heartbeat = threading.Thread(target=running.scheduler.wake)
    heartbeat.start()
    assert under_way.wait(10)
    running.land("poll")
    landed.set()
    heartbeat.join()
    running.started.wait_for(2, timeout=3)


def test_what_is_added_while_the_job_runs_is_not_slept_over() -> None:
    table = DueTable()
    table.configure({"api": an_api("api", rate=1000.0)})
    started = Started()
    in_the_job, added = threading.Event(), threading.Event()

    def start_poll(key: Key) -> None:
        started(key)
        if key.id == "first":
            in_the_job.set()
            assert added.wait(10)

    scheduler = PollScheduler(table, start_poll)
    scheduler.start()
    try:
        table.add([(Key("api", "first"), LONG)])
        assert in_the_job.wait(10)
        table.add([(Key("api", "second"), LONG)])
        added.set()
        assert started.wait_for(2, timeout=3) == ["first", "second"]
    finally:
        added.set()
        scheduler.stop(20)


def test_a_wall_clock_that_is_stepped_back_is_slept_over_only_until_it_is_woken(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stepped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = UTC) -> Self:
            return super().now(tz) - timedelta(hours=1)

    running.add("poll", interval=1.0)
    running.started.wait_for(1)
    running.land("poll")
    monkeypatch.setattr(apscheduler.schedulers.base, "datetime", Stepped)
    monkeypatch.setattr(notifier.schedule.clockwork, "datetime", Stepped)
    running.scheduler.wake()
    running.started.wait_for(2, timeout=3)
    running.land("poll")
    running.started.wait_for(3, timeout=3)
    assert running.started.starts[2][1] - running.started.starts[1][1] > 0.85


def test_a_job_that_is_stuck_does_not_keep_it_from_stopping() -> None:
    stuck = threading.Event()

    def start_poll(_key: Key) -> None:
        stuck.wait(30)

    table = DueTable()
    table.configure({"here": an_api("here")})
    table.add([(Key("here", "a"), 1.0)])
    scheduler = PollScheduler(table, start_poll)
    scheduler.start()
    while not table.started:
        time.sleep(0.005)
    try:
        assert not scheduler.stop(0.1)
    finally:
        stuck.set()
        for thread in threading.enumerate():
            if thread.name == "end of the scheduler":
                thread.join(20)
