"""What the store keeps: states with the notices owed for them, deliveries and what became of them."""

from __future__ import annotations

import dataclasses
import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from notifier.model import Address, Delivery, DeliveryState, Event, Incident, IncidentKind, Key, Notice, State
from notifier.store import Change, Health, Polled, Pruned, Resent, Store

NOW = 1_800_000_000.0
DAY = 86400.0
TEAM = Address("team", "")
ANNA = Address("mail", "anna")
BEN = Address("mail", "ben")
KEY = Key("cometapi", "aaa")
RUNNING = State(watched_since=NOW, status="processing", status_since=NOW)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/notifier.db"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as store:
        yield store


def notice(number: int = 1, key: Key | None = KEY, time: float = NOW) -> Notice:
    return Notice(f"n{number}", Event.STATUS, time, key, status="succeeded", error=f"error {number}", why="it changed")


def owe(store: Store, *addresses: Address, number: int = 1, now: float = NOW) -> list[Delivery]:
    """A notice of KEY recorded for these addresses; its deliveries."""
    return store.record([Change(KEY, RUNNING, ((notice(number, time=now), addresses),))], now)


def ids(deliveries: list[Delivery]) -> list[int]:
    return [delivery.id for delivery in deliveries]


# --- states ----------------------------------------------------------------------------------------------------------

FULL = State(
    watched_since=NOW - 1,
    status="succeeded",
    status_since=NOW - 2,
    final_at=NOW - 3,
    error="it failed, \N{SNOWMAN}",
    has_output=True,
    output=("https://a.example/1?sig=x", "https://a.example/2"),
    done=True,
    let_go=True,
    failures=4,
    failing_since=NOW - 5,
    failure="HTTP 500",
    not_found=6,
    not_found_since=NOW - 7,
    troubles=("stuck", "unreachable"),
    trouble_since=NOW - 8,
    unknown=("queued",),
    notices=9,
)


def test_every_field_of_a_state_comes_back_after_a_restart(url: str) -> None:
    defaults = State(watched_since=NOW)
    same = [f.name for f in dataclasses.fields(State) if getattr(FULL, f.name) == getattr(defaults, f.name)]
    assert not same, "the example must differ from the defaults in every field"

    with Store.open(url) as store:
        store.record([Change(KEY, FULL), Change(Key("replicate", "aaa"), defaults)], NOW)
    with Store.open(url) as store:
        assert store.load_states(NOW) == {KEY: FULL, Key("replicate", "aaa"): defaults}


def test_a_later_state_replaces_an_earlier_one(store: Store) -> None:
    store.record([Change(KEY, FULL)], NOW)
    store.record([Change(KEY, RUNNING), Change(KEY, State(NOW, "failed"))], NOW)
    assert store.load_states(NOW) == {KEY: State(NOW, "failed")}


def test_times_in_the_future_are_read_as_now(store: Store) -> None:
    store.record([Change(KEY, FULL)], NOW)
    earlier = NOW - 1000
    state = store.load_states(earlier)[KEY]
    assert state == dataclasses.replace(
        FULL,
        watched_since=earlier,
        status_since=earlier,
        final_at=earlier,
        failing_since=earlier,
        not_found_since=earlier,
        trouble_since=earlier,
    )


def test_a_touch_writes_how_polls_fail_and_nothing_else_of_a_state(store: Store) -> None:
    """What `record` could not write must not become known without its notices."""
    store.record([Change(KEY, RUNNING)], NOW)
    unwritten = dataclasses.replace(FULL, status="failed")
    store.touch([Polled(KEY, unwritten, last_polled=NOW + 1, next_poll=NOW + 31)])

    (row,) = store.watches_overview()
    assert row.state == dataclasses.replace(
        RUNNING, failures=4, failing_since=NOW - 5, failure="HTTP 500", not_found=6, not_found_since=NOW - 7
    )
    assert (row.last_polled, row.next_poll) == (NOW + 1, NOW + 31)


def test_a_touch_passes_over_a_watch_that_was_never_recorded(store: Store) -> None:
    store.touch([Polled(KEY, RUNNING, NOW, None)])
    store.touch([])
    assert store.watches_overview() == []


def test_a_record_keeps_when_the_watch_was_polled(store: Store) -> None:
    store.record([Change(KEY, RUNNING)], NOW)
    store.touch([Polled(KEY, RUNNING, NOW, NOW + 30)])
    store.record([Change(KEY, FULL)], NOW)
    (row,) = store.watches_overview()
    assert (row.state, row.last_polled, row.next_poll) == (FULL, NOW, NOW + 30)


