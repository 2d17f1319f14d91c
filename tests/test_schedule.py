"""The due table on a clock that is passed in, and how long to wait after a poll."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.model import Api, FailedPoll, Failure, Key, Observation, State
from notifier.schedule import AT_ONCE, DueTable, hold_after, wait_after
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
    bench.table.hold(Key("api", "w0"), 30.0)
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


# --- waking ----------------------------------------------------------------------------------------------------------

ONE, TWO = Key("api", "w0"), Key("api", "w1")


def asleep(bench: Bench) -> list[str]:
    """Two watches were polled and one is in flight; whoever polls was told to sleep long. Gets a word for each wake."""
    bench.table.add([(ONE, 1000.0), (TWO, 1000.0)])
    assert bench.table.take() == [ONE, TWO]
    bench.table.land(TWO, None)
    bench.now = 100.0
    woken: list[str] = []
    bench.table.wake = lambda: woken.append("woken")
    assert bench.table.seconds_until_due() == pytest.approx(900.0)
    return woken


@pytest.mark.parametrize(
    ("change", "due"),
    [
        pytest.param(lambda table: table.add([(Key("api", "new"), 500.0)]), 0.0, id="a watch is added"),
        pytest.param(lambda table: table.land(ONE, None, 5.0), None, id="a poll lands and is due later"),
        pytest.param(lambda table: table.set_interval(TWO, 150.0), 50.0, id="an interval becomes shorter"),
        pytest.param(lambda table: table.set_interval(TWO, 2000.0), None, id="an interval becomes longer"),
        pytest.param(lambda table: table.ask_another(ONE), 0.0, id="another is asked"),
        pytest.param(lambda table: table.ask_another(TWO), None, id="there is no other to ask"),
        pytest.param(lambda table: table.all_due("api"), 0.0, id="the account is well again"),
        pytest.param(lambda table: table.hold(Key("api", "w0"), 5.0), None, id="the account is held"),
        pytest.param(lambda table: table.drop([TWO]), None, id="a watch is dropped"),
        pytest.param(lambda table: table.probe("api"), None, id="probes wait for the poll in flight"),
    ],
)
def test_whoever_sleeps_is_woken_exactly_when_something_is_due_earlier(
    change: Callable[[DueTable], None], due: float | None
) -> None:
    bench = Bench()
    woken = asleep(bench)
    change(bench.table)
    assert woken == ([] if due is None else ["woken"])
    if due is not None:
        assert bench.table.seconds_until_due() == pytest.approx(due)


@pytest.mark.parametrize(
    "narrow",
    [
        pytest.param(lambda table: table.configure({"api": an_api("api", concurrency=1)}), id="for its place"),
        pytest.param(lambda table: table.probe("api", first_wait=0.0), id="for its end"),
    ],
)
def test_a_poll_that_lands_wakes_whoever_waits(narrow: Callable[[DueTable], None]) -> None:
    bench = Bench()
    bench.table.add([(ONE, 1000.0), (TWO, 1.0)])
    assert bench.table.take() == [ONE, TWO]
    bench.table.land(TWO, None)
    narrow(bench.table)
    bench.now = 5.0
    assert bench.table.take() == []
    woken: list[str] = []
    bench.table.wake = lambda: woken.append("woken")
    assert bench.table.seconds_until_due() > 100
    bench.table.land(ONE, None)
    assert woken == ["woken"]
    assert bench.table.take() == [TWO]


@pytest.mark.parametrize("tight", [an_api("api", rate=1 / 60), an_api("api", rate=100.0, concurrency=1)])
def test_a_faster_rate_and_more_concurrency_wake_too(tight: Api) -> None:
    bench = Bench()
    bench.table.configure({"api": tight})
    bench.table.add([(ONE, 10.0), (TWO, 10.0)])
    assert bench.table.take() == [ONE]
    woken: list[str] = []
    bench.table.wake = lambda: woken.append("woken")
    bench.table.seconds_until_due()
    bench.now = 0.2
    bench.table.configure({"api": an_api("api", rate=10.0, concurrency=9)})
    assert woken == ["woken"]
    bench.now = 0.3
    assert bench.table.take() == [TWO]


# --- changed lists and accounts --------------------------------------------------------------------------------------


def test_the_first_few_of_each_account_are_polled_at_once() -> None:
    bench = Bench()
    bench.table.configure({"api": API, "other": an_api("other", rate=1000.0)})
    bench.table.add((Key("api", f"w{number}"), 3000.0) for number in range(50))
    bench.table.add([*((Key("api", f"v{number}"), 3000.0) for number in range(50)), (Key("other", "only"), 3000.0)])
    assert Counter(key.api for key in bench.table.take()) == {"api": 2 * AT_ONCE, "other": 1}


def test_an_interval_that_changes_before_the_first_poll_keeps_the_spread() -> None:
    bench = Bench()
    bench.now = 50_000.0
    bench.add(100, 60.0)
    for number in range(100):
        bench.table.set_interval(Key("api", f"w{number}"), 90.0)
    assert len(bench.table.take()) == AT_ONCE


def test_the_same_interval_again_leaves_a_back_off_as_it_is() -> None:
    bench = Bench()
    bench.add(1, 10.0)
    bench.table.take()
    bench.table.land(ONE, 300.0)
    bench.table.set_interval(ONE, 10.0)
    assert bench.table.seconds_to(ONE) == 300.0
    bench.table.add([(ONE, 20.0)])  # it is there already
    assert bench.table.seconds_to(ONE) == 300.0
    assert bench.table.watches("api") == 1


def test_the_apis_own_word_stands_until_the_whole_account_is_well() -> None:
    bench = Bench()
    bench.table.add([(ONE, 10.0), (TWO, 10.0)])
    bench.table.take()
    bench.table.land(ONE, None, not_before=600.0)
    bench.table.set_interval(ONE, 1.0)
    bench.table.ask_another(TWO)
    assert bench.table.seconds_to(ONE) == 600.0
    bench.table.land(TWO, None, not_before=700.0)
    bench.table.probe("api")
    assert bench.table.seconds_until_due() == pytest.approx(600.0)
    bench.table.all_due("api")
    assert bench.table.take() == [ONE, TWO]


def test_an_account_that_is_removed_and_comes_back_polls_no_watch_twice_at_once() -> None:
    bench = Bench(latency=5.0)
    bench.add(1, 1.0)
    bench.run(1)
    bench.table.hold(Key("api", "w0"), 3600.0)
    bench.table.configure({})
    assert bench.table.watches("api") == 0
    bench.table.configure({"api": API})
    bench.add(1, 1.0)
    bench.run(7)
    assert bench.times("w0") == pytest.approx([0, 5], abs=0.05)
    bench.table.configure({})
    bench.run(20)
    assert bench.table.seconds_until_due() == 3600.0
    assert len(bench.starts) == 2


def test_what_was_dropped_stretches_no_interval() -> None:
    bench = Bench(rate=1.0)
    bench.add(50, 1.0, "gone")
    bench.table.drop(Key("api", f"gone{number}") for number in range(50))
    bench.add(1, 5.0)
    bench.run(21)
    assert gaps(bench.times("w0")) == pytest.approx([5.0] * 4, abs=0.05)


def test_when_all_are_due_those_come_first_that_would_have_been_first() -> None:
    bench = Bench(rate=10.0)
    bench.table.add((Key("api", name), interval) for name, interval in (("c", 300.0), ("a", 100.0), ("b", 200.0)))
    bench.run(1)
    bench.starts.clear()
    bench.table.all_due("api")
    bench.run(1)
    assert [name for _, name in bench.starts[:3]] == ["a", "b", "c"]


def test_a_probe_waits_for_the_polls_that_were_in_flight() -> None:
    bench = Bench(latency=90.0)
    bench.add(5, 10.0)
    bench.run(1)
    bench.table.probe("api")
    bench.run(200)
    assert [at for at, _ in bench.starts if at > 1] == pytest.approx([90, 180], abs=0.1)


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
