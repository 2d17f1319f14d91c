"""The due table on a clock that is passed in, and APScheduler's job on top of it."""

from __future__ import annotations

import threading
from collections import Counter, deque
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.model import FailedPoll, Failure, Key, Observation, State
from notifier.schedule import AT_ONCE, BURST, DueTable, PollScheduler, hold_after, wait_after
from tests.builders import a_failure, a_watch, an_api, an_observation

API = an_api("api", rate=1000.0, concurrency=100_000)


class Bench:
    """A table, a clock that is set, and a loop that takes what is due; each poll lasts `latency`."""

    def __init__(self, *, latency: float = 0.0, wait: float | None = None, **settings: float) -> None:
        self.now = 0.0
        self.table = DueTable(lambda: self.now)
        self.table.configure({"api": an_api("api", **{"rate": 1000.0, "concurrency": 100_000, **settings})})
        self.latency, self.wait = latency, wait
        self.flying: deque[tuple[float, Key]] = deque()
        self.starts: list[tuple[float, str]] = []

    def add(self, count: int, interval: float, prefix: str = "w") -> None:
        self.table.add((Key("api", f"{prefix}{number}"), interval) for number in range(count))

    def run(self, seconds: float, step: float = 0.01) -> None:
        end = self.now + seconds
        while self.now < end:
            while self.flying and self.flying[0][0] <= self.now:
                self.table.land(self.flying.popleft()[1], self.wait)
            for key in self.table.take():
                assert key not in {flying for _, flying in self.flying}, "two polls of one watch at once"
                self.starts.append((self.now, key.id))
                self.flying.append((self.now + self.latency, key))
            self.now += step

    def times(self, name: str) -> list[float]:
        return [at for at, started in self.starts if started == name]


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


def test_the_interval_runs_from_start_to_start_whatever_the_poll_takes() -> None:
    bench = Bench(latency=3.0)
    bench.add(1, 10.0)
    bench.run(101)
    assert gaps(bench.times("w0")) == pytest.approx([10.0] * 10, abs=0.03)


def test_a_poll_that_takes_longer_than_the_interval_is_followed_at_once_but_never_joined_by_another() -> None:
    bench = Bench(latency=25.0)
    bench.add(1, 10.0)
    bench.run(101)
    assert gaps(bench.times("w0")) == pytest.approx([25.0] * 4, abs=0.03)


def test_a_few_watches_are_polled_at_once_and_many_are_spread_over_their_interval() -> None:
    bench = Bench()
    bench.add(200, 60.0)
    bench.run(0.02)
    assert len(bench.starts) == AT_ONCE
    bench.run(60)
    assert {started for _, started in bench.starts} == {f"w{number}" for number in range(200)}
    seconds = Counter(int(at) for at, _ in bench.starts if 1 < at < 59)
    assert max(seconds.values()) <= 6  # 190 over 60 s are 3.2 a second


def test_no_more_polls_start_than_the_rate_allows_and_all_intervals_stretch_alike() -> None:
    bench = Bench(rate=10.0)
    bench.add(100, 5.0, "fast")
    bench.add(100, 50.0, "slow")
    bench.run(300)
    times = [at for at, _ in bench.starts]
    for first, at in enumerate(times):
        assert sum(at <= later < at + 1.0 for later in times[first : first + 20]) <= 11
    # 22 polls a second are asked for, 10 allowed: each interval is 2.2 times as long.
    late = [at for at in times if at > 60]
    assert len(late) == pytest.approx(2400, rel=0.06)
    for prefix, interval in (("fast", 5.0), ("slow", 50.0)):
        for number in (0, 50, 99):
            for gap in gaps([at for at in bench.times(f"{prefix}{number}") if at > 60]):
                assert gap == pytest.approx(interval * 2.2, rel=0.35)