def test_text_that_sqlite_cannot_store_does_not_hold_up_the_others(store: Store) -> None:
    lone = "a\ud800b"
    odd = Notice("n1", Event.STATUS, NOW, KEY, name=lone, status=lone, error=lone, why=lone, detail="\ud800", logs=lone)
    (delivery,) = store.record([Change(KEY, State(NOW, error=lone, failure=lone), ((odd, (TEAM,)),))], NOW)
    store.mark_failed([delivery.id], due_at=NOW, reason=lone)
    assert store.load_states(NOW)[KEY].error == "a?b"
    (read,) = store.waiting(TEAM, limit=10, now=NOW)
    assert (read.notice.name, read.notice.error, read.last_error) == ("a?b", "a?b", "a?b")


def test_a_damaged_state_is_left_out_and_logged_and_the_others_are_read(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    others = [Key("cometapi", "bbb"), Key("cometapi", "ccc")]
    store.record([Change(key, FULL) for key in (KEY, *others)], NOW)
    with closing(sqlite3.connect(store.path)) as raw, raw:
        raw.execute("UPDATE watches SET output = '[\"https' WHERE id = 'aaa'")
        raw.execute("UPDATE watches SET error = CAST(x'61ff62' AS TEXT) WHERE id = 'bbb'")

    with caplog.at_level(logging.WARNING):
        states = store.load_states(NOW)
    assert list(states) == others
    assert states[others[0]].error == "a\N{REPLACEMENT CHARACTER}b"
    assert "left out api=cometapi id=aaa" in caplog.text
    assert [row.key for row in store.watches_overview()] == others


# --- the list --------------------------------------------------------------------------------------------------------

KEYS = [Key(api, f"id{number}") for api in ("cometapi", "replicate") for number in range(600)]


def test_many_watches_are_recorded_and_read_by_key(store: Store) -> None:
    assert store.record([Change(key, RUNNING) for key in KEYS], NOW) == []
    assert store.load_states(NOW) == dict.fromkeys(KEYS, RUNNING)
    wanted = [*KEYS[:550], Key("cometapi", "never seen"), Key("elsewhere", "id1")]
    assert store.load_states(NOW, wanted) == dict.fromkeys(KEYS[:550], RUNNING)
    assert store.load_states(NOW, []) == {}


def test_a_watch_that_leaves_the_list_is_known_when_it_comes_back(store: Store) -> None:
    store.record([Change(key, RUNNING) for key in KEYS], NOW)
    stay, leave = KEYS[:5], KEYS[5:]

    assert store.keep_listed([*stay, Key("cometapi", "new")], NOW + 1) == []
    assert store.load_states(NOW) == dict.fromkeys(stay, RUNNING)
    assert {row.key: row.removed_at for row in store.watches_overview()} == {
        **dict.fromkeys(stay),
        **dict.fromkeys(leave, NOW + 1),
    }

    assert sorted(store.keep_listed(set(KEYS), NOW + 2)) == sorted(leave)
    assert store.load_states(NOW) == dict.fromkeys(KEYS, RUNNING)
    assert store.keep_listed(set(KEYS), NOW + 3) == []


def test_a_change_of_the_list_tells_what_is_known_of_those_added(store: Store) -> None:
    a, b, new = Key("cometapi", "a"), Key("cometapi", "b"), Key("cometapi", "new")
    store.record([Change(a, FULL), Change(b, RUNNING)], NOW)

    assert store.relist(added=[new], removed=[a, b], now=NOW) == {}
    assert store.load_states(NOW) == {}
    assert store.relist(added=[a], removed=[new], now=NOW + 1) == {a: FULL}
    assert store.load_states(NOW) == {a: FULL}


def test_an_answer_that_comes_after_the_removal_does_not_bring_a_watch_back(store: Store) -> None:
    store.record([Change(KEY, RUNNING)], NOW)
    store.relist(added=[], removed=[KEY], now=NOW)
    store.record([Change(KEY, FULL)], NOW)
    assert store.load_states(NOW) == {}
    assert store.load_states(NOW, [KEY]) == {KEY: FULL}


# --- the outbox ------------------------------------------------------------------------------------------------------

FULL_NOTICE = Notice(
    notice="k7f3",
    event=Event.RECOVERED,
    time=NOW,
    key=KEY,
    name="Launch \N{SNOWMAN} teaser",
    before="processing",
    status="failed",
    error='it "failed"\nbadly',
    names=frozenset({"status", "failed"}),
    why="answered again",
    detail="connection refused",
    output=("https://a.example/1?sig=x",),
    has_output=True,
    text="Once upon",
    expires=NOW + 3600,
    data_removed=True,
    took=12.5,
    metrics=(("predict_time", 11.25), ("tokens", 7)),
    logs="one\ntwo",
    since=61.0,
    count=5,
    ends=("unreachable",),
)


def test_every_fact_of_a_notice_comes_back_after_a_restart(url: str) -> None:
    defaults = Notice("x", Event.TEST, 0.0)
    same = [f.name for f in dataclasses.fields(Notice) if getattr(FULL_NOTICE, f.name) == getattr(defaults, f.name)]
    assert same == ["files"], "the example must differ from the defaults in every field that is recorded with it"

    with Store.open(url) as store:
        made = store.record([Change(KEY, RUNNING, ((FULL_NOTICE, (TEAM,)),))], NOW)
        made += store.record_notice(defaults, (TEAM,), NOW)
    with Store.open(url) as store:
        read = store.waiting(TEAM, limit=10, now=NOW)
    assert read == made
    assert [delivery.notice for delivery in read] == [FULL_NOTICE, defaults]


def test_a_record_returns_a_delivery_for_each_notice_and_address_in_order(store: Store) -> None:
    other = Key("replicate", "bbb")
    deliveries = store.record(
        [
            Change(KEY, RUNNING, ((notice(1), (TEAM, ANNA)), (notice(2), ()))),
            Change(other, RUNNING, ((notice(3, other), (ANNA, BEN)),)),
        ],
        NOW,
    )
    assert [(one.notice.notice, one.address) for one in deliveries] == [
        ("n1", TEAM),
        ("n1", ANNA),
        ("n3", ANNA),
        ("n3", BEN),
    ]
    assert {(one.attempts, one.created_at, one.due_at, one.last_error) for one in deliveries} == {(0, NOW, NOW, None)}
    assert ids(deliveries) == sorted(set(ids(deliveries)))
    assert store.waiting_addresses() == {TEAM: 1, ANNA: 2, BEN: 1}


def test_what_waits_for_an_address_is_read_oldest_first(store: Store) -> None:
    made = [owe(store, ANNA, BEN, number=number)[0] for number in range(5)]
    assert store.waiting(ANNA, limit=3, now=NOW) == made[:3]
    assert store.waiting(ANNA, limit=100, now=NOW) == made
    assert store.waiting(TEAM, limit=100, now=NOW) == []


def test_a_state_and_its_notices_are_written_together_or_not_at_all(store: Store) -> None:
    store.record([Change(KEY, RUNNING)], NOW)
    with closing(sqlite3.connect(store.path)) as raw, raw:
        raw.execute(
            "CREATE TRIGGER no BEFORE INSERT ON deliveries WHEN NEW.channel = 'mail' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    changes = [
        Change(KEY, FULL, ((notice(1), (TEAM,)),)),
        Change(Key("cometapi", "bbb"), FULL, ((notice(2), (TEAM, ANNA)),)),
    ]
    with pytest.raises(IntegrityError, match="no"):
        store.record(changes, NOW)
    assert store.load_states(NOW) == {KEY: RUNNING}
    assert store.waiting_addresses() == {}
    assert store.history(None, 10) == []

    with closing(sqlite3.connect(store.path)) as raw, raw:
        raw.execute("DROP TRIGGER no")
    assert len(store.record(changes, NOW)) == 3
    assert store.load_states(NOW) == {KEY: FULL, Key("cometapi", "bbb"): FULL}


def test_a_delivery_that_was_sent_waits_no_more(store: Store) -> None:
    first, second, third = (owe(store, TEAM, number=number)[0].id for number in range(3))
    store.mark_sent([first, second], NOW + 1)
    store.mark_sent([], NOW + 2)
    assert ids(store.waiting(TEAM, limit=10, now=NOW)) == [third]
    assert [(d.state, d.attempts) for row in store.history(None, 10) for d in row.deliveries] == [
        (DeliveryState.SENT, 1),
        (DeliveryState.SENT, 1),
        (DeliveryState.WAITING, 0),
    ]


def test_a_failed_attempt_is_counted_with_its_reason_and_the_time_of_the_next(store: Store) -> None:
    (delivery,) = owe(store, TEAM)
    store.mark_failed([delivery.id], due_at=NOW + 5, reason="HTTP 500")
    store.mark_failed([delivery.id], due_at=NOW + 30, reason="timed out")
    (read,) = store.waiting(TEAM, limit=10, now=NOW)
    assert read == dataclasses.replace(delivery, attempts=2, due_at=NOW + 30, last_error="timed out")


def test_a_success_makes_what_waits_for_that_address_due(store: Store) -> None:
    for number in range(3):
        mine, others = owe(store, ANNA, BEN, number=number)
        store.mark_failed([mine.id, others.id], due_at=NOW + 60 * number, reason="refused")
    store.make_due(ANNA, NOW + 30)
    assert [one.due_at for one in store.waiting(ANNA, limit=10, now=NOW)] == [NOW, NOW + 30, NOW + 30]
    assert [one.due_at for one in store.waiting(BEN, limit=10, now=NOW)] == [NOW, NOW + 60, NOW + 120]


def test_a_given_up_delivery_is_kept_with_its_reason_and_blocks_nothing(store: Store) -> None:
    first, second, third = (owe(store, TEAM, number=number)[0].id for number in range(3))
    store.mark_given_up([first], wall=NOW, reason="HTTP 404")
    store.mark_given_up([second], wall=NOW, reason="the address is gone", attempted=False)
    assert ids(store.waiting(TEAM, limit=10, now=NOW)) == [third]
    given_up = [row.deliveries[0] for row in store.history(None, 10)][:2]
    assert [(one.state, one.attempts, one.last_error) for one in given_up] == [
        (DeliveryState.GIVEN_UP, 1, "HTTP 404"),
        (DeliveryState.GIVEN_UP, 0, "the address is gone"),
    ]


def test_a_resent_delivery_starts_anew_and_the_other_ids_are_told_apart(store: Store) -> None:
    given_up, sent, waits = (owe(store, TEAM, number=number)[0].id for number in range(3))
    store.mark_given_up([given_up], wall=NOW, reason="HTTP 404")
    store.mark_sent([sent], NOW)

    later = NOW + 9 * DAY
    assert store.resend([waits, 4711, given_up, sent, given_up], later) == Resent(
        put_back=(given_up,), unknown=(4711,), not_given_up=(sent, waits)
    )
    again = store.waiting(TEAM, limit=10, now=later)[0]
    assert (again.id, again.attempts, again.created_at, again.due_at, again.last_error) == (
        *(given_up, 0, later, later, "HTTP 404"),
    )
    assert store.resend([given_up], later) == Resent((), (), (given_up,))


def test_all_given_up_deliveries_can_be_resent_at_once(store: Store) -> None:
    made = [owe(store, TEAM, number=number)[0].id for number in range(4)]
    store.mark_given_up(made[1:3], wall=NOW, reason="HTTP 404")
    assert store.resend(None, NOW) == Resent(tuple(made[1:3]))
    assert store.resend(None, NOW) == Resent(())
    assert ids(store.waiting(TEAM, limit=10, now=NOW)) == made


def test_what_another_process_writes_is_noticed_once(url: str, store: Store) -> None:
    (delivery,) = owe(store, TEAM)
    store.mark_given_up([delivery.id], wall=NOW, reason="HTTP 404")
    assert not store.changed_elsewhere(), "its own writing is no news"

    with Store.open(url, create=False) as verb:
        assert not store.changed_elsewhere(), "nor is reading"
        verb.resend(None, NOW)
    assert store.changed_elsewhere()
    assert not store.changed_elsewhere()
    assert store.waiting_addresses() == {TEAM: 1}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("facts", '\'{"names":["sta\''),
        ("facts", "'[]'"),
        ("facts", "x'ff00'"),
        ("event", "'stat%s'"),
    ],
)
def test_a_notice_that_cannot_be_read_is_given_up_and_the_others_are_delivered(
    store: Store, column: str, value: str
) -> None:
    first, broken, third = (owe(store, TEAM, number=number)[0].id for number in range(3))
    with closing(sqlite3.connect(store.path)) as raw, raw:
        raw.execute(f"UPDATE notices SET {column} = {value} WHERE notice = 'n1'")

    assert ids(store.waiting(TEAM, limit=2, now=NOW)) == [first, third]
    (delivery,) = store.history(None, 10)[1].deliveries
    assert (delivery.id, delivery.state, delivery.attempts) == (broken, DeliveryState.GIVEN_UP, 0)
    assert delivery.last_error is not None
    assert "damaged" in delivery.last_error


