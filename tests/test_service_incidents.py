"""The keeper in trouble: accounts, channels and the store that fail, and who hears of it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from notifier.errors import StoreError, StoreWriteError
from notifier.model import Address, Channel, Config, Delivery, Event, Incident, IncidentKind, Key, Notice, Secret
from notifier.service import ledger
from notifier.service.audience import Audience
from notifier.service.keeper import Answered
from tests.builders import a_notice
from tests.standins.api import as_response, plain, problem
from tests.standins.asker import until
from tests.test_service_keeper import ABC, API, BUSY, LINK, MISSING, REFUSED, START, Bench, running, watch

A = Key("here", "a")


def full(*_: object, **__: object) -> None:
    raise StoreWriteError("the disk is full")


def reload(bench: Bench, config: Config) -> None:
    bench.keeper.post(lambda: bench.apply(config))
    bench.settle()


# --- what is recorded, and when ----------------------------------------------------------------------------------


def test_that_nothing_can_be_written_is_known_before_there_is_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "WRITES_AT_LEAST_EVERY", 0.1)
    monkeypatch.setattr(ledger, "POLLS_EVERY", 0.1)
    with running(tmp_path, [watch("a")]) as bench:
        with monkeypatch.context() as broken:
            broken.setattr(bench.store, "touch", full)
            until(lambda: bench.keeper.store_trouble is not None)
        until(lambda: bench.keeper.store_trouble is None)


def test_what_is_told_is_recorded_before_a_lane_is_woken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting: list[int] = []
    with running(tmp_path, [watch("a")]) as bench:
        genuine = bench.lanes.wake

        def wake(addresses: Iterable[Address]) -> None:
            addresses = list(addresses)
            waiting.extend(len(bench.store.waiting(address, limit=9, now=bench.now)) for address in addresses)
            genuine(addresses)

        monkeypatch.setattr(bench.lanes, "wake", wake)
        bench.answer("a", plain("a", "failed", error="no"))
        assert waiting == [1]
        assert bench.store.load_states(bench.now)[A].status == "failed"
        bench.wait_for(1)


def test_a_mistake_of_ours_between_deciding_and_recording_loses_no_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    with running(tmp_path, [watch("a")]) as bench:
        bench.answer("a", plain("a", "processing"))
        with monkeypatch.context() as patch:
            patch.setattr(Audience, "of_notice", broken)
            bench.answer("a", plain("a", "failed", error="no"))
        bench.answer("a", plain("a", "failed", error="no"))
        assert bench.wait_for(1) == ["team: ❌ a: failed"]
    assert caplog.text.count("mistake in the program") == 1


def test_a_store_that_cannot_be_read_for_a_moment_costs_no_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path, [watch("a")]) as bench:
        for _ in range(3):
            bench.answer("a", MISSING)
            bench.now += 61
        bench.wait_for(1)
        with monkeypatch.context() as patch:
            patch.setattr(bench.store, "addresses_told", full)
            bench.answer("a", plain("a", "processing"))
            bench.keeper.post(full)
            bench.settle()
        assert bench.keeper.alive
        bench.answer("a", plain("a", "processing"))
        assert bench.wait_for(2)[1] == "team: 💚 a: recovered"


def test_a_damaged_store_ends_the_keeper_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> None:
        raise StoreError("the store is damaged")

    with running(tmp_path, [watch("a")]) as bench:
        monkeypatch.setattr(bench.store, "record", damaged)
        bench.keeper.put(Answered(A, bench.now, as_response(plain("a", "failed"))))
        bench.keeper._thread.join(10)
        assert not bench.keeper.alive
        assert str(bench.keeper.fatal) == "the store is damaged"


# --- a full disk -------------------------------------------------------------------------------------------------


def test_a_full_disk_is_told_of_although_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path, [watch("a")]) as bench:
        bench.settle()
        with monkeypatch.context() as patch:
            patch.setattr(bench.store, "touch", full)
            for _ in range(3):
                bench.answer("a", plain("a", "processing"))
                bench.keeper.post(bench.keeper._write_polls)
                bench.settle()
        bench.keeper.post(bench.keeper._write_polls)
        assert bench.wait_for(2) == ["team: 🚨 store n.db: in trouble", "team: 🟢 store n.db: works again"]
        assert bench.store.open_incidents() == []
        assert len(bench.posts) == 2


def test_recovered_goes_where_the_trouble_will_be_told_when_the_disk_has_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path, [watch("a", events=frozenset({"lost"}), channels=("mail",))]) as bench:
        with monkeypatch.context() as patch:
            patch.setattr(bench.store, "record", full)
            for _ in range(3):
                bench.answer("a", MISSING)
                bench.now += 61
            bench.answer("a", plain("a", "processing"))
        bench.answer("a", plain("a", "processing"))
        bench.wait_for(3)
        told = [row for row in bench.store.history(None, 9) if row.key]
        assert [(row.event, [each.address.channel for each in row.deliveries]) for row in told] == [
            ("lost", ["mail"]),
            ("recovered", ["mail"]),
        ]


def test_changes_are_written_in_their_order_when_the_disk_has_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path, [watch("a")]) as bench:
        with monkeypatch.context() as patch:
            patch.setattr(bench.store, "record", full)
            patch.setattr(bench.store, "open_incident", full)
            for status in ("starting", "processing"):
                bench.answer("a", plain("a", status))
            bench.keeper.post(lambda: bench.keeper.begin_incident(Incident(IncidentKind.API, "here", START, "no")))
            bench.answer("a", plain("a", "succeeded", output=LINK))
            assert bench.events() == []
        bench.answer("a", plain("a", "succeeded", output=LINK))
        assert [row for row in bench.events() if row[1]] == [
            ("status", "a", "processing"),
            ("status", "a", "succeeded"),
        ]
        assert [each.kind for each in bench.store.open_incidents()] == [IncidentKind.API]


# --- accounts ----------------------------------------------------------------------------------------------------


def test_an_answer_to_a_question_that_was_asked_with_the_old_token_says_nothing(tmp_path: Path) -> None:
    with running(tmp_path, [watch("a")]) as bench:
        bench.table.take()
        bench.now += 5
        reload(bench, bench.configuration([watch("a")], [replace(API, token=Secret("another"))]))
        bench.answer("a", REFUSED, asked=0)
        assert bench.events() == []
        assert bench.store.open_incidents() == []
        assert bench.table.seconds_to(A) == 25.0
        bench.now += 25
        bench.answer("a", REFUSED)
        assert [each.kind for each in bench.store.open_incidents()] == [IncidentKind.API]


def test_a_new_token_and_new_operators_at_once_tell_the_new_ones(tmp_path: Path) -> None:
    with running(tmp_path, [watch("a")]) as bench:
        bench.answer("a", REFUSED)
        bench.wait_for(1)
        config = bench.configuration([watch("a")], [replace(API, token=Secret("another"))])
        reload(bench, replace(config, operators=("mail",)))
        assert bench.wait_for(2)[1] == "mail: 🟢 account here: works again"


def test_failures_that_an_incident_forgives_are_forgiven_after_a_restart_too(tmp_path: Path) -> None:
    with running(tmp_path, ABC) as bench:
        for _ in range(4):
            for name in "abc":
                bench.answer(name, BUSY)
            bench.now += 30
        bench.keeper.post(bench.keeper._write_polls)
        bench.settle()
        assert {state.failures for state in bench.store.load_states(bench.now).values()} == {4}
        bench.answer("a", BUSY)
        assert [each.kind for each in bench.store.open_incidents()] == [IncidentKind.API]
        assert {state.failures for state in bench.store.load_states(bench.now).values()} == {0}


def test_an_incident_takes_nothing_from_a_watch_that_was_told_unreachable_before(tmp_path: Path) -> None:
    with running(tmp_path, ABC) as bench:
        for _ in range(6):
            bench.answer("a", BUSY)
            bench.answer("b", plain("b", "processing"))
            bench.now += 30
        assert bench.events() == [("unreachable", "a", None)]
        for _ in range(6):
            for name in "abc":
                bench.answer(name, BUSY)
            bench.now += 30
        bench.answer("a", plain("a", "processing"))
        bench.wait_for(4)
        (body,) = [words.body for _, words in bench.posts if "recovered" in words.title]
        assert "6 minutes" in body


def test_answers_for_an_account_that_was_removed_are_nobodys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = replace(API, name="other")
    with running(tmp_path, [watch("a"), watch("x", api="other")], [API, other]) as bench:
        assert len(bench.table.take()) == 2
        bench.answer("x", REFUSED, api="other")
        assert len(bench.store.open_incidents()) == 1
        bench.table.take()
        reload(bench, bench.configuration([watch("a")]))
        assert bench.store.open_incidents() == []
        bench.answer("x", plain("x", "failed", error="no"), api="other")
        bench.answer("a", plain("a", "failed", error="no"))
        assert [row for row in bench.events() if row[1]] == [("status", "a", "failed")]
    assert "mistake" not in caplog.text


# --- channels and edits ------------------------------------------------------------------------------------------


def channel_incident(subject: str) -> Incident:
    return Incident(IncidentKind.CHANNEL, subject, START, "refused", count=3)


@pytest.mark.parametrize(
    ("operators", "failing", "hears"),
    [
        (("team", "mail"), "team", ["mail"]),
        (("team", "mail"), "mail", ["team"]),
        (("mail",), "team", ["mail"]),
        (("team",), "team", ["mail"]),  # nobody would hear of it otherwise
    ],
)
def test_the_other_channels_hear_of_a_channel_that_fails(
    tmp_path: Path, operators: tuple[str, ...], failing: str, hears: list[str]
) -> None:
    with running(tmp_path, []) as bench:
        reload(bench, replace(bench.config, operators=operators))
        bench.keeper.post(lambda: bench.keeper.begin_incident(channel_incident(failing)))
        bench.keeper.post(lambda: bench.keeper.end_incident(IncidentKind.CHANNEL, failing))
        bench.wait_for(2)
        assert [channel for channel, _ in bench.posts] == hears * 2


@pytest.mark.parametrize(
    ("channels", "works", "hears"),
    [
        (("team", "mail"), True, ["mail"]),
        (("team", "mail"), False, ["mail"]),
        (("team",), True, ["team"]),
        (("team",), False, []),
    ],
)
def test_whoever_hears_of_trouble_hears_of_what_was_given_up_else_the_channel_itself_once_it_works(
    channels: tuple[str, ...], works: bool, hears: list[str]
) -> None:
    named = {name: Channel(name, Secret("json://x")) for name in channels}
    config = Config(Path("c.yaml"), (), {}, named, operators=channels, watches=(), store="")
    audience = Audience(config, {name: (Address(name, ""),) for name in channels})
    assert [address.channel for address in audience.of_given_up("team", works=works)] == hears


@pytest.mark.parametrize(
    ("operators", "told", "hears"),
    [
        (("mail",), 1, [("mail", "2 notices")]),  # of the first it has heard
        (("mail",), 3, []),
        ((), 1, [("team", "3 notices")]),
    ],
)
def test_what_was_given_up_in_an_outage_is_all_told_at_the_latest_when_the_channel_works_again(
    tmp_path: Path, operators: tuple[str, ...], told: int, hears: list[tuple[str, str]]
) -> None:
    with running(tmp_path, []) as bench:
        if not operators:
            only = {"team": bench.config.channels["team"]}
            reload(bench, replace(bench.config, channels=only, operators=("team",)))
        else:
            reload(bench, replace(bench.config, operators=operators))
        notices = [Notice(f"n{number}", Event.STATUS, START, Key("api", "a")) for number in range(3)]
        gave_up = [Delivery(n, each, Address("team", ""), 3, START, START) for n, each in enumerate(notices)]
        bench.keeper.post(
            lambda: bench.keeper.tell_given_up_meanwhile(Address("team", ""), gave_up, "HTTP 500", told=told)
        )
        bench.settle()
        bench.wait_for(len(hears))
        assert [(channel, words.body.split(",")[0]) for channel, words in bench.posts] == hears


def test_an_incident_of_a_recipient_that_is_gone_is_closed(tmp_path: Path) -> None:
    with running(tmp_path, []) as bench:
        for subject in ("mail o…l@example.com~5f3c9a01", "team"):
            incident = channel_incident(subject)
            bench.keeper.post(lambda incident=incident: bench.keeper.begin_incident(incident))  # type: ignore[misc]
        bench.settle()
        assert len(bench.store.open_incidents()) == 2
        reload(bench, bench.config)
        assert [each.subject for each in bench.store.open_incidents()] == ["team"]
        bench.wait_for(1)


def test_the_same_trouble_again_is_news_but_began_when_it_began_and_is_told_once(tmp_path: Path) -> None:
    with running(tmp_path, []) as bench:
        for seconds, detail in ((0, "unknown key"), (600, "no such channel")):
            incident = Incident(IncidentKind.CONFIG, "config.yaml", START + seconds, detail)
            bench.keeper.post(lambda incident=incident: bench.keeper.begin_incident(incident))  # type: ignore[misc]
        bench.settle()
        (known,) = bench.store.open_incidents()
        assert (known.since, known.detail) == (START, "no such channel")
        bench.now += 7200
        bench.keeper.post(lambda: bench.keeper.end_incident(IncidentKind.CONFIG, "config.yaml"))
        bench.keeper.post(lambda: bench.keeper.end_incident(IncidentKind.CONFIG, "config.yaml"))
        bench.settle()
        bench.wait_for(2)
        assert "2 hours" in bench.posts[1][1].body
        assert [row[0] for row in bench.events()] == ["incident", "incident_over"]


def test_a_watch_that_comes_back_after_longer_than_watch_for_is_not_let_go_at_once(tmp_path: Path) -> None:
    week = [watch("a", watch_for=600.0, stuck_after=7200.0)]
    with running(tmp_path, week) as bench:
        bench.answer("a", plain("a", "processing"))
        reload(bench, bench.configuration([]))
        bench.now += 3600
        reload(bench, bench.config)
        bench.answer("a", plain("a", "processing"))
        assert bench.events() == []
        bench.now += 601
        bench.answer("a", plain("a", "processing"))
        assert bench.events() == [("let_go", "a", "processing")]


# --- changed lists -----------------------------------------------------------------------------------------------


def test_recovered_follows_the_trouble_where_the_watch_tells_nothing_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the trouble waits for room on the disk; but not to a channel that is gone."""
    with running(tmp_path, [watch("a", channels=("mail", "team"))]) as bench:
        with monkeypatch.context() as patch:
            patch.setattr(bench.store, "record", full)
            for _ in range(3):
                bench.answer("a", MISSING)
                bench.now += 61
            without = bench.configuration([watch("a", channels=())])
            reload(bench, replace(without, channels={"mail": without.channels["mail"]}))
            bench.answer("a", plain("a", "processing"))
        bench.answer("a", plain("a", "processing"))
        told = {row.event: row.deliveries for row in bench.store.history(None, 9) if row.key}
        assert [each.address.channel for each in told["lost"]] == ["mail", "team"]
        assert [each.address.channel for each in told["recovered"]] == ["mail"]


