"""A watch in trouble, as tables: stuck, unreachable, lost, what ends them, and letting go.

Each row is what was seen in, what is told out, and what is known then.
"""

from __future__ import annotations

import pytest

from notifier.decide import is_over
from notifier.model import Failure
from tests.builders import (
    DAY,
    HOUR,
    MINUTE,
    START,
    Step,
    Story,
    Told,
    a_failure,
    a_watch,
    an_observation,
    around,
    every,
    in_short,
    notices,
    play,
    stories,
)

NSFW = "NSFW content detected"
NOT_FOUND = a_failure(Failure.NOT_FOUND, "HTTP 404")
THROTTLED = a_failure(Failure.THROTTLED, "HTTP 429")
TIMED_OUT = a_failure()
SUCCEEDED = Told(0, "status", None, "succeeded", "status succeeded")

# --- stuck -----------------------------------------------------------------------------------------------------------

STUCK = Told(1800, "stuck", "processing", "processing", "stuck")


@stories(
    Story("after half an hour, once", every(300, "processing", times=30), [STUCK], "processing", troubles=("stuck",)),
    Story("not before", every(1799, "processing", times=2), [], "processing"),
    Story("starting too", every(1800, "starting", times=2), [STUCK._replace(before="starting", status="starting")],
          "starting", troubles=("stuck",)),
    Story("a status nobody knows too", every(1800, "queued", times=2),
          [Told(0, "status", None, "queued", "status"), STUCK._replace(before="queued", status="queued")], "queued",
          troubles=("stuck",)),
    Story("a final status never", [Step(0, "succeeded"), Step(30, "succeeded")], [SUCCEEDED], "succeeded",
          watch=a_watch(stuck_after=10.0)),
    Story("a change starts the wait anew",
          [Step(0, "starting"), Step(1700, "processing"), Step(1900, "processing")],
          [Told(1700, "status", "starting", "processing", "status processing")], "processing"),
    Story("an error text does not start it anew",
          [Step(0, "processing"), *every(100, an_observation("processing", error="a"), start=1700, times=2)],
          [Told(1700, "error", "processing", "processing", "error", "a"), STUCK._replace(error="a")], "processing",
          error="a", troubles=("stuck",)),
    Story("failed polls do not start it anew", [Step(0, "processing"), Step(900, TIMED_OUT), Step(1800, "processing")],
          [STUCK], "processing", troubles=("stuck",)),
    Story("after the watch's own stuck_after", every(60, "processing", times=2), [STUCK._replace(at=60)], "processing",
          troubles=("stuck",), watch=a_watch(stuck_after=60.0)),
    Story("ended by the change, in the same notice", [*every(1800, "processing", times=2), Step(1830, "canceled")],
          [STUCK, Told(1830, "status", "processing", "canceled", "status canceled recovered stuck", ends="stuck")],
          "canceled", done=True),
    Story("once for each status", [*every(1800, "starting", times=2), *every(1800, "processing", start=2000, times=3)],
          [STUCK._replace(before="starting", status="starting"),
           Told(2000, "status", "starting", "processing", "status processing recovered stuck", ends="stuck"),
           STUCK._replace(at=3800)], "processing", troubles=("stuck",)),
    Story("ended by a status nobody knows that was told before",
          [Step(0, "queued"), Step(30, "processing"), Step(1830, "processing"), Step(1900, "queued")],
          [Told(0, "status", None, "queued", "status"),
           Told(30, "status", "queued", "processing", "status processing"), STUCK._replace(at=1830),
           Told(1900, "recovered", "processing", "queued", "recovered stuck", ends="stuck")], "queued"),
)  # fmt: skip
def test_a_status_that_does_not_end_is_stuck_once_and_recovered_by_the_change(story: Story) -> None:
    assert story.played() == story.promised()


# --- unreachable -----------------------------------------------------------------------------------------------------


