"""One lane over time: giving up, incidents, new starts, a store that cannot be written, changed settings, the pace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from notifier.deliver import Pacer
from notifier.errors import StoreWriteError
from notifier.model import Address, Message
from notifier.store import Store
from tests.deliver_bench import DAY, DOWN, HOUR, REFUSED, SILENT, START, TEAM, WALL_STEP, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Store.open(f"sqlite:///{tmp_path}/n.db", daemon=True, now=START) as store:
        yield Bench(store)


# --- giving up -----------------------------------------------------------------------------------------------------


def test_what_cannot_be_delivered_for_give_up_after_is_given_up_with_its_reason(bench: Bench) -> None:
    bench.tell("a")
    bench.tell("b")
    bench.wire.rule = lambda words: DOWN
    bench.run(3 * DAY - 1)
    assert {state for state, _ in bench.states().values()} == {"waiting"}
    bench.run(2 * HOUR)
    assert {state for state, _ in bench.states().values()} == {"given_up"}
    assert bench.last_errors() == {"HTTP 503"}
    assert 90 < len(bench.wire.tried) < 110  # hourly, after the first; every third time by the other as well
    assert sum(attempts for _, attempts in bench.states().values()) == len(bench.wire.tried)


def test_each_has_its_own_patience_and_what_came_later_is_tried_on(bench: Bench) -> None:
    bench.configure(give_up_after=HOUR, retry_after=(60.0,))
    bench.tell("a")
    bench.wire.rule = lambda words: DOWN
    bench.run(HOUR / 2)
    bench.tell("b")
    bench.run(HOUR / 2 + 80)
    assert (bench.states()["a"][0], bench.states()["b"][0]) == ("given_up", "waiting")
    bench.wire.rule = lambda words: None
    bench.run(80)
    assert bench.states()["b"][0] == "sent"


def test_a_whole_backlog_is_given_up_not_only_what_is_looked_at_together(bench: Bench) -> None:
    bench.configure(give_up_after=HOUR)
    for number in range(450):
        bench.tell(f"p{number:03}")
    bench.wire.rule = lambda words: DOWN
    bench.run(3 * HOUR)
    assert {state for state, _ in bench.states().values()} == {"given_up"}
    tried = len(bench.wire.tried)
    bench.run(DAY)
    assert len(bench.wire.tried) == tried


@pytest.mark.parametrize("error", [DOWN, REFUSED, SILENT])
def test_what_waited_for_the_daemon_is_not_given_up_at_the_first_failure(bench: Bench, error: Exception) -> None:
    """A machine that was off over a long holiday, and whose network is not up yet."""
    for prediction in ("a", "b", "c"):
        bench.tell(prediction)
    bench.now += 5 * DAY
    bench.lane = bench.new_lane()
    bench.wire.script = [error]
    bench.run(60)
    assert {state for state, _ in bench.states().values()} == {"sent"}


def test_what_was_refused_for_give_up_after_is_given_up(bench: Bench) -> None:
    bench.configure(give_up_after=HOUR, retry_after=(600.0,))
    bench.tell("poison")
    bench.wire.rule = lambda words: REFUSED
    bench.run(HOUR - 1)
    assert bench.states()["poison"][0] == "waiting"
    bench.run(800)
    assert bench.states()["poison"][0] == "given_up"


def test_a_given_up_delivery_that_is_put_back_is_tried_like_a_new_one(bench: Bench) -> None:
    bench.configure(give_up_after=60.0, retry_after=(30.0,))
    bench.tell("a")
    bench.wire.rule = lambda words: DOWN
    bench.run(2 * HOUR)
    assert bench.states()["a"][0] == "given_up"
    bench.store.resend(None, bench.now)
    bench.run(0.0)
    assert bench.states()["a"] == ("waiting", 1)
    bench.wire.rule = lambda words: None
    bench.run(60)
    assert bench.states()["a"] == ("sent", 2)


# --- incidents -----------------------------------------------------------------------------------------------------


def test_a_channel_that_fails_for_ten_minutes_is_reported_once_and_its_recovery_once(bench: Bench) -> None:
    bench.tell("a")
    bench.tell("b")
    bench.wire.script = [DOWN] * 6
    bench.run(599)
    assert bench.reports.said == []
    bench.run(2)
    assert bench.reports.said == [("team fails: HTTP 503, 2 held", START)]
    bench.run(3 * HOUR)
    assert bench.reports.said[1:] == [("team works", None)]


def test_each_spell_of_trouble_is_an_incident_of_its_own(bench: Bench) -> None:
    bench.configure(incident_after=60.0, retry_after=(30.0,))
    for _ in range(2):
        bench.tell("a")
        bench.wire.script = [DOWN] * 4
        bench.run(300)
    assert [said.split(":")[0] for said, _ in bench.reports.said] == ["team fails", "team works"] * 2
    assert bench.reports.said[2][1] == START + 300


def test_a_success_in_between_is_no_ten_minutes_of_failure(bench: Bench) -> None:
    bench.configure(incident_after=60.0, retry_after=(40.0,))
    bench.tell("a")
    bench.wire.script = [DOWN, None]
    bench.run(50)
    bench.tell("b")
    bench.wire.script = [DOWN, None]
    bench.run(50)
    assert bench.reports.said == []


def test_all_that_is_held_is_counted(bench: Bench) -> None:
    for number in range(230):
        bench.tell(f"p{number:03}")
    bench.wire.rule = lambda words: DOWN
    bench.run(700)
    assert bench.reports.said == [("team fails: HTTP 503, 230 held", START)]


def test_of_a_channel_with_nothing_to_send_any_more_only_what_it_never_took_is_reported(bench: Bench) -> None:
    bench.configure(give_up_after=60.0, retry_after=(30.0,))
    bench.tell("a")
    bench.wire.rule = lambda words: DOWN
    bench.run(DAY)
    assert bench.lane.step() is None
    assert bench.reports.said == [("team never took 1: HTTP 503", None)]


# --- a new start ---------------------------------------------------------------------------------------------------


def test_a_new_start_probes_a_channel_that_failed_before_once_and_then_by_the_list(bench: Bench) -> None:
    bench.tell("a")
    bench.tell("b")
    bench.wire.rule = lambda words: DOWN
    bench.run(4 * HOUR)
    tried = len(bench.wire.tried)
    assert bench.failing_since() == START
    bench.lane = bench.new_lane(failing_since=bench.failing_since(), incident_open=True)
    bench.run()
    assert bench.wire.attempts()[tried:] == ["a"]
    bench.run(37)
    assert bench.wire.attempts()[tried:] == ["a", "a", "b"]
    bench.wire.rule = lambda words: None
    bench.run(200)
    assert {state for state, _ in bench.states().values()} == {"sent"}
    assert bench.failing_since() is None
    assert [said for said, _ in bench.reports.said] == ["team fails: HTTP 503, 2 held", "team works"]


def test_the_probe_after_a_new_start_is_one_message_and_no_digest(bench: Bench) -> None:
    for number in range(20):
        bench.tell(f"p{number:02}")
    bench.lane = bench.new_lane(failing_since=START)
    bench.run()
    assert [title[:5] for title in bench.wire.titles()] == ["❌ p00", "📋 19 "]


def test_a_daemon_that_is_started_over_and_over_makes_one_attempt_each_time(bench: Bench) -> None:
    for prediction in "abc":
        bench.tell(prediction)
    bench.wire.rule = lambda words: DOWN
    bench.run()
    for _ in range(5):
        bench.now += 1
        bench.lane = bench.new_lane(failing_since=bench.failing_since())
        bench.run()
    assert bench.wire.attempts() == ["a"] * 6


def test_a_channel_that_failed_before_the_start_is_not_reported_before_it_fails_again(bench: Bench) -> None:
    bench.tell("a")
    bench.wire.script = [DOWN]
    bench.run()
    bench.now += DAY
    bench.lane = bench.new_lane(failing_since=bench.failing_since())
    bench.wire.script = [None]
    bench.run()
    assert bench.reports.said == []
    bench.tell("b")
    bench.lane = bench.new_lane(failing_since=START)
    bench.wire.script = [DOWN]
    bench.run()
    assert bench.reports.said == [("team fails: HTTP 503, 1 held", START)]


def test_a_success_ends_an_incident_from_before_the_start(bench: Bench) -> None:
    bench.tell("a")
    bench.lane = bench.new_lane(failing_since=START - DAY, incident_open=True)
    bench.run()
    assert bench.reports.said == [("team works", None)]


# --- a store that cannot be written --------------------------------------------------------------------------------


def stuck(bench: Bench, times: int = 3) -> None:
    """Look several times while the store is in trouble."""
    for _ in range(times):
        bench.now += 1
        with pytest.raises(StoreWriteError):
            bench.lane.step()


def test_while_sent_cannot_be_recorded_nothing_more_is_sent_and_nothing_twice(bench: Bench) -> None:
    bench.tell("a")
    bench.tell("b")
    bench.broken.method = "mark_sent"
    stuck(bench)
    assert len(bench.wire.sent) == 1
    bench.broken.method = ""
    bench.run()
    assert bench.wire.attempts() == ["a", "b"]
    assert bench.states() == {"a": ("sent", 1), "b": ("sent", 1)}


def test_what_was_sent_while_it_could_not_be_recorded_counts_from_when_it_was(bench: Bench) -> None:
    bench.tell("a")
    bench.broken.method = "mark_sent"
    stuck(bench, times=1)
    bench.now += HOUR
    bench.broken.method = ""
    bench.run()
    assert bench.store.channel_health()[TEAM].last_sent == START + 1 + WALL_STEP


@pytest.mark.parametrize(
    ("method", "error"),
    [("mark_failed", DOWN), ("mark_failed", REFUSED), ("note_failing", DOWN), ("note_failing", REFUSED)],
)
def test_while_a_failure_cannot_be_recorded_it_is_not_tried_again(bench: Bench, method: str, error: Exception) -> None:
    bench.tell("a")
    bench.wire.script = [error]
    bench.broken.method = method
    stuck(bench)
    assert len(bench.wire.tried) == 1
    bench.broken.method = ""
    bench.run(60)
    assert bench.states() == {"a": ("sent", 2)}


def test_a_refused_one_whose_end_cannot_be_recorded_is_not_sent_again(bench: Bench) -> None:
    bench.tell("poison")
    bench.tell("good")
    bench.wire.rule = lambda words: REFUSED if "poison" in words.body else None
    bench.run()
    bench.now += 6
    bench.broken.method = "mark_given_up"
    with pytest.raises(StoreWriteError):
        bench.run()
    tried = len(bench.wire.tried)
    stuck(bench)
    assert len(bench.wire.tried) == tried
    bench.broken.method = ""
    bench.run()
    assert bench.states()["poison"] == ("given_up", 3)


def test_the_end_of_an_outage_is_told_and_the_rest_is_due_although_that_cannot_be_recorded_at_once(
    bench: Bench,
) -> None:
    for prediction in "ab":
        bench.tell(prediction)
    bench.wire.script = [DOWN] * 9
    bench.run(2 * HOUR)
    assert bench.states() == {"a": ("waiting", 7), "b": ("waiting", 2)}
    bench.broken.method = "make_due"
    with pytest.raises(StoreWriteError):
        bench.run(2 * HOUR)
    assert bench.reports.said[1:] == [("team works", None)]
    stuck(bench)
    bench.broken.method = ""
    bench.run()
    assert bench.states() == {"a": ("sent", 8), "b": ("sent", 3)}


# --- changed settings ----------------------------------------------------------------------------------------------


def test_a_channel_that_was_mended_is_tried_at_once(bench: Bench) -> None:
    for prediction in "abc":
        bench.tell(prediction)
    bench.wire.rule = lambda words: DOWN
    bench.run(5 * HOUR)
    tried = len(bench.wire.tried)
    bench.configure()
    bench.run()
    assert len(bench.wire.tried) == tried  # nothing was changed
    bench.configure(title="{{ name }}")
    bench.run()
    assert bench.wire.attempts()[tried:] == ["a"]
    bench.wire.rule = lambda words: None
    bench.configure(title=None)
    bench.run()
    assert {state for state, _ in bench.states().values()} == {"sent"}


def test_a_message_that_was_refused_goes_out_whole_when_its_template_was_mended(bench: Bench) -> None:
    bench.configure(body="broken {{ name }}")
    bench.tell("a")
    bench.wire.rule = lambda words: REFUSED if "broken" in words.body or "was refused" in words.body else None
    bench.run(2 * HOUR)
    assert "The full message was refused." in bench.wire.tried[-1][1].body
    bench.configure(body="good {{ name }}")
    bench.run()
    assert bench.states()["a"][0] == "sent"
    assert bench.wire.sent[0].body.startswith("good a")


def test_new_settings_hold_from_the_next_message_on(bench: Bench) -> None:
    bench.tell("a")
    bench.tell("b")

    def change(words: Message) -> None:
        if len(bench.wire.tried) == 1:
            bench.configure(title="changed")

    bench.wire.rule = change
    bench.run()
    assert bench.wire.titles() == ["❌ a: failed", "changed"]


# --- the pace ------------------------------------------------------------------------------------------------------


def test_the_pacer_spaces_the_messages_of_all_recipients() -> None:
    pacer = Pacer(2.0)
    assert [pacer.reserve(START) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    assert pacer.reserve(START + 10) == 0.0


def test_messages_keep_to_the_rate_over_all_recipients_of_a_channel(bench: Bench) -> None:
    bench.configure(rate=0.5)
    anna, ben = Address("team", "anna"), Address("team", "ben")
    for recipient in (anna, ben):
        for prediction in "abc":
            bench.tell(prediction, to=recipient)
    bench.run(60, [bench.new_lane(anna), bench.new_lane(ben)])
    assert [at for at, _ in bench.wire.tried] == [0, 2, 4, 6, 8, 10]


def test_after_an_outage_the_rest_is_sent_at_the_rate(bench: Bench) -> None:
    bench.configure(rate=0.1)
    for prediction in "abcd":
        bench.tell(prediction)
    bench.wire.script = [DOWN]
    bench.run(60)
    _, first, *rest = (at for at, _ in bench.wire.tried)
    assert [at - first for at in rest] == pytest.approx([10, 20, 30])


def test_what_comes_while_a_message_waits_for_its_turn_goes_out_with_it(bench: Bench) -> None:
    bench.configure(rate=0.1)
    bench.tell("a", "processing")
    bench.run()
    bench.tell("b", "processing")
    bench.run(5)
    bench.tell("b", "succeeded", before="processing")
    bench.run(5)
    assert len(bench.wire.sent) == 2
    assert "processing → succeeded" in bench.wire.sent[1].body


def test_a_place_in_the_line_at_the_old_rate_is_void(bench: Bench) -> None:
    bench.configure(rate=1 / HOUR)
    for prediction in "abc":
        bench.tell(prediction)
    bench.run(60)
    bench.configure(title="another title, same rate")
    bench.run(HOUR)
    assert [round(at) for at, _ in bench.wire.tried] == [0, HOUR]
    bench.configure(rate=1.0)
    bench.run()
    assert len(bench.wire.sent) == 3


def test_an_incident_does_not_wait_for_a_turn(bench: Bench) -> None:
    bench.configure(rate=1 / HOUR, retry_after=(1.0,))
    bench.tell("a")
    bench.wire.rule = lambda words: DOWN
    bench.run(601)
    assert [since for _, since in bench.reports.said] == [START]


def test_what_grew_old_while_the_daemon_was_away_is_tried_before_it_is_given_up(bench: Bench) -> None:
    """A machine that was off for days may have no network yet when it starts."""
    bench.wire.rule = lambda words: DOWN
    for name in "abc":
        bench.tell(name)
    bench.run(60)
    bench.now += 4 * DAY
    bench.lane = bench.new_lane(failing_since=bench.failing_since())
    bench.run(600)
    assert {state for state, *_ in bench.states().values()} == {"waiting"}
    bench.wire.rule = lambda words: None
    bench.run(HOUR)
    assert {state for state, *_ in bench.states().values()} == {"sent"}
    assert len(bench.wire.sent) > 0
