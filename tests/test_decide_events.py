"""Which event lists let a notice through, what identifies it, and the facts it carries."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.decide import incident_notice, incident_over_notice, notice_id, passes
from notifier.model import EVENT_NAMES, Event, Failure, Incident, IncidentKind, Notice
from tests.builders import (
    DAY,
    HOUR,
    LINK,
    MINUTE,
    START,
    WALL_STEP,
    Seen,
    Step,
    a_failure,
    a_key,
    a_notice,
    a_watch,
    an_observation,
    every,
    notices,
    play,
)

NOW = START + WALL_STEP
"""Wall time at a story's beginning."""

# --- event lists -----------------------------------------------------------------------------------------------------

FAILED = an_observation("failed", error="out of memory")
TIMED_OUT = a_failure()
NOT_FOUND = a_failure(Failure.NOT_FOUND, "HTTP 404")


@pytest.mark.parametrize(
    ("what", "seen", "lists_that_hear"),
    [
        ("a change of status", [Step(0, "starting"), Step(30, "processing")], "status processing"),
        ("a failure without a text", [Step(0, "starting"), Step(30, "failed")], "status failed"),
        ("a failure with a text", [Step(0, "starting"), Step(30, FAILED)], "status failed error"),
        ("a failure at first sight", [Step(0, FAILED)], "status failed error"),
        ("a status nobody knows", [Step(0, "starting"), Step(30, "queued")], "status"),
        ("an error text", [Step(0, "starting"), Step(30, an_observation("starting", error="E6716"))], "error"),
        ("late output", [Step(0, "succeeded"), Step(30, an_observation("succeeded", output=(LINK,)))], "output"),
        ("stuck", every(HOUR, "processing", times=2), "stuck"),
        ("the end of stuck", [*every(HOUR, "starting", times=2), Step(2 * HOUR, "processing")],
         "status processing recovered stuck"),
        ("unreachable", every(MINUTE, TIMED_OUT, times=5), "unreachable"),
        ("the end of unreachable", [*every(MINUTE, TIMED_OUT, times=5), Step(300, "starting")],
         "recovered unreachable"),
        ("lost", every(MINUTE, NOT_FOUND, times=3), "lost"),
        ("the end of lost", [*every(MINUTE, NOT_FOUND, times=3), Step(300, "starting")], "recovered lost"),
        ("let go", [Step(7 * DAY, "starting")], "let_go"),
    ],
)  # fmt: skip
def test_a_notice_passes_the_event_lists_that_name_what_it_tells(
    what: str, seen: list[Step], lists_that_hear: str
) -> None:
    notice = notices(play(a_watch(), seen))[-1]
    heard = {name for name in EVENT_NAMES if passes(frozenset({name}), notice)}
    assert heard == {*lists_that_hear.split(), "all"}


@pytest.mark.parametrize(
    ("events", "names", "let_through"),
    [
        ({"status"}, ("status", "failed"), True),
        ({"failed"}, ("status", "failed"), True),
        ({"failed", "aborted"}, ("status", "succeeded"), False),
        ({"error"}, ("status", "failed", "error"), True),
        ({"all"}, ("let_go",), True),
        ({"all", "status"}, ("stuck",), True),
        (set(), ("status", "failed"), False),
    ],
)
def test_one_word_in_common_is_enough(events: set[str], names: tuple[str, ...], let_through: bool) -> None:
    assert passes(events, a_notice(*names)) is let_through


INCIDENT = Incident(IncidentKind.API, "cometapi", START, "HTTP 401: invalid token", count=50)


@pytest.mark.parametrize("events", [frozenset[str](), frozenset({"failed"}), frozenset({"all"})])
@pytest.mark.parametrize(
    "notice",
    [
        incident_notice(INCIDENT, NOW),
        incident_over_notice(INCIDENT, START + HOUR, NOW + HOUR),
        a_notice(event=Event.TEST),
    ],
)
def test_incidents_and_tests_pass_every_event_list(events: frozenset[str], notice: Notice) -> None:
    assert passes(events, notice)


# --- ids -------------------------------------------------------------------------------------------------------------

words = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=20)


@given(st.tuples(words, words, st.floats(allow_nan=False), st.integers()))
def test_a_notice_id_is_short_plain_and_always_the_same(parts: tuple[Any, ...]) -> None:
    notice = notice_id(*parts)
    assert notice == notice_id(*parts)
    assert notice.isalnum()
    assert notice == notice.lower()
    assert 8 <= len(notice) <= 12