def timeouts(start: float, wait: float, times: int, *, answered: float | None = 60, watches: int = 10) -> list[Step]:
    """Failed polls of a watch, while another one of its account was answered at that moment."""
    return every(wait, TIMED_OUT, start=start, times=times, where=around(watches, answered=answered))


UNREACHABLE = Told(120, "unreachable", None, None, "unreachable")


@stories(
    Story("five times over two minutes, once", timeouts(0, 30, 50), [UNREACHABLE], None, troubles=("unreachable",)),
    Story("not four times", timeouts(0, HOUR, 4), [], None),
    Story("not within two minutes", timeouts(0, 119 / 9, 10), [], None),
    Story("when the two minutes are over", [*timeouts(0, 5, 9), *timeouts(120, 5, 1)], [UNREACHABLE], None,
          troubles=("unreachable",)),
    Story("with the status it had", [Step(0, "starting"), *timeouts(30, 30, 5)],
          [Told(150, "unreachable", "starting", "starting", "unreachable")], "starting", troubles=("unreachable",)),
    Story("not if an answer came between",
          [*timeouts(0, 60, 4), Step(240, "starting"), *timeouts(300, 60, 4, answered=300)], [], "starting"),
    Story("nor if it came just before the fifth",
          [*timeouts(0, 60, 4), Step(240, "starting"), *timeouts(300, 20, 6, answered=300)], [], "starting"),
    Story("not if no other watch was answered", timeouts(0, 30, 50, answered=None), [], None),
    Story("not if another was answered only before", [*timeouts(30, 30, 50, answered=10)], [], None),
    Story("once another was answered", [*timeouts(0, 30, 9, answered=None), *timeouts(270, 30, 9, answered=260)],
          [UNREACHABLE._replace(at=270)], None, troubles=("unreachable",)),
    Story("alone in its account", timeouts(0, 30, 5, answered=None, watches=1), [UNREACHABLE], None,
          troubles=("unreachable",)),
    Story("one of two in its account", timeouts(0, 30, 5, answered=None, watches=2), [UNREACHABLE], None,
          troubles=("unreachable",)),
    Story("but not one of three", timeouts(0, 30, 50, answered=None, watches=3), [], None),
    Story("not for failures during an incident",
          [*every(30, TIMED_OUT, times=50, where=around(answered=60, in_trouble=True)),
           *timeouts(1500, 60, 4, answered=1499)],
          [], None),
    Story("not for being throttled, which is the account's", every(30, THROTTLED, times=50), [], None),
    Story("after the account's own unreachable_after", timeouts(0, 1, 5, answered=3),
          [UNREACHABLE._replace(at=4)], None, troubles=("unreachable",), watch=a_watch(unreachable_after=4.0)),
)  # fmt: skip
def test_a_watch_whose_polls_keep_failing_while_others_are_answered_is_unreachable(story: Story) -> None:
    assert story.played() == story.promised()


@pytest.mark.parametrize("failure", sorted(set(Failure) - {Failure.NOT_FOUND, Failure.THROTTLED}))
def test_every_kind_of_failure_of_its_own_makes_a_watch_unreachable(failure: Failure) -> None:
    decisions = play(a_watch(), every(30, a_failure(failure), times=9))
    assert [in_short(notice) for notice in notices(decisions)] == [UNREACHABLE]


# --- lost ------------------------------------------------------------------------------------------------------------

LOST = Told(120, "lost", None, None, "lost")