def test_a_watch_that_is_removed_and_added_again_at_once_keeps_what_was_just_seen(tmp_path: Path) -> None:
    with running(tmp_path, [watch("a")]) as bench:
        bench.table.take()
        gate = threading.Event()

        def wait() -> None:
            assert gate.wait(10)

        bench.keeper.post(wait)
        bench.keeper.put(Answered(A, bench.now, as_response(plain("a", "failed", error="no"))))
        bench.keeper.post(lambda: bench.apply(bench.configuration([])))
        bench.keeper.post(lambda: bench.apply(bench.config))
        gate.set()
        bench.settle()
        assert bench.table.seconds_to(A) is None
        assert bench.events() == [("status", "a", "failed")]


def test_changed_rules_of_a_watch_are_gone_by_at_once(tmp_path: Path) -> None:
    short = watch("a", watch_for=60.0, stuck_after=9000.0)
    with running(tmp_path, [short, watch("b")]) as bench:
        bench.table.take()
        bench.answer("b", plain("b", "processing"))
        bench.now += 61
        bench.answer("a", plain("a", "processing"))
        assert bench.table.seconds_to(A) is None
        longer = watch("a", watch_for=3600.0, stuck_after=9000.0)
        reload(bench, bench.configuration([longer, watch("b", interval=100.0)]))
        assert sorted(bench.table.take()) == [A, Key("here", "b")]
        bench.answer("b", plain("b", "processing"))
        assert bench.table.seconds_to(Key("here", "b")) == 100.0
        reload(bench, bench.configuration([longer, watch("b", interval=40.0)]))
        assert bench.table.seconds_to(Key("here", "b")) == 40.0
        reload(bench, bench.configuration([short, watch("b", interval=40.0)]))
        assert bench.table.seconds_to(A) is None


