"""What the API says of its limit slows the whole account down, evenly, and for no longer than it must."""

from __future__ import annotations

import math

import pytest

from notifier.model import Key
from notifier.schedule import DueTable
from notifier.schedule.account import SCOUT_PATIENCE, SLOWEST
from tests.builders import an_api

RATE = 10.0


class Bench:
    """An account on a clock that is set, at an API that answers `limit` polls a second and refuses the others."""

    def __init__(self, watches: int = 100, interval: float = 1.0, *, limit: float = math.inf, latency: float = 0.05):
        self.now = 0.0
        self.table = DueTable(lambda: self.now)
        self.table.configure({"api": an_api("api", rate=RATE, concurrency=1000)})
        self.table.add((Key("api", f"w{number}"), interval) for number in range(watches))
        self.limit, self.latency, self.word = limit, latency, 1.0
        self.left = limit
        self.flying: list[tuple[float, Key, bool]] = []
        self.starts: list[tuple[float, Key]] = []
        self.refused: list[float] = []

    def run(self, seconds: float, step: float = 0.01) -> None:
        end = self.now + seconds
        while self.now < end:
            self.left = min(self.limit, self.left + self.limit * step) if self.limit < math.inf else math.inf
            for landing in [flying for flying in self.flying if flying[0] <= self.now]:
                self.flying.remove(landing)
                _, key, answered = landing
                if not answered:
                    self.refused.append(self.now)
                    self.table.hold(key, self.word)
                self.table.land(key, None, answered=answered)
            for key in self.table.take():
                self.starts.append((self.now, key))
                answered = self.left >= 1
                self.left -= answered
                self.flying.append((self.now + (self.latency if answered else 0.02), key, answered))
            self.now += step

    def started(self, since: float, until: float) -> int:
        return sum(since <= at < until for at, _ in self.starts)


def test_after_a_429_one_poll_goes_ahead_then_all_at_half_the_pace_that_each_answer_quickens() -> None:
    bench = Bench()
    bench.run(2)
    bench.table.hold(Key("api", "w0"), 3.0)
    bench.latency = 0.5
    bench.run(3)
    assert bench.started(2.05, 4.99) == 0
    bench.run(60)
    assert bench.started(4.99, 5.4) == 1  # until the scout is back
    assert 3 <= bench.started(5.6, 6.5) <= 6
    assert 9 <= bench.started(40, 41) <= 11


def test_an_api_that_grants_half_of_what_was_asked_refuses_few_and_is_used_well() -> None:
    """Without a pace of its own the account would run into the limit after each hold, again and again."""
    bench = Bench(limit=RATE / 2)
    bench.run(300)
    answered = len(bench.starts) - len(bench.refused)
    assert len(bench.refused) <= 300 / 6
    assert answered >= 300 * RATE / 2 * 0.6


def test_no_watch_starves_while_the_account_is_slowed_down() -> None:
    bench = Bench(limit=RATE / 2)
    bench.run(300)
    polls = {f"w{number}": 0 for number in range(100)}
    for _, key in bench.starts:
        polls[key.id] += 1
    assert min(polls.values()) >= 0.5 * max(polls.values())


def test_polls_that_were_under_way_together_slow_it_down_once() -> None:
    bench = Bench()
    bench.run(1)
    keys = [key for _, key, _ in bench.flying] or [bench.starts[-1][1]]
    for key in [bench.starts[-1][1], *keys]:
        bench.table.hold(key, 1.0)
    load = bench.table.load("api")
    assert load is not None
    assert load.allowed == RATE / 2


def test_any_number_of_429_leaves_a_pace_from_which_it_recovers() -> None:
    bench = Bench(limit=0.0)
    bench.run(200)
    load = bench.table.load("api")
    assert load is not None
    assert load.allowed == RATE * SLOWEST
    bench.limit = bench.left = math.inf
    bench.run(200)
    load = bench.table.load("api")
    assert load is not None
    assert load.allowed == RATE


def test_a_scout_that_is_not_answered_holds_up_the_others_for_a_moment_only() -> None:
    bench = Bench()
    bench.run(1)
    bench.table.hold(Key("api", "w0"), 1.0)
    bench.latency = 60.0
    bench.run(10)
    starts = [at for at, _ in bench.starts if at > 1.05]
    assert starts[0] == pytest.approx(2.0, abs=0.06)
    assert starts[1] == pytest.approx(2.0 + SCOUT_PATIENCE, abs=0.06)
    assert bench.started(4.0, 6.0) >= RATE / 2, "a refusal would have been quick: the others go on at half the pace"


@pytest.mark.parametrize("latency", [3.0, 20.0, 60.0])
def test_one_429_slows_an_account_whose_answers_are_slow_for_no_longer_than_another(latency: float) -> None:
    """The scout of an account that takes 45 s for an answer comes back long after others have started."""
    bench = Bench(1000)
    bench.run(1)
    bench.table.hold(Key("api", "w0"), 1.0)
    bench.latency = latency
    bench.run(latency + 30)
    assert bench.started(bench.now - 10, bench.now) >= RATE * 9