@stories(
    Story("three times over two minutes, once", every(60, NOT_FOUND, times=50), [LOST], None, troubles=("lost",)),
    Story("not twice", every(HOUR, NOT_FOUND, times=2), [], None),
    Story("not within two minutes", every(119 / 9, NOT_FOUND, times=10), [], None),
    Story("with the status it had, when seen before", [Step(0, "processing"), *every(60, NOT_FOUND, start=30, times=9)],
          [Told(150, "lost", "processing", "processing", "lost")], "processing", troubles=("lost",)),
    Story("not if an answer came between",
          [*every(90, NOT_FOUND, times=2), Step(180, "starting"), *every(90, NOT_FOUND, start=210, times=2)], [],
          "starting"),
    Story("not within two minutes since an answer",
          [*every(90, NOT_FOUND, times=2), Step(180, "starting"), *every(50, NOT_FOUND, start=210, times=3)], [],
          "starting"),
    Story("and never unreachable for it", every(30, NOT_FOUND, times=50, where=around(answered=10)), [LOST], None,
          troubles=("lost",)),
    Story("after the account's own lost_after", every(1, NOT_FOUND, times=3), [LOST._replace(at=2)], None,
          troubles=("lost",), watch=a_watch(lost_after=2.0)),
)  # fmt: skip
def test_a_prediction_that_is_not_found_again_and_again_is_lost(story: Story) -> None:
    assert story.played() == story.promised()


def test_failed_polls_are_counted_with_their_reason_until_an_answer_ends_all_counting() -> None:
    polls = [Step(0, NOT_FOUND), Step(30, TIMED_OUT), Step(60, TIMED_OUT), Step(90, "starting")]
    not_found, _, failing, answered = [decision.after for decision in play(a_watch(), polls)]
    assert (not_found.not_found, not_found.not_found_since, not_found.failure) == (1, START, NOT_FOUND.reason)
    assert (failing.failures, failing.failing_since, failing.failure) == (2, START + 30, TIMED_OUT.reason)
    assert (answered.failures, answered.failing_since, answered.failure) == (0, None, None)
    assert (answered.not_found, answered.not_found_since) == (0, None)


# --- recovered -------------------------------------------------------------------------------------------------------


@stories(
    Story("unreachable, once", [*timeouts(0, 30, 5), *every(30, "starting", start=150, times=9)],
          [UNREACHABLE, Told(150, "recovered", None, "starting", "recovered unreachable", ends="unreachable")],
          "starting"),
    Story("lost, once", [*every(60, NOT_FOUND, times=3), *every(30, "starting", start=150, times=9)],
          [LOST, Told(150, "recovered", None, "starting", "recovered lost", ends="lost")], "starting"),
    Story("both at once", [*every(60, NOT_FOUND, times=3), *timeouts(180, 30, 5, answered=200), Step(330, "starting")],
          [LOST, UNREACHABLE._replace(at=300),
           Told(330, "recovered", None, "starting", "recovered lost unreachable", ends="lost unreachable")],
          "starting"),
    Story("in the notice of the change that came with it",
          [Step(0, "starting"), *timeouts(30, 30, 5), Step(200, an_observation("failed", error=NSFW))],
          [Told(150, "unreachable", "starting", "starting", "unreachable"),
           Told(200, "status", "starting", "failed", "status failed error recovered unreachable", NSFW, "unreachable")],
          "failed", error=NSFW, done=True),
    Story("by a running status that is not believed",
          [Step(0, "succeeded"), *timeouts(30, 30, 5), Step(200, "processing")],
          [SUCCEEDED, Told(150, "unreachable", "succeeded", "succeeded", "unreachable"),
           Told(200, "recovered", "succeeded", "succeeded", "recovered unreachable", ends="unreachable")], "succeeded"),
    Story("not by a 404", [*timeouts(0, 30, 5), Step(150, NOT_FOUND)], [UNREACHABLE], None, troubles=("unreachable",)),
    Story("and a status that got stuck meanwhile is told by the next answer",
          [Step(0, "starting"), *timeouts(1600, 30, 5, answered=1700), *every(30, "starting", start=1800, times=3)],
          [Told(1720, "unreachable", "starting", "starting", "unreachable"),
           Told(1800, "recovered", "starting", "starting", "recovered unreachable", ends="unreachable"),
           Told(1830, "stuck", "starting", "starting", "stuck")], "starting", troubles=("stuck",)),
    Story("but stuck only by a change",
          [*every(1800, "processing", times=2), *timeouts(1830, 30, 5, answered=1900), Step(1980, "processing"),
           Step(2010, "canceled")],
          [STUCK, Told(1950, "unreachable", "processing", "processing", "unreachable"),
           Told(1980, "recovered", "processing", "processing", "recovered unreachable", ends="unreachable"),
           Told(2010, "status", "processing", "canceled", "status canceled recovered stuck", ends="stuck")],
          "canceled", done=True),
    Story("nothing, when nothing was told", [*timeouts(0, 30, 4), Step(120, "starting")], [], "starting"),
    Story("again, after it came again",
          [*timeouts(0, 30, 5), Step(150, "starting"), *timeouts(180, 30, 5, answered=200), Step(330, "starting")],
          [UNREACHABLE, Told(150, "recovered", None, "starting", "recovered unreachable", ends="unreachable"),
           Told(300, "unreachable", "starting", "starting", "unreachable"),
           Told(330, "recovered", "starting", "starting", "recovered unreachable", ends="unreachable")], "starting"),
)  # fmt: skip
def test_recovered_ends_what_was_told_and_goes_where_that_went(story: Story) -> None:
    assert story.played() == story.promised()