def test_facts_of_a_field_that_is_gone_are_passed_over(store: Store) -> None:
    owe(store, TEAM)
    with closing(sqlite3.connect(store.path)) as raw, raw:
        raw.execute('UPDATE notices SET facts = \'{"colour":"red","took":2.5}\'')
    (read,) = store.waiting(TEAM, limit=2, now=NOW)
    assert read.notice.took == 2.5


def test_who_heard_of_a_trouble_can_be_asked(store: Store) -> None:
    def stuck(key: Key, event: Event, addresses: tuple[Address, ...], now: float) -> None:
        store.record([Change(key, RUNNING, ((Notice("n", event, now, key), addresses),))], now)

    stuck(KEY, Event.STUCK, (BEN, TEAM), NOW - 100)
    stuck(KEY, Event.STUCK, (ANNA,), NOW)
    stuck(KEY, Event.UNREACHABLE, (BEN, ANNA), NOW + 1)
    stuck(KEY, Event.STATUS, (TEAM,), NOW + 1)
    stuck(Key("replicate", "aaa"), Event.STUCK, (TEAM,), NOW + 1)
    assert store.addresses_told(KEY, (Event.STUCK, Event.UNREACHABLE), since=NOW) == [ANNA, BEN]
    assert store.addresses_told(KEY, (Event.STUCK,), since=NOW - 100) == [ANNA, BEN, TEAM]
    assert store.addresses_told(KEY, (Event.LOST,), since=0) == []