def test_a_scout_that_fails_without_an_answer_is_followed_by_another() -> None:
    bench = Bench()
    bench.run(1)
    bench.table.hold(Key("api", "w0"), 1.0)
    bench.now += 1.0
    (scout,) = bench.table.take()
    bench.now += 0.1
    bench.table.land(scout, None, answered=False)
    bench.now += 1.0
    assert len(bench.table.take()) == 1
    assert bench.table.take() == []


def test_an_answer_to_a_question_from_before_the_429_does_not_end_the_scouting() -> None:
    bench = Bench()
    bench.run(1)
    first, second = bench.table.take() or [key for _, key in bench.starts[-2:]]
    bench.table.hold(first, 1.0)
    bench.table.land(first, None, answered=False)
    bench.table.land(second, None)
    bench.now += 1.0
    assert len(bench.table.take()) == 1
    bench.now += 0.2
    assert bench.table.take() == []


def test_a_failure_that_is_no_answer_does_not_quicken_it() -> None:
    bench = Bench(1)
    for _ in range(5):
        bench.run(2)
        bench.table.hold(Key("api", "w0"), 1.0)
        bench.table.land(Key("api", "w0"), None, answered=False)
    before = bench.table.load("api")
    (key,) = bench.table.take() or [Key("api", "w0")]
    bench.table.land(key, None, answered=False)
    assert bench.table.load("api") == before


@pytest.mark.parametrize(
    ("remaining", "seconds", "started"),
    [
        pytest.param(5, 10.0, (5, 6), id="a little is spread"),
        pytest.param(59_999, 1.0, (95, 105), id="plenty changes nothing"),
        pytest.param(0, 7.0, (29, 33), id="nothing is waited for"),
    ],
)
def test_what_the_api_has_left_is_spread_over_the_time_it_must_last(
    remaining: int, seconds: float, started: tuple[int, int]
) -> None:
    bench = Bench()
    bench.run(2)
    before = len(bench.starts)
    bench.table.spread("api", remaining, seconds)
    bench.run(10)
    assert started[0] <= len(bench.starts) - before <= started[1]
    bench.run(3)
    assert bench.started(bench.now - 1, bench.now) >= 9


def test_nothing_left_for_an_hour_is_asked_about_in_five_minutes() -> None:
    bench = Bench()
    bench.run(1)
    bench.table.spread("api", 0, 3600.0)
    before = len(bench.starts)
    bench.run(299, step=0.5)
    assert len(bench.starts) == before
    bench.run(3)
    assert len(bench.starts) > before


def test_a_single_poll_left_for_an_hour_is_not_an_hour_of_silence() -> None:
    bench = Bench()
    bench.run(1)
    bench.table.spread("api", 1, 3600.0)
    bench.run(301, step=0.1)
    assert bench.started(1.2, 302.0) >= 1


def test_a_better_word_counts_at_once() -> None:
    bench = Bench()
    bench.run(1)
    bench.table.spread("api", 1, 3600.0)
    bench.run(1)
    bench.table.spread("api", 59999, 1.0)
    bench.run(1)
    assert bench.started(2.0, 3.0) >= RATE * 0.8


def test_a_new_token_has_limits_of_its_own() -> None:
    bench = Bench()
    bench.run(1)
    bench.table.spread("api", 2, 600.0)
    bench.table.hold(Key("api", "w0"), 600.0)
    bench.table.all_due("api", renewed=True)
    before = len(bench.starts)
    bench.run(10)
    assert len(bench.starts) - before >= 90


def test_a_new_token_for_an_account_that_is_well_makes_only_those_due_that_had_to_wait() -> None:
    bench = Bench(3, interval=600.0)
    bench.run(1)
    bench.table.ask_another(Key("api", "w0"), rather=Key("api", "w1"))
    (again,) = bench.table.take()
    bench.table.land(again, 3600.0)
    before = [bench.table.seconds_to(Key("api", name)) for name in ("w0", "w2")]
    assert (bench.table.seconds_to(again) or 0.0) > 3000
    bench.table.all_due("api", renewed=True)
    assert [bench.table.seconds_to(Key("api", name)) for name in ("w0", "w2")] == before
    assert bench.table.seconds_to(again) == 0.0


def test_the_watch_that_was_answered_lately_is_asked_rather_than_the_next_one() -> None:
    bench = Bench(3, interval=600.0)
    bench.run(1)
    before = len(bench.starts)
    bench.table.ask_another(Key("api", "w0"), rather=Key("api", "w2"))
    bench.run(0.2)
    assert [key.id for _, key in bench.starts[before:]] == ["w2"]
    bench.table.ask_another(Key("api", "w0"), rather=Key("api", "gone"))
    bench.table.ask_another(Key("api", "w1"), rather=Key("api", "w1"))
    bench.run(0.2)
    assert sorted(key.id for _, key in bench.starts[before + 1 :]) == ["w0", "w1"]


def test_how_busy_it_is() -> None:
    bench = Bench(20, interval=10.0, latency=0.5)
    assert bench.table.load("nobody") is None
    bench.run(60)
    load = bench.table.load("api")
    assert load is not None
    assert load.asked == pytest.approx(2.0)
    assert load.allowed == RATE
    assert load.latency == pytest.approx(0.5, abs=0.02)
    assert 0 <= load.in_flight <= 2