def test_no_more_polls_are_in_flight_than_concurrency_allows_and_none_starves() -> None:
    bench = Bench(latency=2.0, concurrency=4)
    bench.add(20, 1.0)
    bench.run(60)
    assert max(sum(at <= other < at + 1.99 for other, _ in bench.starts) for at, _ in bench.starts) <= 4
    polls = Counter(started for _, started in bench.starts)
    assert len(polls) == 20
    assert max(polls.values()) - min(polls.values()) <= 2


def test_a_hold_stops_the_account_and_no_other() -> None:
    bench = Bench()
    bench.table.configure({"api": API, "other": an_api("other", rate=1000.0)})
    bench.add(2, 1.0)
    bench.table.add([(Key("other", "free"), 1.0)])
    bench.table.hold("api", 30.0)
    bench.run(29.9)
    assert {started for _, started in bench.starts} == {"free"}
    bench.run(1)
    assert {started for _, started in bench.starts} == {"free", "w0", "w1"}


def test_an_account_in_trouble_is_probed_ever_less_often_and_all_are_due_when_it_is_well() -> None:
    bench = Bench(rate=10.0)
    bench.add(50, 5.0)
    bench.run(1)
    bench.starts.clear()
    bench.table.probe("api")
    began = bench.now
    bench.run(1000)
    probes = [at - began for at, _ in bench.starts]
    assert probes == pytest.approx([30, 90, 210, 450, 750], abs=0.5)
    bench.starts.clear()
    bench.table.all_due("api")
    bench.run(5.2)
    assert len({started for _, started in bench.starts}) == 50
    assert len(bench.starts) <= 54


def test_another_watch_than_the_refused_one_is_asked_at_once() -> None:
    bench = Bench()
    bench.add(3, 100.0)
    bench.run(1)
    bench.starts.clear()
    bench.table.ask_another(Key("api", "w0"))
    bench.run(1)
    assert [started for _, started in bench.starts] in (["w1"], ["w2"])


def test_a_dropped_watch_is_polled_no_more_and_one_added_again_in_flight_is_not_polled_twice() -> None:
    bench = Bench(latency=5.0)
    bench.add(2, 10.0)
    bench.run(1)
    bench.table.drop([Key("api", "w0"), Key("api", "w1")])
    assert bench.table.watches("api") == 0
    bench.table.add([(Key("api", "w1"), 2.0)])
    bench.run(30)
    assert len(bench.times("w0")) == 1
    assert bench.times("w1")[:2] == pytest.approx([0, 5], abs=0.05)
    assert bench.table.watches("api") == 1


def test_a_changed_interval_counts_from_the_last_start() -> None:
    bench = Bench()
    bench.add(1, 100.0)
    bench.run(5)
    bench.table.set_interval(Key("api", "w0"), 8.0)
    bench.run(20)
    assert bench.times("w0") == pytest.approx([0, 8, 16, 24], abs=0.05)


def test_the_next_poll_waits_for_the_longest_of_interval_back_off_and_the_apis_word() -> None:
    bench = Bench()
    bench.add(1, 10.0)
    assert bench.table.take() == [Key("api", "w0")]
    bench.now = 1.0
    for wait, not_before, due in ((None, 0.0, 9.0), (3.0, 0.0, 9.0), (40.0, 0.0, 39.0), (40.0, 100.0, 100.0)):
        bench.table.land(Key("api", "w0"), wait, not_before)
        assert bench.table.seconds_to(Key("api", "w0")) == pytest.approx(due)
        bench.now += due
        assert bench.table.take() == [Key("api", "w0")]
        bench.now += 1.0