# --- incidents and channels ------------------------------------------------------------------------------------------


def test_an_incident_is_open_until_it_is_closed_and_its_notices_are_owed(url: str) -> None:
    trouble = Incident(IncidentKind.API, "cometapi", NOW, "HTTP 401", 12)
    older = Incident(IncidentKind.CHANNEL, "team", NOW - 5, "timed out")
    begin = Notice("i1", Event.INCIDENT, NOW, name="api cometapi")
    end = Notice("i2", Event.INCIDENT_OVER, NOW + 60, name="api cometapi", since=60.0)
    with Store.open(url) as store:
        assert [d.notice for d in store.open_incident(trouble, [(begin, (TEAM, ANNA))], NOW)] == [begin, begin]
        assert store.open_incident(older, [], NOW) == []
        assert store.open_incident(dataclasses.replace(trouble, count=15), [], NOW) == []
    with Store.open(url) as store:
        assert store.open_incidents() == [older, dataclasses.replace(trouble, count=15)]
        (over,) = store.close_incident(IncidentKind.API, "cometapi", [(end, (TEAM,))], NOW + 60)
        assert over.notice == end
        assert store.open_incidents() == [older]
        assert store.waiting_addresses() == {TEAM: 2, ANNA: 1}
        assert [row.key for row in store.history(None, 10)] == [None, None]