def test_a_reload_that_changes_no_list_needs_no_room_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tmp_path, [watch("a")]) as bench:
        monkeypatch.setattr(bench.store, "relist", full)
        bench.table.take()
        bench.answer("a", plain("a", "processing"))
        reload(bench, bench.configuration([watch("a", interval=7.0)]))
        assert bench.table.seconds_to(A) == 7.0


# --- waiting -----------------------------------------------------------------------------------------------------


def test_a_429_holds_the_account_and_a_word_with_any_other_failure_the_watch(tmp_path: Path) -> None:
    with running(tmp_path, [*ABC, watch("d")]) as bench:
        bench.table.take()
        bench.answer("b", problem(503, detail="busy", Retry_After="400"))
        bench.answer("a", problem(429, detail="slow down", Retry_After="300"))
        assert bench.table.seconds_to(Key("here", "b")) == 400.0
        bench.answer("c", plain("c", "processing"))
        bench.answer("d", plain("d", "processing"))
        bench.now += 299
        assert bench.table.take() == []
        bench.now += 1
        (scout,) = bench.table.take()
        bench.answer(scout.id, plain(scout.id, "processing"))
        bench.now += 1
        assert sorted([scout, *bench.table.take()]) == [Key("here", name) for name in "acd"]
        bench.now += 100
        assert Key("here", "b") in bench.table.take()


# --- who hears ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("watch_events", "channel_events", "names", "hears"),
    [
        ({"all"}, {"all"}, {"status", "failed"}, True),
        ({"status"}, {"failed"}, {"status", "failed"}, True),
        ({"error"}, {"all"}, {"status", "failed"}, False),
        ({"all"}, {"error"}, {"status", "failed"}, False),
        ({"error"}, {"error"}, {"status", "failed", "error"}, True),
    ],
)
def test_both_event_lists_must_let_a_notice_through(
    tmp_path: Path, watch_events: set[str], channel_events: set[str], names: set[str], *, hears: bool
) -> None:
    team = Channel("team", Secret("json://x"), events=frozenset(channel_events))
    config = Config(tmp_path, (), {}, {"team": team}, (), (), "sqlite://")
    audience = Audience(config, {"team": (Address("team", ""),)})
    listed = watch("a", events=frozenset(watch_events))
    assert audience.of_notice(listed, a_notice(*names)) == ((Address("team", ""),) if hears else ())
