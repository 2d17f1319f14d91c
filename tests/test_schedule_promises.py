"""What the due table promises whatever is done to it, in whatever order: hypothesis does it, a sleeper polls.

The sleeper does what APScheduler's job does: it sleeps for as long as the table said, unless `wake` is called, and then
takes what is due.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from notifier.model import Key
from notifier.schedule import DueTable
from notifier.schedule.account import BURST, FIRST_PROBE
from notifier.schedule.table import GATHER
from tests.builders import an_api

NAMES = [f"w{number}" for number in range(14)]
INTERVALS = st.sampled_from([1.0, 2.5, 7.0, 30.0, 600.0])
RATE = 4.0
CONCURRENCY = 3
API = an_api("api", rate=RATE, concurrency=CONCURRENCY)
OTHER = an_api("other", rate=1000.0, concurrency=1000)
NOTHING = 0.0001
"""Seconds; what floats may be wrong by."""


@dataclass
class Polled:
    """What the table must remember of a watch's last poll."""

    started: float
    interval: float
    not_before: float = -math.inf
    hurried: bool = False
    """Something was done since that may make it due sooner than its interval."""


class Table(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.table = DueTable(lambda: self.now)
        self.woken = False
        self.table.wake = self._wake
        self.table.configure({"api": API, "other": OTHER})
        self.sleeps_until = self.now + max(GATHER, self.table.seconds_until_due())
        self.listed: dict[str, float] = {}
        self.flying: dict[str, float] = {}
        self.polled: dict[str, Polled] = {}
        self.starts: list[float] = []
        self.held_until = self.probe_after = -math.inf
        self.probing = False
        self.configured = True

    def _wake(self) -> None:
        self.woken = True

    # --- time ----------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.1, 0.4, 1.0, 3.3, 20.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while self.sleeps_until <= end or self.woken:
            if not self.woken:
                # An instant before the sleeper wakes nothing was due, or it would be late; by GATHER it may be.
                before = self.sleeps_until - GATHER - NOTHING
                if self.now <= before:
                    self.now = before
                    self._take(promised=False)
                self.now = self.sleeps_until
            self.woken = False
            self._take(promised=True)
            self.sleeps_until = self.now + max(GATHER, self.table.seconds_until_due())
        self.now = max(self.now, end)

    def _take(self, *, promised: bool) -> None:
        taken = self.table.take()
        assert promised or not taken, "it was due earlier than promised, and nobody was woken"
        for key in taken:
            if key.api == "api":
                self._check_start(key.id)

    def _check_start(self, name: str) -> None:
        assert self.configured
        assert name in self.listed, "dropped"
        assert name not in self.flying, "two polls of one watch at once"
        assert len(self.flying) < CONCURRENCY
        assert self.now >= self.held_until - NOTHING, "held"
        if self.probing:
            assert not self.flying, "a probe is alone"
            assert self.now >= self.probe_after - NOTHING
            self.probe_after = self.now + FIRST_PROBE
        last = self.polled.get(name)
        if last is not None:
            assert self.now >= last.not_before - NOTHING, "the API said later"
            if not last.hurried and not self.probing:
                early = min(1.0, last.interval / 10)  # a start that was a little late keeps its phase
                assert self.now >= last.started + last.interval - early - NOTHING, "sooner than the interval"
        self.starts.append(self.now)
        self.flying[name] = self.now
        self.polled[name] = Polled(self.now, self.listed[name])

    # --- what the keeper does ------------------------------------------------------------------------------------

    @precondition(lambda self: self.flying)
    @rule(
        which=st.integers(0, CONCURRENCY - 1),
        wait=st.sampled_from([None, None, 0.5, 40.0]),
        not_before=st.sampled_from([0.0, 0.0, 25.0]),
    )
    def a_poll_lands(self, which: int, wait: float | None, not_before: float) -> None:
        name = sorted(self.flying)[which % len(self.flying)]
        del self.flying[name]
        self.table.land(Key("api", name), wait, not_before)
        if name in self.listed:
            self.polled[name].not_before = self.now + not_before
        else:
            self.polled.pop(name, None)

    @rule(name=st.sampled_from(NAMES))
    def a_strange_poll_lands(self, name: str) -> None:
        if name not in self.flying:
            self.table.land(Key("api", name), None)

    @precondition(lambda self: self.configured)
    @rule(names=st.lists(st.sampled_from(NAMES), max_size=14, unique=True), interval=INTERVALS)
    def watches_are_added(self, names: list[str], interval: float) -> None:
        self.table.add((Key("api", name), interval) for name in names)
        for name in names:
            if self.listed.setdefault(name, interval) == interval and name in self.flying:
                self.polled[name].interval = interval

    @rule(names=st.lists(st.sampled_from(NAMES), max_size=4, unique=True))
    def watches_are_dropped(self, names: list[str]) -> None:
        self.table.drop(Key("api", name) for name in names)
        for name in names:
            self._forget(name)

    def _forget(self, name: str) -> None:
        self.listed.pop(name, None)
        if name in self.flying:
            self.polled[name].hurried = True
        else:
            self.polled.pop(name, None)

    @precondition(lambda self: self.configured)
    @rule(name=st.sampled_from(NAMES), interval=INTERVALS)
    def an_interval_changes(self, name: str, interval: float) -> None:
        self.table.set_interval(Key("api", name), interval)
        if name in self.listed:
            self.listed[name] = interval
            if name in self.polled:
                self.polled[name].interval = min(interval, self.polled[name].interval)

    @precondition(lambda self: self.configured)
    @rule(name=st.sampled_from(NAMES))
    def another_is_asked(self, name: str) -> None:
        self.table.ask_another(Key("api", name))
        for other, polled in self.polled.items():
            polled.hurried = polled.hurried or other != name

    @precondition(lambda self: self.configured)
    @rule(seconds=st.sampled_from([0.5, 5.0, 50.0]))
    def the_account_is_held(self, seconds: float) -> None:
        self.table.hold(Key("api", "w0"), seconds)
        self.held_until = max(self.held_until, self.now + seconds)

    @precondition(lambda self: self.configured and not self.probing)
    @rule(first_wait=st.sampled_from([0.0, FIRST_PROBE]))
    def the_account_is_in_trouble(self, first_wait: float) -> None:
        self.table.probe("api", first_wait)
        self.probing, self.probe_after = True, self.now + first_wait

    @precondition(lambda self: self.configured)
    @rule()
    def the_account_is_well(self) -> None:
        self.table.all_due("api")
        self.probing, self.held_until = False, -math.inf
        for name, polled in self.polled.items():
            if name not in self.flying:
                polled.hurried, polled.not_before = True, -math.inf

    @rule()
    def the_account_is_removed_or_comes_back(self) -> None:
        self.configured = not self.configured
        self.table.configure({"api": API, "other": OTHER} if self.configured else {"other": OTHER})
        self.probing, self.held_until = False, -math.inf
        for name in NAMES:
            self._forget(name)

    @rule(name=st.sampled_from(NAMES))
    def the_other_account_has_work(self, name: str) -> None:
        self.table.add([(Key("other", name), 1.0)])
        self.table.land(Key("other", name), None)

    # --- always ---------------------------------------------------------------------------------------------------

    @invariant()
    def the_rate_is_kept(self) -> None:
        in_a_second = [start for start in self.starts if start >= self.now - 1.0 + NOTHING]
        assert len(in_a_second) <= RATE * (1 + BURST) + 1

    @invariant()
    def the_count_is_right(self) -> None:
        assert self.table.watches("api") == len(self.listed)

    def teardown(self) -> None:
        """Left alone, the table polls everything that is listed: nothing stalls, nothing starves."""
        if not self.configured or not self.listed:
            return
        waiting = set(self.listed)
        end = self.now + 4 * 600.0 + 4000.0
        while waiting and self.now < end:
            for name in list(self.flying):
                self.a_poll_lands(sorted(self.flying).index(name), None, 0.0)
                waiting.discard(name)
            self.time_passes(1.0)
        assert not waiting or self.probing, "never polled again"


Table.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestTable = pytest.mark.timeout(120)(Table.TestCase)