def test_how_an_address_fares_outlives_a_restart(url: str) -> None:
    with Store.open(url) as store:
        (_, anna, ben) = owe(store, TEAM, ANNA, BEN)
        store.note_failing(TEAM, NOW + 1)
        store.note_failing(TEAM, NOW + 2)
        store.mark_sent([anna.id], NOW + 3)
        store.note_failing(ANNA, NOW + 4)
        store.note_failing(BEN, NOW + 5)
        store.mark_sent([ben.id], NOW + 6)
    with Store.open(url) as store:
        assert store.channel_health() == {
            TEAM: Health(None, NOW + 2),
            ANNA: Health(NOW + 3, NOW + 4),
            BEN: Health(NOW + 6, None),
        }
        store.note_failing(TEAM, None)
        assert store.channel_health()[TEAM] == Health(None, None)


def test_the_overview_counts_each_channel_over_all_its_recipients(store: Store) -> None:
    (_, anna, ben) = owe(store, TEAM, ANNA, BEN)
    second = owe(store, ANNA, BEN, number=2)
    (gone,) = owe(store, Address("gone", ""), number=3)
    store.mark_sent([anna.id], NOW + 1)
    store.mark_given_up([ben.id, gone.id], wall=NOW, reason="HTTP 404")
    for delivery, reason in zip(second, ("of the oldest that waits", "of another"), strict=True):
        store.mark_failed([delivery.id], due_at=NOW, reason=reason)
    store.note_failing(BEN, NOW + 2)
    store.note_failing(ANNA, NOW + 3)
    assert [dataclasses.astuple(row) for row in store.channels_overview()] == [
        ("gone", 0, 1, None, None, None),
        ("mail", 2, 1, NOW + 1, NOW + 2, "of the oldest that waits"),
        ("team", 1, 0, None, None, None),
    ]