@given(st.lists(st.tuples(words, words, st.integers()), min_size=2, unique=True))
def test_different_parts_give_different_notice_ids(parts: list[tuple[Any, ...]]) -> None:
    assert len({notice_id(*each) for each in parts}) == len(parts)


def test_the_ids_of_two_watches_differ_though_the_same_happens_to_both() -> None:
    keys = [a_key("one"), a_key("other"), a_key("one", api="replicate")]
    told = [notice.notice for key in keys for notice in notices(play(a_watch(key), [Step(0, FAILED)]))]
    assert len(set(told)) == 3


def test_the_ids_of_one_watch_differ_though_the_same_happens_again() -> None:
    seen: list[Seen] = ["processing", "starting"]
    polls = [Step(30.0 * turn, seen[turn % 2]) for turn in range(20)]
    told = [notice.notice for notice in notices(play(a_watch(), polls))]
    assert len(set(told)) == len(told) == 19


def test_a_new_name_or_new_rules_do_not_change_an_id() -> None:
    polls = [Step(0, "starting"), Step(30, FAILED)]
    watches = [a_watch(), a_watch(name="Another name"), a_watch(interval=5.0, channels=("oncall",))]
    assert len({notice.notice for watch in watches for notice in notices(play(watch, polls))}) == 1


def test_each_beginning_and_end_of_an_incident_has_an_id_of_its_own_that_a_repeat_keeps() -> None:
    incidents = [
        Incident(kind, subject, since, "why")
        for kind in IncidentKind
        for subject in ("team", "oncall")
        for since in (START, START + 0.001)
    ]

    def ids(wall: float) -> list[str]:
        began = [incident_notice(incident, wall).notice for incident in incidents]
        return began + [incident_over_notice(incident, START + HOUR, wall).notice for incident in incidents]

    assert len(set(ids(NOW))) == 2 * len(incidents)
    assert ids(NOW) == ids(NOW + MINUTE)


# --- facts -----------------------------------------------------------------------------------------------------------


def last_notice(*seen: Step, **rules: Any) -> Notice:
    return notices(play(a_watch(**rules), seen))[-1]


def test_a_notice_names_its_prediction_and_is_dated_by_the_wall_clock() -> None:
    notice = last_notice(Step(0, "starting"), Step(30, "canceled"))
    assert (notice.key, notice.name, notice.time) == (a_key(), "Launch teaser", NOW + 30)
    assert notice.why


@pytest.mark.parametrize(
    ("said", "took"),
    [
        ({"created_at": NOW - 100, "started_at": NOW - 60, "completed_at": NOW - 10}, 90),
        ({"started_at": NOW - 60, "completed_at": NOW - 10}, 50),
        ({"created_at": NOW, "completed_at": NOW - 0.77}, 0),
        ({"metrics": (("predict_time", 4.5),)}, 4.5),
        ({"created_at": NOW - 100}, None),
        ({}, None),
    ],
)
def test_a_final_notice_says_how_long_it_took_and_never_less_than_nothing(said: dict[str, Any], took: float) -> None:
    assert last_notice(Step(0, an_observation("failed", **said))).took == took


@pytest.mark.parametrize(
    ("links", "completed", "expires"),
    [
        ((LINK,), NOW - 60, NOW - 60 + HOUR),
        (("https://pbxt.replicate.delivery/a/out.png",), NOW - 60, NOW - 60 + HOUR),
        ((LINK,), None, NOW + HOUR),
        (("https://cdn.example.com/out.png",), NOW - 60, None),
        (("https://replicate.delivery.example.com/out.png",), NOW - 60, None),
        (("http://[",), NOW - 60, None),
        ((), NOW - 60, None),
    ],
)
def test_links_are_said_to_expire_an_hour_after_completion_where_that_is_known(
    links: tuple[str, ...], completed: float | None, expires: float | None
) -> None:
    seen = an_observation("succeeded", has_output=True, output=links, completed_at=completed)
    notice = last_notice(Step(0, seen))
    assert (notice.output, notice.expires) == (links, expires)


def test_a_final_notice_carries_output_text_metrics_logs_and_whether_the_data_are_gone() -> None:
    metrics = (("predict_time", 4.5), ("image_count", 2.0))
    notice = last_notice(Step(0, an_observation("succeeded", has_output=True, text="Hi", metrics=metrics, logs="100%")))
    assert (notice.has_output, notice.text, notice.metrics, notice.logs) == (True, "Hi", metrics, "100%")
    assert not notice.data_removed
    assert last_notice(Step(0, an_observation("succeeded", data_removed=True))).data_removed


