"""Whether it is this machine that reaches nothing."""

from __future__ import annotations

import pytest

from notifier.decide import AccountState, decide_account, decide_network, unreached
from notifier.model import FailedPoll, Failure, IncidentKind, Key, Observation
from tests.builders import a_failure, an_api, an_observation

OFFLINE = FailedPoll(Failure.OFFLINE, "DNS: Could not resolve host: api.example.com")
NOW = 10_000.0


def reached(at: float) -> AccountState:
    return AccountState(reached_at=at)


def offline(since: float, reached_at: float = 0.0) -> AccountState:
    return AccountState(offline_since=since, reached_at=reached_at)


def decide(**accounts: AccountState) -> tuple[bool, float | None, tuple[str, ...]]:
    decision = decide_network(accounts, patience=120.0, reason=OFFLINE.reason, watches=7, now=NOW)
    began = decision.began
    if began is not None:
        assert (began.kind, began.subject, began.detail, began.count) == (
            IncidentKind.NETWORK,
            "this machine",
            OFFLINE.reason,
            7,
        )
    return decision.suspected, None if began is None else began.since, decision.ask


@pytest.mark.parametrize(
    ("accounts", "suspected", "began", "ask"),
    [
        pytest.param({}, False, None, (), id="there are none"),
        pytest.param({"a": reached(NOW)}, False, None, (), id="it is reached"),
        pytest.param({"a": offline(NOW - 119)}, True, None, (), id="not for long enough"),
        pytest.param({"a": offline(NOW - 120)}, True, NOW - 120, (), id="the only account"),
        pytest.param({"a": offline(NOW - 500), "b": offline(NOW - 130)}, True, NOW - 500, (), id="every account"),
        pytest.param({"a": offline(NOW - 500), "b": reached(NOW - 499)}, False, None, (), id="another is reached"),
        pytest.param(
            {"a": offline(NOW - 300), "b": reached(NOW - 301)}, True, None, ("b",), id="another was not asked since"
        ),
        pytest.param({"a": offline(NOW - 300), "b": AccountState()}, True, None, ("b",), id="another was never asked"),
        pytest.param(
            {"a": offline(NOW - 360), "b": reached(NOW - 361)}, False, None, ("b",), id="another keeps silent"
        ),
        pytest.param(
            {"a": offline(NOW - 59), "b": reached(NOW - 60)}, True, None, (), id="it may be asked soon anyway"
        ),
        pytest.param(
            {"a": offline(NOW - 300), "b": offline(NOW - 100, reached_at=NOW - 110)},
            True,
            None,
            (),
            id="since the last was reached it is not long enough",
        ),
        pytest.param(
            {"a": offline(NOW - 300), "b": offline(NOW - 100, reached_at=NOW - 120)},
            True,
            NOW - 120,
            (),
            id="it began when the last was reached",
        ),
    ],
)
def test_nothing_being_reached_on_any_account_is_this_machines_trouble(
    accounts: dict[str, AccountState], *, suspected: bool, began: float | None, ask: tuple[str, ...]
) -> None:
    assert decide(**accounts) == (suspected, began, ask)


REACHED = [each for each in Failure if each not in (Failure.OFFLINE, Failure.SILENT)]


@pytest.mark.parametrize("seen", [an_observation(), *map(a_failure, REACHED)])
def test_whatever_answers_has_been_reached(seen: Observation | FailedPoll) -> None:
    after = decide_account(
        offline(5.0), Key("a", "w"), seen, api=an_api("a"), watches=4, asked_at=NOW, hold=0.0, now=NOW
    ).after
    assert (after.reached_at, after.offline_since) == (NOW, None)


@pytest.mark.parametrize("before", [reached(1.0), offline(5.0, reached_at=1.0), AccountState()])
def test_silence_says_nothing_about_the_way(before: AccountState) -> None:
    silent = a_failure(Failure.SILENT)
    after = decide_account(
        before, Key("a", "w"), silent, api=an_api("a"), watches=4, asked_at=NOW, hold=0.0, now=NOW
    ).after
    assert (after.reached_at, after.offline_since) == (before.reached_at, before.offline_since)


def test_the_first_failure_to_reach_it_counts() -> None:
    first = unreached(reached(1.0), NOW)
    assert (first.reached_at, first.offline_since) == (1.0, NOW)
    assert unreached(first, NOW + 60) == first


@pytest.mark.parametrize("suspected", [False, True])
def test_what_may_be_this_machines_trouble_is_no_incident_of_an_account(*, suspected: bool) -> None:
    state = AccountState()
    for number in range(4):
        decision = decide_account(
            state,
            Key("a", f"w{number}"),
            OFFLINE,
            api=an_api("a"),
            watches=4,
            asked_at=NOW + number * 60,
            hold=0.0,
            offline=suspected,
            now=NOW + number * 60,
        )
        state = decision.after
    assert (state.incident is not None) is not suspected
