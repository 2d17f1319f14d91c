"""One watch: what is known now, and the notice owed, if any."""

from __future__ import annotations

from dataclasses import dataclass, replace

from notifier.decide.links import LINK_LIFE, is_short_lived
from notifier.decide.notices import notice_id
from notifier.model import FINAL, Event, FailedPoll, Failure, FirstSight, Notice, Observation, State, Status, Watch

UNREACHABLE_FAILURES = 5
LOST_TRIES = 3
SMALL_ACCOUNT = 3
"""An account of fewer watches than this cannot tell its own trouble from a watch's by comparing."""
MOST_UNKNOWN = 20
"""So many statuses that nobody knows are told of one watch: an API that counts percents in them would never end."""

STATUSES = frozenset(Status)
_BASELINE_STATUSES = frozenset({Status.STARTING, Status.PROCESSING})
_PRIMARY = (Event.LET_GO, Event.STATUS, Event.ERROR, Event.OUTPUT, Event.LOST, Event.UNREACHABLE, Event.RECOVERED)
"""The event a notice is called by, when one poll brought several: the first of these, else `stuck`."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a decision about one watch may know of its account."""

    watches: int
    """Watches of the account that are still polled, this one included."""
    others_answered_at: float | None = None
    """When another watch of the account was last answered."""
    in_trouble: bool = False
    """Whether an incident of the account is open: failures are then the account's, not the watch's."""
    suspected: bool = False
    """Whether this machine may reach nothing at all: failures to reach the account then make no watch unreachable."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is known now, the notice owed (at most one a poll) and the reason, also for telling nothing.

    `record` is false when nothing changed that has to outlive the process.
    """

    after: State
    notice: Notice | None
    why: str
    record: bool


def is_over(state: State, watch: Watch, now: float) -> bool:
    """Whether the watch is to be polled no more. A let-go one comes back when `watch_for` is raised."""
    return state.done or (state.let_go and now - state.watched_since >= watch.rules.watch_for)


def decide_watch(
    watch: Watch, before: State, seen: Observation | FailedPoll, surroundings: Surroundings, *, now: float, wall: float
) -> Decision:
    """Compare what was known with what was seen.

    `now` is steady, `wall` is what the notice will be dated with; both in Unix seconds.
    """
    if isinstance(seen, Observation):
        after, happened, why = _after_observation(watch, before, seen, now)
    else:
        after, happened, why = _after_failure(watch, before, seen, surroundings, now)
    over = now - after.watched_since >= watch.rules.watch_for
    if over and after.status not in FINAL and not after.let_go:
        after = replace(after, let_go=True)
        happened.append(Event.LET_GO)
        why += "; watch_for is over"
    elif after.let_go and not over:  # watch_for was raised, and will be over once more
        after = replace(after, let_go=False)
    if after.status in FINAL and not after.done and _is_settled(watch, after, seen, now):
        after = replace(after, done=True)
    ends = tuple(trouble for trouble in before.troubles if trouble not in after.troubles)
    if ends:
        happened.append(Event.RECOVERED)
    notice = None
    if happened:
        after = replace(after, notices=before.notices + 1)
        notice = _notice(watch, before, after, seen, happened, ends, now=now, wall=wall, why=why)
    return Decision(after, notice, why, record=_essence(after) != _essence(before))


def _after_observation(watch: Watch, before: State, seen: Observation, now: float) -> tuple[State, list[Event], str]:
    """The new state, what happened, and why."""
    troubles = tuple(trouble for trouble in before.troubles if trouble == Event.STUCK)
    after = replace(
        before, failures=0, failing_since=None, failure=None, not_found=0, not_found_since=None, troubles=troubles
    )
    if before.status in FINAL and seen.status not in FINAL:
        return after, [], f"{seen.status} after {before.status} is not believed: a final status is never left"

    happened: list[Event] = []
    why = "nothing changed"
    if seen.status != before.status:
        after, told, why = _with_new_status(watch, after, seen, now)
        if told:
            happened.append(Event.STATUS)
    elif before.status not in FINAL and not before.troubles:  # the end of another trouble is told first
        status_since = now if after.status_since is None else after.status_since
        if now - status_since >= watch.rules.stuck_after:
            after = _with_trouble(after, Event.STUCK, status_since)
            happened.append(Event.STUCK)
            why = f"still {seen.status} after stuck_after"

    quiet = before.status is None and watch.rules.first_sight is FirstSight.QUIET
    if seen.error and not quiet and (seen.error != before.error or Event.STATUS in happened):
        happened.append(Event.ERROR)
        why = f"{why}, with an error text" if Event.STATUS in happened else "an error text appeared"
    if seen.error or seen.status not in FINAL or seen.status != before.status:
        after = replace(after, error=seen.error or None)

    if seen.status in FINAL and seen.has_output:
        if not before.has_output and seen.status == before.status:
            happened.append(Event.OUTPUT)
            why = "output came after the final status"
        # What was seen once is kept: an hour later the provider deletes it and answers null.
        after = replace(after, has_output=True, output=seen.output)
    return after, happened, why