def test_a_running_notice_carries_nothing_that_only_the_end_can_say() -> None:
    partial = an_observation(output=(LINK,), text="Hel", metrics=(("total_time", 2.0),), created_at=NOW - 10)
    notice = last_notice(Step(0, "starting"), Step(30, partial))
    assert (notice.has_output, notice.output, notice.text, notice.expires) == (False, (), None, None)
    assert (notice.took, notice.metrics) == (None, ())


def test_stuck_says_for_how_long_by_our_own_clock_and_that_a_deadline_has_passed() -> None:
    old = an_observation("processing", created_at=NOW - DAY, started_at=NOW - DAY)
    assert last_notice(Step(0, old), Step(1700, old), Step(2000, old)).since == 2000
    overdue = an_observation("processing", deadline=NOW + MINUTE)
    assert "deadline" in (last_notice(Step(0, overdue), Step(2000, overdue)).detail or "")
    in_time = an_observation("processing", deadline=NOW + DAY)
    assert "deadline" not in (last_notice(Step(0, in_time), Step(2000, in_time)).detail or "")


def test_unreachable_says_how_often_for_how_long_and_what_came_instead() -> None:
    refused = a_failure(Failure.REFUSED, "HTTP 403: no access")
    notice = last_notice(Step(0, "starting"), *every(MINUTE, TIMED_OUT, start=60, times=4), Step(300, refused))
    assert (notice.count, notice.since, notice.detail) == (5, 240, "HTTP 403: no access")


@pytest.mark.parametrize(("seen_before", "status"), [([], None), ([Step(0, "processing")], "processing")])
def test_lost_says_how_often_and_whether_the_id_was_ever_seen(seen_before: list[Step], status: str | None) -> None:
    notice = last_notice(*seen_before, *every(MINUTE, NOT_FOUND, start=60, times=3))
    assert (notice.count, notice.since, notice.status) == (3, 120, status)


def test_let_go_says_for_how_long_it_was_watched() -> None:
    assert last_notice(Step(0, "starting"), Step(7 * DAY, "starting")).since == 7 * DAY


@pytest.mark.parametrize(
    ("what", "seen", "since", "count"),
    [
        ("unreachable", [*every(MINUTE, TIMED_OUT, times=5), Step(300, "starting")], 300, 5),
        ("lost", [*every(MINUTE, NOT_FOUND, times=3), Step(300, "starting")], 300, 3),
        ("both, from the earlier one on",
         [*every(MINUTE, NOT_FOUND, times=3), *every(MINUTE, TIMED_OUT, start=180, times=5), Step(480, "starting")],
         480, 8),
        ("unreachable while stuck, which it does not end",
         [*every(HOUR, "starting", times=2), *every(MINUTE, TIMED_OUT, start=HOUR + 60, times=5),
          Step(HOUR + 360, "starting")], 300, 5),
    ],
)  # fmt: skip
def test_recovered_says_for_how_long_the_trouble_lasted_that_it_ends(
    what: str, seen: list[Step], since: float, count: int
) -> None:
    notice = last_notice(*seen)
    assert (notice.event, notice.since) == ("recovered", since)
    assert notice.count == count
    assert notice.detail in (TIMED_OUT.reason, NOT_FOUND.reason)


def test_an_incident_is_told_with_whose_it_is_and_why_and_ends_with_how_long_and_how_many_watches() -> None:
    began, ended = incident_notice(INCIDENT, NOW), incident_over_notice(INCIDENT, START + HOUR, NOW + HOUR)
    assert (began.event, began.key, began.time, began.count) == (Event.INCIDENT, None, NOW, 50)
    assert (ended.event, ended.key, ended.time, ended.count) == (Event.INCIDENT_OVER, None, NOW + HOUR, 50)
    assert ended.since == HOUR
    assert "cometapi" in began.name
    assert ended.name == began.name
    assert "invalid token" in (began.detail or "")


@pytest.mark.parametrize(
    ("kind", "subject", "name"),
    [
        (IncidentKind.API, "cometapi", "account cometapi"),
        (IncidentKind.CHANNEL, "team", "channel team"),
        (IncidentKind.CHANNEL, "mail o…l@example.com~5f3c9a01", "channel mail (o…l@example.com)"),
        (IncidentKind.CHANNEL, "bot #a~b~5f3c9a01", "channel bot (#a~b)"),
    ],
)
def test_what_an_incident_is_about_is_named_for_people(kind: IncidentKind, subject: str, name: str) -> None:
    incident = Incident(kind, subject, NOW, "so it is")
    assert incident_notice(incident, NOW).name == name
    assert incident_over_notice(incident, NOW, NOW).name == name
