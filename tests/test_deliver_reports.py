"""What a lane reports: that its channel's address is gone, and what was given up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from notifier.model import Address, Event, Notice
from notifier.store import Store
from tests.deliver_bench import DAY, DOWN, GONE, HOUR, REFUSED, START, TEAM, Bench

GONE_IN_FULL = "HTTP 404: no_service (the address is gone: a new one is needed)"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Store.open(f"sqlite:///{tmp_path}/n.db", daemon=True, now=START) as store:
        yield Bench(store)


# --- an address that is gone ---------------------------------------------------------------------------------------


def test_an_address_that_is_gone_is_reported_at_once_when_it_says_so_a_second_time(bench: Bench) -> None:
    bench.tell("a")
    bench.wire.rule = lambda words: GONE
    bench.run(3)
    assert bench.reports.said == []
    bench.run(4)
    assert bench.reports.said == [(f"team fails: {GONE_IN_FULL}, 1 held", START)]
    assert bench.last_errors() == {GONE_IN_FULL}
    bench.run(DAY)
    assert len(bench.reports.said) == 1
    assert len(bench.wire.tried) > 20  # it is tried by the list all the same: somebody may put the address back
    bench.wire.rule = lambda words: None
    bench.run(2 * HOUR)
    assert bench.reports.said[1:] == [("team works", None)]


def test_an_answer_in_between_that_it_is_there_is_believed_too(bench: Bench) -> None:
    bench.tell("a")
    bench.wire.script = [GONE, DOWN, GONE, None]
    bench.run(300)
    assert bench.reports.said == []


def test_that_the_address_of_a_channel_in_trouble_is_gone_is_news(bench: Bench) -> None:
    bench.tell("a")
    bench.wire.rule = lambda words: DOWN
    bench.run(700)
    bench.wire.rule = lambda words: GONE
    bench.run(DAY)
    assert [said for said, _ in bench.reports.said] == [
        "team fails: HTTP 503, 1 held",
        f"team fails: {GONE_IN_FULL}, 1 held",
    ]
    assert {since for _, since in bench.reports.said} == {START}


def test_that_the_address_is_gone_is_never_a_messages_fault(bench: Bench) -> None:
    bench.tell("a")
    bench.wire.script = [DOWN]
    bench.run()
    bench.tell("b")
    bench.run(60)
    bench.tell("c")
    bench.wire.rule = lambda words: GONE
    bench.run(DAY)
    assert bench.states()["c"][0] == "waiting"
    assert not any("was refused" in words.body for _, words in bench.wire.tried)


def test_a_channel_that_got_a_new_address_is_not_held_to_be_gone(bench: Bench) -> None:
    bench.tell("a")
    bench.wire.script = [GONE, GONE]
    bench.run()
    bench.configure(events=frozenset({"all", "failed"}))
    bench.run(1)
    assert bench.reports.said == []


# --- given up ------------------------------------------------------------------------------------------------------


def test_a_message_that_is_given_up_while_others_pass_is_reported_each_time(bench: Bench) -> None:
    bench.wire.rule = lambda words: REFUSED if "poison" in words.body else None
    for name in ("poison1", "good1", "poison2", "good2"):
        bench.tell(name)
        bench.run()
    bench.run(60)
    assert bench.reports.said == [("team never took 1: HTTP 400: invalid_payload", None)] * 2


def test_what_an_outage_makes_give_up_is_reported_once_until_the_channel_works_again(bench: Bench) -> None:
    # Probed often, so that whatever the chance in the waits is, one falls between the first ones' end and the later's.
    bench.configure(give_up_after=2 * HOUR, incident_after=10 * DAY, retry_after=(600.0,))
    bench.wire.rule = lambda words: DOWN
    for round_ in range(2):
        for number in range(230):
            bench.tell(f"p{round_}{number:03}")
        bench.run(HOUR)
        bench.tell(f"later{round_}")
        bench.run(4 * HOUR)
        assert bench.store.waiting_addresses() == {}
        bench.tell(f"good{round_}")
        bench.wire.script = [None]
        bench.run(HOUR)
    assert [said for said, _ in bench.reports.said] == [
        "team never took 230: HTTP 503",
        "team gave up 231 meanwhile, 230 told: HTTP 503",
    ] * 2


def test_it_is_reported_after_it_was_recorded(bench: Bench) -> None:
    bench.configure(give_up_after=60.0, retry_after=(40.0,))
    bench.tell("a")
    bench.wire.rule = lambda words: DOWN
    states: list[str] = []
    bench.reports.gave_up = lambda *_, works: states.append(bench.states()["a"][0])  # type: ignore[method-assign]
    bench.run(HOUR)
    assert states == ["given_up"]


def test_of_a_notice_of_trouble_that_is_given_up_nobody_hears(bench: Bench) -> None:
    """Else two channels that take nothing would tell of each other for ever."""
    bench.configure(give_up_after=60.0, retry_after=(40.0,))
    trouble = Notice("abcdefghij", Event.INCIDENT, START, name="channel mail", detail="HTTP 503")
    bench.store.record_notice(trouble, (TEAM,), bench.now)
    bench.wire.rule = lambda words: DOWN
    bench.run(HOUR)
    assert [each.state for row in bench.rows() for each in row.deliveries] == ["given_up"]
    assert bench.reports.said == []


def test_each_recipient_is_reported_for_itself(bench: Bench) -> None:
    bench.configure(give_up_after=60.0, retry_after=(40.0,))
    anna = Address("team", "anna")
    lane = bench.new_lane(anna)
    bench.tell("a", to=anna)
    bench.tell("b")
    bench.wire.rule = lambda words: DOWN if "a" in words.title.split(":")[0] else None
    bench.run(HOUR, [bench.lane, lane])
    assert bench.states() == {"a": ("given_up", 3), "b": ("sent", 1)}
    assert [said for said, _ in bench.reports.said] == ["team never took 1: HTTP 503"]


# --- what keeps messages from all channels is over ---------------------------------------------------------------


def test_a_channel_that_fails_is_tried_at_once_when_it_may_work_again(bench: Bench) -> None:
    bench.wire.script = [DOWN] * 4
    bench.tell("a")
    bench.run(300)  # the next probe is due ten minutes after the last
    sent = len(bench.wire.sent)
    bench.lane.try_again()
    bench.run(1)
    assert len(bench.wire.sent) == sent + 1


def test_an_incident_that_outlasts_what_it_was_taken_for_is_reported_again(bench: Bench) -> None:
    bench.wire.rule = lambda words: DOWN
    bench.tell("a")
    bench.run(700)
    before = list(bench.reports.said)
    bench.lane.try_again()
    bench.run(1)
    assert bench.reports.said[len(before) :] == before
    bench.wire.rule = lambda words: None
    bench.lane.try_again()
    bench.run(1)
    bench.lane.try_again()
    bench.run(60)
    assert len(bench.reports.said) == 2 * len(before) + 1


def test_to_try_again_a_channel_that_works_changes_nothing(bench: Bench) -> None:
    bench.tell("a")
    bench.run(1)
    bench.lane.try_again()
    bench.run(1)
    assert len(bench.wire.sent) == 1
    assert bench.reports.said == []


# --- counts --------------------------------------------------------------------------------------------------------


def test_each_attempt_and_each_end_of_a_delivery_is_counted(bench: Bench) -> None:
    bench.tell("a")
    bench.wire.script = [DOWN, DOWN, None]
    bench.run(HOUR)
    assert bench.reports.counts == {"failed": 2, "sent": 1}
    bench.configure(digest_over=1)
    for prediction in ("b", "c", "d"):
        bench.tell(prediction)
    bench.run(HOUR)
    assert len(bench.wire.sent) == 2
    assert bench.reports.counts == {"failed": 2, "sent": 4}


def test_what_is_given_up_is_counted(bench: Bench) -> None:
    bench.tell("a")
    bench.tell("b")
    bench.wire.rule = lambda words: DOWN
    bench.run(4 * DAY)
    assert bench.reports.counts["given_up"] == 2
    assert bench.reports.counts["failed"] == len(bench.wire.tried)