# --- history ---------------------------------------------------------------------------------------------------------


def test_history_shows_the_newest_notices_last_with_what_became_of_each(store: Store) -> None:
    other = Key("replicate", "bbb")
    owe(store, TEAM, ANNA, number=1)
    store.record([Change(other, RUNNING, ((notice(2, other), (TEAM,)),))], NOW)
    (team, _) = owe(store, TEAM, ANNA, number=3)
    store.mark_failed([team.id], due_at=NOW, reason="HTTP 500")

    newest = store.history(None, 2)
    assert [row.notice for row in newest] == ["n2", "n3"]
    assert [row.notice for row in store.history("aaa", 10)] == ["n1", "n3"]
    assert store.history("nobody", 10) == []

    row = newest[-1]
    assert (row.event, row.time, row.key, row.before, row.status, row.error, row.why) == (
        *(Event.STATUS, NOW, KEY, None, "succeeded", "error 3", "it changed"),
    )
    assert [(d.address, d.state, d.attempts, d.last_error) for d in row.deliveries] == [
        (TEAM, DeliveryState.WAITING, 1, "HTTP 500"),
        (ANNA, DeliveryState.WAITING, 0, None),
    ]


def test_a_notice_that_nobody_asked_for_stands_in_the_history(store: Store) -> None:
    owe(store)
    (row,) = store.history(None, 10)
    assert (row.notice, row.deliveries) == ("n1", ())


# --- time ------------------------------------------------------------------------------------------------------------


def test_deliveries_are_kept_90_days_after_their_end_and_notices_with_them(store: Store) -> None:
    sent, given_up, waits, young, newest = (owe(store, TEAM, number=number)[0].id for number in range(5))
    (partly, rest) = owe(store, TEAM, ANNA, number=5)
    owe(store, number=6)
    store.mark_sent([sent, partly.id], NOW)
    store.mark_given_up([given_up], wall=NOW, reason="HTTP 404")
    store.mark_sent([young], NOW + DAY)

    assert store.prune(NOW + 89 * DAY) == Pruned(0, 0, 0)
    assert store.prune(NOW + 90.5 * DAY) == Pruned(deliveries=3, notices=3, watches=0)
    assert {row.notice: [d.id for d in row.deliveries] for row in store.history(None, 10)} == {
        "n2": [waits],
        "n3": [young],
        "n4": [newest],
        "n5": [rest.id],
    }


def test_a_delivery_id_is_never_used_twice(store: Store) -> None:
    used = [owe(store, TEAM, number=number)[0].id for number in range(3)]
    store.mark_sent(used, NOW)
    store.prune(NOW + 100 * DAY)
    (next_one,) = owe(store, TEAM)
    assert next_one.id > max(used)


def test_what_is_known_of_a_watch_is_kept_while_listed_and_90_days_after(store: Store) -> None:
    stays, leaves = Key("cometapi", "stays"), Key("cometapi", "leaves")
    store.record([Change(stays, FULL), Change(leaves, FULL)], NOW)
    store.keep_listed([stays], NOW)
    assert store.prune(NOW + 89 * DAY) == Pruned(0, 0, 0)
    assert store.prune(NOW + 91 * DAY) == Pruned(0, 0, watches=1)
    assert store.load_states(NOW, [stays, leaves]) == {stays: FULL}


def test_a_store_from_the_future_makes_nobody_wait(url: str) -> None:
    """The clock was set back by a day while no daemon ran."""
    with Store.open(url, daemon=True, now=NOW + DAY) as store:
        (first, second) = owe(store, TEAM, ANNA, now=NOW + DAY)
        store.mark_failed([first.id], due_at=NOW + DAY + 600, reason="HTTP 500")
        store.mark_sent([second.id], NOW + DAY)
        store.note_failing(TEAM, NOW + DAY)
        store.open_incident(Incident(IncidentKind.CHANNEL, "team", NOW + DAY, "HTTP 500"), [], NOW + DAY)
    with Store.open(url, daemon=True, now=NOW) as store:
        (read,) = store.waiting(TEAM, limit=10, now=NOW)
        assert (read.created_at, read.due_at) == (NOW, NOW + 3600)
        assert store.channel_health()[TEAM].failing_since == NOW
        assert store.open_incidents()[0].since == NOW