def _with_new_status(watch: Watch, after: State, seen: Observation, now: float) -> tuple[State, bool, str]:
    """The state with the status that was seen, whether that is told, and why."""
    before = after.status
    after = replace(
        after,
        status=seen.status,
        status_since=now,
        final_at=(now if after.final_at is None else after.final_at) if seen.status in FINAL else None,
        troubles=tuple(trouble for trouble in after.troubles if trouble != Event.STUCK),
    )
    known = seen.status in FINAL or seen.status in _BASELINE_STATUSES
    news = known or (seen.status not in after.unknown and len(after.unknown) < MOST_UNKNOWN)
    if not known and news:
        after = replace(after, unknown=(*after.unknown, seen.status))
    if before is None:
        if watch.rules.first_sight is FirstSight.QUIET:
            return after, False, f"first seen {seen.status}; first_sight is quiet"
        if seen.status in _BASELINE_STATUSES:
            return after, False, f"first seen {seen.status}: the baseline"
        return after, True, f"first seen {seen.status}"
    if not news:
        return after, False, f"the unknown status {seen.status} was told before, or too many others"
    return after, True, f"{before} became {seen.status}" + ("" if known else ", a status nobody knows")


def _after_failure(
    watch: Watch, before: State, seen: FailedPoll, surroundings: Surroundings, now: float
) -> tuple[State, list[Event], str]:
    """The new state, what happened, and why."""
    if surroundings.in_trouble:
        return before, [], "the account is in trouble: the failure is not this watch's"
    if seen.failure is Failure.THROTTLED:
        return before, [], "throttled: the account waits, the watch is not at fault"
    if seen.failure is Failure.NOT_FOUND:
        return _after_not_found(watch, before, seen, now)
    since = now if before.failing_since is None else before.failing_since
    after = replace(before, failures=before.failures + 1, failing_since=since, failure=seen.reason)
    if Event.UNREACHABLE in before.troubles:
        return after, [], "unreachable was told before"
    if after.failures < UNREACHABLE_FAILURES or now - since < watch.rules.unreachable_after:
        return after, [], f"failed, try {after.failures} in a row"
    if surroundings.suspected:
        return after, [], "it may be this machine that reaches nothing"
    answered = surroundings.others_answered_at
    if surroundings.watches >= SMALL_ACCOUNT and (answered is None or answered < since):
        return after, [], "no other watch of the account was answered meanwhile: this may not be the watch's trouble"
    return _with_trouble(after, Event.UNREACHABLE, since), [Event.UNREACHABLE], f"failed {after.failures} times"


def _after_not_found(watch: Watch, before: State, seen: FailedPoll, now: float) -> tuple[State, list[Event], str]:
    """The same for a 404, which has its own count: it is an answer, if an unwelcome one."""
    since = now if before.not_found_since is None else before.not_found_since
    after = replace(before, not_found=before.not_found + 1, not_found_since=since, failure=seen.reason)
    if Event.LOST in before.troubles:
        return after, [], "lost was told before"
    if after.not_found < LOST_TRIES or now - since < watch.rules.lost_after:
        return after, [], f"not found, try {after.not_found} in a row"
    return _with_trouble(after, Event.LOST, since), [Event.LOST], f"not found {after.not_found} times"


def _with_trouble(state: State, trouble: Event, since: float) -> State:
    earliest = since if state.trouble_since is None or not state.troubles else min(since, state.trouble_since)
    return replace(state, troubles=(*state.troubles, trouble), trouble_since=earliest)


