"""What holds for a watch whatever is seen of it, and however often the daemon starts anew: properties, not stories."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.model import FINAL, FailedPoll, Failure, FirstSight, State, Status, Watch
from tests.builders import (
    DAY,
    HOUR,
    START,
    Step,
    a_failure,
    a_watch,
    an_observation,
    around,
    decide_step,
    every,
    play,
)


def test_a_poll_that_sees_nothing_new_is_not_recorded() -> None:
    polls = [
        Step(0, "starting"),
        *every(30, "starting", start=30, times=3),
        Step(120, an_observation("starting", logs="2%")),
    ]
    assert [decision.record for decision in play(a_watch(), polls)] == [True, False, False, False, False]


STATUSES = st.sampled_from([*(status.value for status in Status), "queued", "paused", "error"])
OBSERVATIONS = st.builds(
    an_observation,
    STATUSES,
    error=st.sampled_from([None, None, None, "", "a", "b"]),
    has_output=st.booleans(),
    data_removed=st.sampled_from([False, False, False, True]),
)
FAILURES = st.builds(a_failure, st.sampled_from(Failure))
WAITS = st.sampled_from([0.0, 1.0, 30.0, 60.0, 600.0, 1800.0, DAY])


@st.composite
def polls(draw: st.DrawFn) -> list[Step]:
    """What may happen to a watch: answers and failures in runs, in an account that is well or not."""
    steps: list[Step] = []
    at = 0.0
    for seen in draw(st.lists(OBSERVATIONS | FAILURES, max_size=8)):
        wait = draw(WAITS)
        for _ in range(draw(st.sampled_from([1, 1, 5]))):
            at += wait
            answered = draw(st.sampled_from([None, 0.0, at]))
            steps.append(Step(at, seen, around(draw(st.sampled_from([1, 10])), answered=answered,
                                               in_trouble=draw(st.sampled_from([False, False, True])))))  # fmt: skip
    return steps


WATCHES = st.builds(
    a_watch, first_sight=st.sampled_from(FirstSight), watch_for=st.sampled_from([HOUR, 7 * DAY]), settle=st.just(600.0)
)
any_story = given(watch=WATCHES, steps=polls())


def essence(state: State) -> dict[str, Any]:
    """What people can see of a state, and what later notices are made from; not the counters of failures."""
    names = ("status", "error", "has_output", "output", "done", "let_go", "troubles", "unknown", "notices", "final_at")
    return {name: getattr(state, name) for name in names}


@any_story
@settings(deadline=None)
def test_a_final_status_is_never_lost_and_done_and_output_never_revert(watch: Watch, steps: list[Step]) -> None:
    decisions = play(watch, steps)
    for earlier, later in itertools.pairwise(decisions):
        assert earlier.after.status not in FINAL or later.after.status in FINAL
        assert not earlier.after.done or later.after.done
        assert not earlier.after.has_output or later.after.has_output


@any_story
@settings(deadline=None)
def test_the_same_inputs_give_the_same_decisions(watch: Watch, steps: list[Step]) -> None:
    assert play(watch, steps) == play(watch, steps)


@any_story
@settings(deadline=None)
def test_every_final_status_that_is_believed_is_told(watch: Watch, steps: list[Step]) -> None:
    known = State(watched_since=START)
    for step, decision in zip(steps, play(watch, steps), strict=True):
        after = decision.after
        if after.status != known.status and after.status in FINAL:
            quiet = known.status is None and watch.rules.first_sight is FirstSight.QUIET
            told = set() if decision.notice is None else decision.notice.names
            assert {"status", after.status} <= told or quiet, step
        known = after


@any_story
@settings(deadline=None)
def test_troubles_are_those_told_and_not_yet_ended(watch: Watch, steps: list[Step]) -> None:
    open_troubles: set[str] = set()
    for decision in play(watch, steps):
        if decision.notice is not None:
            ends = set(decision.notice.ends)
            assert ends <= open_troubles
            assert bool(ends) == ("recovered" in decision.notice.names)
            began = decision.notice.names & {"stuck", "unreachable", "lost"} - ends
            assert not began & open_troubles
            open_troubles = open_troubles - ends | began
        assert set(decision.after.troubles) == open_troubles
        assert len(decision.after.troubles) == len(open_troubles)


@any_story
@settings(deadline=None)
def test_each_status_nobody_knows_is_noted_once_and_no_other(watch: Watch, steps: list[Step]) -> None:
    for decision in play(watch, steps):
        assert len(set(decision.after.unknown)) == len(decision.after.unknown)
        assert not set(decision.after.unknown) & set(Status)


@any_story
@settings(deadline=None)
def test_an_answer_that_repeats_itself_tells_nothing(watch: Watch, steps: list[Step]) -> None:
    """Save that a status found stuck when another trouble ends is told by the next answer."""
    for step, decision in zip(steps, play(watch, steps), strict=True):
        if not isinstance(step.observed(), FailedPoll):
            again = decide_step(watch, decision.after, step)
            if again.notice is not None:
                assert decision.notice is not None
                assert decision.notice.ends
                assert again.notice.names == {"stuck"}
            assert again.record == (again.notice is not None)


@any_story
@settings(deadline=None)
def test_whatever_is_not_recorded_changed_nothing_people_can_see(watch: Watch, steps: list[Step]) -> None:
    known = State(watched_since=START)
    for decision in play(watch, steps):
        assert decision.record or (decision.notice is None and essence(decision.after) == essence(known))
        known = decision.after


def recorded(watch: Watch, steps: Iterable[Step]) -> list[State]:
    """What the store holds before each step, of a daemon that writes only what is to be recorded."""
    held = [State(watched_since=START)]
    for decision in play(watch, steps):
        held.append(decision.after if decision.record else held[-1])
    return held


@any_story
@settings(deadline=None)
def test_a_decision_made_again_after_a_crash_gives_the_same_notice_id(watch: Watch, steps: list[Step]) -> None:
    for step, decision, held in zip(steps, play(watch, steps), recorded(watch, steps), strict=False):
        again = decide_step(watch, held, step).notice
        if not isinstance(step.observed(), FailedPoll):  # failures are counted from none again, and told later
            assert (again is None) == (decision.notice is None)
        if again is not None and decision.notice is not None:
            assert again.notice == decision.notice.notice


@any_story
@settings(deadline=None)
def test_notice_ids_are_unique_though_the_daemon_starts_anew_before_every_poll(watch: Watch, steps: list[Step]) -> None:
    held = State(watched_since=START)
    told = []
    for step in steps:
        decision = decide_step(watch, held, step)
        held = decision.after if decision.record else held
        told += [] if decision.notice is None else [decision.notice.notice]
    assert len(set(told)) == len(told)