@settings(max_examples=60, deadline=None)
@given(
    intervals=st.lists(st.floats(1.0, 100.0), min_size=1, max_size=30),
    latency=st.floats(0.0, 20.0),
    rate=st.floats(0.5, 100.0),
    concurrency=st.integers(1, 20),
)
def test_whoever_sleeps_as_long_as_the_table_says_misses_nothing(
    intervals: list[float], latency: float, rate: float, concurrency: int
) -> None:
    """The promise APScheduler's trigger relies on: nothing is due before that time, unless `wake` was called."""
    now = 0.0
    table = DueTable(lambda: now)
    woken: list[float] = []
    table.wake = lambda: woken.append(now)
    table.configure({"api": an_api("api", rate=rate, concurrency=concurrency)})
    table.add((Key("api", str(number)), interval) for number, interval in enumerate(intervals))
    landing: deque[tuple[float, Key]] = deque()
    wake_at = now
    for _ in range(300):
        now = min([wake_at, *(at for at, _ in landing)])
        while landing and landing[0][0] <= now:
            table.land(landing.popleft()[1], None)
        if woken:
            woken.clear()
            wake_at = now + max(0.02, table.seconds_until_due())
        if now < wake_at:
            table_due = table.seconds_until_due()
            assert now + table_due >= wake_at - 0.05
            continue
        landing.extend((now + latency, key) for key in table.take())
        assert len(landing) <= concurrency
        wake_at = now + max(0.02, table.seconds_until_due())


# --- how long to wait ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "state", "interval", "chance", "wait"),
    [
        (an_observation(), State(0.0), 30.0, 0.5, None),
        (a_failure(Failure.THROTTLED), State(0.0), 30.0, 0.5, None),
        (a_failure(), State(0.0, failures=1), 30.0, 0.0, 30.0),
        (a_failure(), State(0.0, failures=1), 30.0, 0.99, 59.4),
        (a_failure(), State(0.0, failures=2, not_found=1), 30.0, 0.5, 120.0),
        (a_failure(), State(0.0, failures=50), 30.0, 0.5, 150.0),
        (a_failure(), State(0.0, failures=5000), 30.0, 1.0, 300.0),
        (a_failure(), State(0.0, failures=5), 2000.0, 1.0, 2000.0),
        (a_failure(Failure.NOT_FOUND), State(0.0, not_found=3, troubles=("lost",)), 30.0, 0.5, 3600.0),
    ],
)
def test_waits_after_a_poll(
    seen: Observation | FailedPoll, state: State, interval: float, chance: float, wait: float | None
) -> None:
    assert wait_after(seen, state, a_watch(interval=interval).rules, lambda: chance) == wait


@pytest.mark.parametrize(
    ("retry_after", "throttled", "held"),
    [(30.0, 0, 30.0), (0.0, 0, 1.0), (1e9, 0, 3600.0), (None, 0, 3.75), (None, 3, 30.0), (None, 99, 225.0)],
)
def test_how_long_a_429_holds_its_account(retry_after: float | None, throttled: int, held: float) -> None:
    seen = a_failure(Failure.THROTTLED, retry_after=retry_after)
    assert hold_after(seen, throttled, lambda: 0.5) == held


# --- APScheduler -----------------------------------------------------------------------------------------------------


class Started:
    """Notes what was started, and lets a test wait for it."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self._changed = threading.Condition()

    def __call__(self, key: Key) -> None:
        with self._changed:
            self.keys.append(key)
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.keys) >= count, timeout=10)


def test_the_job_starts_what_is_due_and_is_woken_by_what_comes_earlier() -> None:
    table, started = DueTable(), Started()
    table.configure({"api": API})
    scheduler = PollScheduler(table, started)
    scheduler.start()
    try:
        assert scheduler.alive
        table.add([(Key("api", "first"), 3000.0)])  # the job slept for an hour before
        started.wait_for(1)
        table.land(Key("api", "first"), None)
        table.add([(Key("api", "second"), 3000.0)])
        started.wait_for(2)
        assert [key.id for key in started.keys] == ["first", "second"]
    finally:
        scheduler.stop()
    assert [scheduler.alive] == [False]
    table.add([(Key("api", "third"), 3000.0)])
    assert len(started.keys) == 2


def test_a_burst_is_a_small_part_of_a_second() -> None:
    assert BURST < 0.1