# --- let go ----------------------------------------------------------------------------------------------------------

WEEK = 7 * DAY
LET_GO = Told(WEEK, "let_go", "starting", "starting", "let_go")
PATIENT = a_watch(stuck_after=30 * DAY)


@stories(
    Story("after a week, once", every(WEEK, "starting", times=3), [LET_GO], "starting", let_go=True, watch=PATIENT),
    Story("not before", [Step(0, "starting"), Step(WEEK - 1, "starting")], [], "starting", watch=PATIENT),
    Story("though polls fail", [Step(0, "starting"), Step(WEEK, TIMED_OUT)], [LET_GO], "starting", let_go=True),
    Story("though the account is in trouble", [Step(0, "starting"), Step(WEEK, TIMED_OUT, around(in_trouble=True))],
          [LET_GO], "starting", let_go=True),
    Story("though it was never seen", [Step(WEEK, NOT_FOUND)], [LET_GO._replace(before=None, status=None)], None,
          let_go=True),
    Story("in the notice of the change that came with it", [Step(0, "starting"), Step(WEEK, "processing")],
          [Told(WEEK, "let_go", "starting", "processing", "let_go status processing")], "processing", let_go=True),
    Story("not if it ended in the last moment", [Step(0, "starting"), Step(WEEK, "canceled")],
          [Told(WEEK, "status", "starting", "canceled", "status canceled")], "canceled", done=True),
    Story("after the watch's own watch_for", every(90, "starting", times=2), [LET_GO._replace(at=90)], "starting",
          let_go=True, watch=a_watch(watch_for=90.0)),
)  # fmt: skip
def test_a_watch_that_does_not_end_is_let_go_and_said_so(story: Story) -> None:
    assert story.played() == story.promised()


def test_a_watch_is_over_when_it_is_done_or_was_let_go_aloud_not_by_the_time_alone() -> None:
    done = play(a_watch(), [Step(0, "canceled")])[-1].after
    running = play(a_watch(), [Step(0, "starting")])[-1].after
    assert is_over(done, a_watch(), START)
    assert not is_over(running, a_watch(), START)
    assert not is_over(running, a_watch(), START + 2 * WEEK)  # the machine was off: one more look, and a notice


def test_a_let_go_watch_comes_back_when_watch_for_is_raised_and_is_let_go_again_aloud() -> None:
    let_go = play(a_watch(watch_for=HOUR), [Step(0, "starting"), Step(HOUR, "starting")])[-1].after
    assert is_over(let_go, a_watch(watch_for=HOUR), START + HOUR)
    longer = a_watch(watch_for=2 * HOUR, stuck_after=DAY)
    assert not is_over(let_go, longer, START + HOUR)
    again = play(longer, [Step(HOUR + MINUTE, "starting"), Step(2 * HOUR, "starting")], let_go)
    assert [in_short(notice) for notice in notices(again)] == [LET_GO._replace(at=2 * HOUR)]
