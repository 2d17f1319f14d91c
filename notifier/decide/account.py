"""The account that many watches share: whether a failure is the watch's own trouble, or everybody's."""

from __future__ import annotations

from dataclasses import dataclass, replace

from notifier.model import Api, FailedPoll, Failure, Incident, IncidentKind, Key, Observation

INCIDENT_WATCHES = 3
"""So many watches must fail before failing polls are the account's trouble."""
LONG_HOLD = 600.0
"""Seconds of being told to wait after which that is an incident."""


@dataclass(frozen=True, slots=True)
class AccountState:
    """What the polls of an account have shown so far. A new one is AccountState()."""

    answered_at: float | None = None
    answered_by: Key | None = None
    others_answered_at: float | None = None
    """When a watch other than `answered_by` was last answered."""
    failing_since: float | None = None
    """The first failure since the last answer."""
    failing: tuple[Key, ...] = ()
    """Up to INCIDENT_WATCHES different watches that failed since then."""
    suspect: Key | None = None
    """A watch that was refused, while another one is asked whether it is so too."""
    suspect_at: float = 0.0
    suspicion: str = ""
    """The reason it was refused with."""
    refused: frozenset[Key] = frozenset()
    """Watches that were refused since the last answer to a younger question."""
    refused_at: float = 0.0
    own: frozenset[Key] = frozenset()
    """Watches that were refused while another was let in: their refusal is no evidence against the account."""
    reached_at: float = 0.0
    """When last something answered, even if only to refuse."""
    offline_since: float | None = None
    """The first time since then that the host had no address or no route led to it."""
    held_since: float | None = None
    throttled_at: float = 0.0
    throttled: int = 0
    """429 in a row, those that were under way together counted once."""
    incident: Incident | None = None
    incident_at: float = 0.0
    """When it was found to be one; its trouble began earlier."""

    def answered_beside(self, key: Key) -> float | None:
        """When a watch of the account other than `key` was last answered."""
        return self.others_answered_at if key == self.answered_by else self.answered_at


@dataclass(frozen=True, slots=True)
class AccountDecision:
    """What is known now, and what follows: an incident that began or ended, another watch to be asked at once."""

    after: AccountState
    began: Incident | None = None
    ended: Incident | None = None
    check: bool = False


def decide_account(
    before: AccountState,
    key: Key,
    seen: Observation | FailedPoll,
    *,
    api: Api,
    watches: int,
    asked_at: float,
    hold: float,
    offline: bool = False,
    now: float,
) -> AccountDecision:
    """What one poll's result says about the whole account.

    `watches` counts those still polled. `asked_at` is when this poll started: an answer to an older question says
    nothing about trouble that began since. `hold` is for how long, in seconds, the account will wait after a 429.
    `offline`: it may be this machine that reaches nothing (see `decide_network`), which is no account's trouble.
    """
    if isinstance(seen, Observation):
        return _after_answer(before, key, asked_at, now)
    if seen.failure is Failure.NOT_FOUND:
        return _after_not_found(before, key, asked_at, now)
    failing = before.failing
    if key not in failing and len(failing) < INCIDENT_WATCHES:
        failing = (*failing, key)
    after = replace(
        _reach(before, seen.failure, now),
        failing=failing,
        failing_since=now if before.failing_since is None else before.failing_since,
    )
    if seen.failure is Failure.THROTTLED:
        held_since = now if before.held_since is None else before.held_since
        after = replace(after, held_since=held_since)
        if asked_at >= before.throttled_at:
            after = replace(after, throttled=before.throttled + 1, throttled_at=now)
    if seen.failure is Failure.REFUSED:
        after = replace(after, refused=after.refused | {key}, refused_at=now)
    if before.incident is not None or (offline and seen.failure is Failure.OFFLINE):
        return AccountDecision(after)
    is_check = after.suspect not in (None, key) and asked_at >= after.suspect_at and key not in after.own
    if is_check and seen.failure is not Failure.THROTTLED:
        return _begin(after, after.suspicion, api, watches, now)  # the check was not answered either
    if seen.failure is Failure.REFUSED and after.suspect in (None, key):
        if watches < 2:
            return _begin(after, seen.reason, api, watches, now)
        since = now if after.suspect is None else after.suspect_at
        suspicious = replace(after, suspect=key, suspect_at=since, suspicion=seen.reason)
        return AccountDecision(suspicious, check=True)
    if seen.failure is Failure.THROTTLED and after.held_since is not None and now + hold - after.held_since > LONG_HOLD:
        return _begin(after, f"asked to wait: {seen.reason}", api, watches, now)
    return _begin_if_all_fail(after, seen, api, watches, now)


def unreached(before: AccountState, now: float) -> AccountState:
    """After a poll for which the host had no address, or no route led to it."""
    return before if before.offline_since is not None else replace(before, offline_since=now)


def _reach(before: AccountState, failure: Failure, now: float) -> AccountState:
    """What a failure says about the way to the account. Silence says nothing: packets may get lost close by."""
    if failure is Failure.OFFLINE:
        return unreached(before, now)
    return before if failure is Failure.SILENT else replace(before, reached_at=now, offline_since=None)


def _after_answer(before: AccountState, key: Key, asked_at: float, now: float) -> AccountDecision:
    others = before.others_answered_at if key == before.answered_by else before.answered_at
    after = replace(
        before, answered_at=now, answered_by=key, others_answered_at=others, reached_at=now, offline_since=None
    )
    if asked_at >= before.refused_at:
        after = replace(after, refused=frozenset(), own=before.own | before.refused)
    if key in after.own:
        after = replace(after, own=after.own - {key})
    if before.incident is not None and asked_at < before.incident_at:
        return AccountDecision(after)
    after = replace(after, failing_since=None, failing=(), held_since=None, throttled=0)
    if before.suspect is not None and asked_at >= before.suspect_at:
        after = replace(after, suspect=None)
    return AccountDecision(replace(after, incident=None), ended=before.incident)


def _after_not_found(before: AccountState, key: Key, asked_at: float, now: float) -> AccountDecision:
    """A 404 shows that the API answers, which ends trouble; but it never speaks for the polls that fail otherwise."""
    decision = _after_answer(before, key, asked_at, now)
    if decision.ended is not None:
        return decision
    return AccountDecision(replace(decision.after, failing_since=before.failing_since, failing=before.failing))


def _begin_if_all_fail(after: AccountState, seen: FailedPoll, api: Api, watches: int, now: float) -> AccountDecision:
    failing_since = now if after.failing_since is None else after.failing_since
    if len(after.failing) < INCIDENT_WATCHES or now - failing_since < api.incident_after:
        return AccountDecision(after)
    return _begin(after, f"no poll was answered: {seen.reason}", api, watches, now)


def _begin(after: AccountState, detail: str, api: Api, watches: int, now: float) -> AccountDecision:
    since = now if after.failing_since is None else after.failing_since
    incident = Incident(IncidentKind.API, api.name, since=since, detail=detail, count=watches)
    return AccountDecision(replace(after, incident=incident, incident_at=now, suspect=None), began=incident)