def _is_settled(watch: Watch, after: State, seen: Observation | FailedPoll, now: float) -> bool:
    """Whether a final status has all that can be expected with it, so that asking again is pointless."""
    return (
        after.has_output
        or bool(after.error)
        or after.status in (Status.CANCELED, Status.ABORTED)
        or (isinstance(seen, Observation) and seen.data_removed)
        or (after.final_at is not None and now - after.final_at >= watch.rules.settle)
    )


def _essence(state: State) -> tuple[object, ...]:
    """What has to outlive the process at once. Counters of failures are written in bulk, now and then."""
    return (
        state.status, state.error, state.has_output, state.output, state.done, state.let_go,
        state.troubles, state.unknown, state.notices,
    )  # fmt: skip


def _notice(
    watch: Watch,
    before: State,
    after: State,
    seen: Observation | FailedPoll,
    happened: list[Event],
    ends: tuple[str, ...],
    *,
    now: float,
    wall: float,
    why: str,
) -> Notice:
    event = next((event for event in _PRIMARY if event in happened), Event.STUCK)
    names: set[str] = {*happened, *ends}
    if Event.STATUS in happened and after.status in STATUSES:  # any other may be a word that means something else
        names.add(after.status)
    facts = Notice(
        notice=notice_id(watch.key, before.watched_since, after.notices),
        event=event,
        time=wall,
        key=watch.key,
        name=watch.name,
        before=before.status,
        status=after.status,
        error=after.error,
        names=frozenset(map(str, names)),
        why=why,
        has_output=after.has_output,
        output=after.output,
        since=_since(event, before, after, ends, now),
        count=_count(event, before, after),
        ends=ends,
    )
    if isinstance(seen, FailedPoll):
        return replace(facts, detail=seen.reason)
    over = after.status in FINAL
    return replace(
        facts,
        detail=before.failure if Event.RECOVERED in happened else _deadline_remark(event, seen, wall),
        text=seen.text if over else None,
        expires=_expires(seen, wall) if over else None,
        data_removed=seen.data_removed,
        took=_took(seen) if over else None,
        metrics=seen.metrics if over else (),
        logs=seen.logs,
    )


def _since(event: Event, before: State, after: State, ends: tuple[str, ...], now: float) -> float | None:
    """For how long it has been so, in seconds, where that says something."""
    starts: list[float | None] = []
    if event is Event.LET_GO:
        starts = [after.watched_since]
    elif event is Event.STUCK:
        starts = [after.status_since]
    elif event is Event.LOST:
        starts = [after.not_found_since]
    elif event is Event.UNREACHABLE:
        starts = [after.failing_since]
    elif event is Event.RECOVERED:
        began = {Event.UNREACHABLE: before.failing_since, Event.LOST: before.not_found_since}
        starts = [began.get(Event(trouble), before.status_since) for trouble in ends]
    known = [start for start in starts if start is not None]
    return max(0.0, now - min(known)) if known else None


def _count(event: Event, before: State, after: State) -> int | None:
    """How many tries there were, where that says something."""
    if event is Event.LOST:
        return after.not_found
    if event is Event.UNREACHABLE:
        return after.failures
    if event is Event.RECOVERED:
        return (before.failures + before.not_found) or None
    return None


def _deadline_remark(event: Event, seen: Observation, wall: float) -> str | None:
    if event is Event.STUCK and seen.deadline is not None and seen.deadline < wall:
        return "its deadline has passed"
    return None


def _took(seen: Observation) -> float | None:
    """Seconds from creation to completion: what the person waited. Clocks of servers differ: never negative."""
    if seen.completed_at is not None:
        start = seen.created_at if seen.created_at is not None else seen.started_at
        if start is not None:
            return max(0.0, seen.completed_at - start)
    metrics = dict(seen.metrics)
    return metrics.get("total_time", metrics.get("predict_time"))


def _expires(seen: Observation, wall: float) -> float | None:
    """Until when the output links work, if their host is one known to delete them."""
    if not any(map(is_short_lived, seen.output)):
        return None
    completed = wall if seen.completed_at is None else min(seen.completed_at, wall)
    return completed + LINK_LIFE