def test_a_retry_that_is_due_within_the_hour_keeps_its_time_over_a_restart(url: str) -> None:
    with Store.open(url, daemon=True, now=NOW) as store:
        (delivery,) = owe(store, TEAM)
        store.mark_failed([delivery.id], due_at=NOW + 600, reason="HTTP 500")
    with Store.open(url, daemon=True, now=NOW + 60) as store:
        assert store.waiting(TEAM, limit=10, now=NOW)[0].due_at == NOW + 600


# --- threads ---------------------------------------------------------------------------------------------------------


def test_threads_write_side_by_side_and_readers_never_see_half_a_change(store: Store) -> None:
    rounds = 25
    seen: list[int] = []
    wrong: list[object] = []
    done = threading.Event()

    def keep(key: Key, address: Address) -> None:
        for number in range(1, rounds + 1):
            owed = tuple((notice(number, key), (address,)) for _ in range(3))
            made = store.record([Change(key, State(NOW, notices=3 * number), owed)], NOW)
            store.mark_sent(ids(made)[:1], NOW)

    def read() -> None:
        while not done.is_set():
            with store._read() as connection:
                known = connection.exec_driver_sql("SELECT id, notices FROM watches").all()
                told = connection.exec_driver_sql("SELECT id, count(*) FROM notices GROUP BY id").all()
            seen.append(len(known))
            if sorted(known) != sorted(told):
                wrong.append((known, told))

    reader = threading.Thread(target=read)
    keepers = [
        threading.Thread(target=keep, args=(Key("cometapi", name), Address(name, ""))) for name in ("a", "b", "c")
    ]
    for thread in (reader, *keepers):
        thread.start()
    for thread in keepers:
        thread.join()
    done.set()
    reader.join()
    assert not wrong
    assert max(seen, default=0) > 0
    assert set(store.waiting_addresses().values()) == {2 * rounds}
    assert len({one.id for row in store.history(None, 1000) for one in row.deliveries}) == 3 * 3 * rounds


def test_whoever_was_told_of_an_event_under_another_name_is_found_too(store: Store) -> None:
    """A prediction that is stuck and brings an error text is one notice, called `error`."""
    told = Notice("n", Event.ERROR, NOW, KEY, names=frozenset({"error", "stuck"}))
    store.record([Change(KEY, State(NOW), ((told, (TEAM,)),))], NOW)
    assert store.addresses_told(KEY, (Event.STUCK,), since=NOW) == [TEAM]
    assert store.addresses_told(KEY, (Event.LOST,), since=NOW) == []


# --- a recipient that is gone ----------------------------------------------------------------------------------------


def test_what_waits_for_a_recipient_that_is_gone_goes_to_those_who_lack_it_or_is_given_up(store: Store) -> None:
    clara = Address("mail", "c…a@example.com~3")
    owe(store, ANNA, BEN, clara)
    (_, sent) = owe(store, ANNA, BEN, number=2)
    owe(store, ANNA, number=3)
    store.mark_sent([sent.id], NOW)
    store.note_failing(ANNA, NOW - 900)
    assert store.readdress(ANNA, (BEN, clara), wall=NOW, now=NOW + 5) == (2, 1)
    assert ANNA not in store.waiting_addresses()
    assert ANNA not in store.channel_health()
    told = [
        sorted((each.address.recipient, each.state.value) for each in row.deliveries) for row in store.history(None, 10)
    ]
    assert told == [
        [("anna", "given_up"), ("ben", "waiting"), (clara.recipient, "waiting")],
        [("ben", "sent"), (clara.recipient, "waiting")],
        [("ben", "waiting"), (clara.recipient, "waiting")],
    ]
    waiting = store.waiting(clara, limit=10, now=NOW)
    assert [each.notice.notice for each in waiting] == ["n1", "n2", "n3"]
    assert (waiting[1].attempts, waiting[1].created_at, waiting[1].due_at) == (0, NOW + 5, NOW + 5)
