"""One lane: what it sends, in what order, and what it makes of a channel or a message that fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from notifier import message
from notifier.errors import DeliveryError, StoreWriteError
from notifier.model import DeliveryState, Message, Notice
from notifier.store import Store
from tests.deliver_bench import DAY, DOWN, GONE, HOUR, REFUSED, SILENT, START, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Store.open(f"sqlite:///{tmp_path}/n.db", daemon=True, now=START) as store:
        yield Bench(store)


# --- at least once, in order ---------------------------------------------------------------------------------------


def test_what_waits_is_sent_in_order_and_marked(bench: Bench) -> None:
    first, second = bench.tell("a", "processing"), bench.tell("b")
    bench.run()
    assert [[notice in words.body for notice in (first, second)] for words in bench.wire.sent] == [
        [True, False],
        [False, True],
    ]
    assert bench.states() == {"a": ("sent", 1), "b": ("sent", 1)}
    assert bench.lane.step() is None


def test_a_delivery_is_marked_only_after_the_channel_said_yes(bench: Bench) -> None:
    bench.tell("a")
    seen: list[dict[str, tuple[str, int]]] = []

    def look(_: Message) -> None:
        seen.append(bench.states())

    bench.wire.rule = look
    bench.run()
    assert seen == [{"a": ("waiting", 0)}]
    assert bench.states() == {"a": ("sent", 1)}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DOWN, "HTTP 503"),
        (GONE, "HTTP 404: no_service (the address is gone: a new one is needed)"),
        (REFUSED, "HTTP 400: invalid_payload"),
        (SILENT, "no answer within 60 s (it may have arrived)"),
        (ZeroDivisionError("oops"), "mistake in the program: ZeroDivisionError"),
    ],
)
def test_whatever_went_wrong_it_is_tried_again_by_the_list_with_the_same_notice_id(
    bench: Bench, error: Exception, reason: str
) -> None:
    notice = bench.tell("a")
    bench.wire.script = [error]
    bench.run(4.0 - 0.001)
    assert (len(bench.wire.tried), bench.states(), bench.last_errors()) == (1, {"a": ("waiting", 1)}, {reason})
    bench.run(2.1)
    assert [notice in words.body for _, words in bench.wire.tried] == [True, True]
    assert bench.states() == {"a": ("sent", 2)}


def test_attempts_follow_the_channels_own_list_whose_last_wait_repeats(bench: Bench) -> None:
    bench.configure(retry_after=(10.0, 100.0))
    bench.tell("a")
    bench.wire.script = [DOWN] * 4
    bench.run(400)
    waits = [later - earlier for (earlier, _), (later, _) in pairwise(bench.wire.tried)]
    assert [8 <= waits[0] <= 12, *(80 <= wait <= 120 for wait in waits[1:])] == [True] * 4
    assert bench.states() == {"a": ("sent", 5)}


@pytest.mark.parametrize("content", [False, True])
def test_a_channel_that_says_when_to_come_back_is_left_alone_until_then(bench: Bench, content: bool) -> None:
    bench.tell("a")
    bench.wire.script = [DeliveryError("HTTP 429", retry_after=900.0, content=content)]
    bench.run(899)
    assert len(bench.wire.tried) == 1
    bench.run(2)
    assert bench.states() == {"a": ("sent", 2)}


def test_a_notice_that_waits_behind_a_failing_one_goes_out_with_it(bench: Bench) -> None:
    first = bench.tell("a", "processing")
    bench.wire.script = [DOWN]
    bench.run()
    bench.tell("b")
    second = bench.tell("a", "succeeded", before="processing")
    bench.run(60)
    joined, other = (words.body for words in bench.wire.sent)
    assert joined.index("processing") < joined.index("succeeded")
    assert [first in joined, second in joined, "b at api" in other] == [True, True, True]
    assert [each.state.value for row in bench.rows() for each in row.deliveries] == ["sent"] * 3


def test_a_later_notice_is_sent_although_the_one_before_was_given_up(bench: Bench) -> None:
    bench.tell("poison")
    bench.wire.rule = lambda words: REFUSED if "poison" in words.body and "succeeded" not in words.body else None
    bench.run()
    bench.tell("good")
    bench.run(6)
    assert bench.states()["poison"] == ("given_up", 3)
    bench.tell("poison", "succeeded", before="failed")
    bench.run()
    assert bench.states()["poison"] == ("sent", 1)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_nothing_is_lost_or_repeated_and_each_predictions_order_is_kept(
    bench: Bench, seed: int
) -> None:
    """Random notices, faults, restarts and full disks."""
    chance = Random(seed)
    told: dict[str, list[str]] = {name: [] for name in "abcde"}
    bench.configure(digest_over=4, retry_after=(1.0, 5.0))
    for _ in range(60):
        for _ in range(chance.choice((0, 1, 1, 2, 6))):
            name = chance.choice("abcde")
            told[name].append(bench.tell(name, chance.choice(("processing", "failed"))))
        bench.wire.script = chance.choices([None, DOWN, SILENT, GONE], (6, 3, 1, 1), k=3)
        if chance.random() < 0.2:
            bench.lane = bench.new_lane(failing_since=bench.failing_since())
        bench.broken.method = chance.choice(("", "", "", "mark_sent", "mark_failed", "make_due", "note_failing"))
        try:
            bench.run(chance.choice((0.0, 1.0, 10.0)))
        except StoreWriteError:
            bench.broken.method = ""
            bench.run(1.0)
    bench.broken.method, bench.wire.script = "", []
    bench.run(DAY)
    given_up = {row.notice for row in bench.rows() if row.deliveries[0].state == DeliveryState.GIVEN_UP}
    text = "\n".join(words.body for words in bench.wire.sent)
    for notices in told.values():
        assert [text.count(notice) for notice in notices] == [int(notice not in given_up) for notice in notices]
        arrived = [notice for notice in notices if notice not in given_up]
        assert sorted(arrived, key=text.index) == arrived


# --- a channel that fails ------------------------------------------------------------------------------------------


def test_only_the_oldest_probes_a_failing_channel_and_its_success_frees_the_rest(bench: Bench) -> None:
    for prediction in "abcd":
        bench.tell(prediction)
    bench.wire.script = [DOWN, DOWN]
    bench.run(20)
    assert bench.wire.attempts() == ["a", "a"]
    bench.run(30)
    assert bench.wire.attempts() == ["a", "a", "a", "b", "c", "d"]
    assert {state for state, _ in bench.states().values()} == {"sent"}


def test_what_comes_while_a_channel_fails_waits_for_the_probe(bench: Bench) -> None:
    bench.tell("a")
    bench.wire.script = [DOWN, DOWN, DOWN]
    bench.run(42)
    for prediction in "bcd":
        bench.tell(prediction)
        bench.run(10)
    assert bench.wire.attempts() == ["a"] * 3


def test_every_third_time_another_probes_right_after_the_oldest_so_that_the_backlog_comes_in_order(
    bench: Bench,
) -> None:
    for prediction in "abcd":
        bench.tell(prediction)
    bench.configure(retry_after=(10.0, 100.0))
    bench.wire.rule = lambda words: DOWN
    bench.run(1000)
    assert "".join(bench.wire.attempts()).startswith("aaabaaacaaad")
    at = [round(time, 3) for time, _ in bench.wire.tried]
    assert at[2] == at[3]
    assert 80 <= at[4] - at[3] <= 120
    bench.wire.rule = lambda words: None
    bench.run(200)
    for down in (1, 2, 4, 5, 6, 8, 9, 10):  # not 3 and 7: to come back between the two, a channel has milliseconds
        for prediction in "abcd":
            bench.tell(prediction)
        bench.wire.tried.clear()
        bench.wire.script = [DOWN] * down
        bench.run(3000)
        assert bench.wire.attempts()[down:] == ["a", "b", "c", "d"]


def test_a_message_that_only_looks_like_an_outage_does_not_block_the_others(bench: Bench) -> None:
    """A server that answers 500 to one message for ever, and takes all others."""
    bench.tell("poison")
    bench.tell("good")
    bench.wire.rule = lambda words: DOWN if "poison" in words.body else None
    bench.run(200)
    assert bench.states()["good"] == ("sent", 1)
    bench.run(HOUR)
    assert bench.states()["poison"][0] == "given_up"
    assert "The full message was refused." in bench.wire.tried[-1][1].body
    assert bench.reports.said == [("team never took 1: HTTP 503", None)]


def test_two_messages_that_look_like_an_outage_do_not_block_the_third_for_ever(bench: Bench) -> None:
    for prediction in ("poison1", "poison2", "good"):
        bench.tell(prediction)
    bench.wire.rule = lambda words: DOWN if "poison" in words.body else None
    bench.run(8 * HOUR)
    assert bench.states()["good"] == ("sent", 1)


def test_a_message_that_failed_while_others_passed_is_not_given_up_for_an_outage(bench: Bench) -> None:
    """Once the channel is known to take nothing, a failure says nothing about the message any more."""
    bench.tell("a")
    bench.tell("b")
    bench.wire.script = [DOWN, DOWN, DOWN, None, DOWN]
    bench.run(200)
    assert bench.wire.attempts() == ["a", "a", "a", "b", "a"]
    bench.wire.rule = lambda words: DOWN
    bench.tell("c")
    bench.run(HOUR)
    bench.wire.rule = lambda words: None
    bench.run(3 * HOUR)
    assert {state for state, _ in bench.states().values()} == {"sent"}


def test_too_many_requests_are_no_messages_fault(bench: Bench) -> None:
    bench.tell("a")
    bench.tell("b")
    bench.wire.script = [DOWN, DOWN, DOWN, None, *[DeliveryError("HTTP 429", retry_after=1.0)] * 5]
    bench.run(3 * HOUR)
    assert {state for state, _ in bench.states().values()} == {"sent"}
    assert "refused" not in bench.wire.sent[-1].body


def test_an_outage_is_logged_when_it_begins_and_not_each_time(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        bench.tell("a")
        bench.wire.script = [DOWN, DOWN]
        bench.run(60)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == [
        f'not delivered channel=team notice=notice000{number} attempts=1 reason="HTTP 503"' for number in (1, 2)
    ]


# --- messages that are refused -------------------------------------------------------------------------------------


def test_a_refused_message_goes_out_once_in_plain_and_is_then_given_up_while_others_pass(bench: Bench) -> None:
    notice = bench.tell("poison")
    bench.wire.script = [REFUSED]
    bench.run()
    bench.tell("good")
    bench.run()
    assert bench.wire.titles() == ["❌ good: failed"]
    bench.wire.script = [REFUSED, REFUSED]
    bench.run(60)
    whole, _, again, plain = (words for _, words in bench.wire.tried)
    assert whole.body == again.body
    assert "The full message was refused." in plain.body
    assert notice in plain.body
    assert bench.states() == {"poison": ("given_up", 3), "good": ("sent", 1)}
    bench.tell("later")
    bench.run(DAY)
    assert bench.wire.attempts().count("poison") == 3
    assert bench.states()["later"] == ("sent", 1)
    bench.store.resend(None, bench.now)
    bench.run()
    assert bench.wire.attempts().count("poison") == 4
    assert "was refused" not in bench.wire.sent[-1].body


def test_a_plain_form_that_passes_is_a_delivery(bench: Bench) -> None:
    bench.tell("odd")
    bench.wire.rule = lambda words: None if "was refused" in words.body else REFUSED
    bench.run(60)
    assert bench.states() == {"odd": ("sent", 3)}
    assert bench.reports.said == []


def test_a_good_message_behind_some_that_are_refused_goes_out_at_once(bench: Bench) -> None:
    for number in range(5):
        bench.tell(f"poison{number}")
    bench.tell("good")
    bench.wire.rule = lambda words: REFUSED if "poison" in words.body else None
    bench.run()
    assert bench.wire.titles() == ["❌ good: failed"]
    bench.run(HOUR)
    assert sorted(bench.states().values()) == [("given_up", 3)] * 5 + [("sent", 1)]


def test_a_success_in_between_says_that_each_refusal_is_a_messages_own(bench: Bench) -> None:
    bench.wire.rule = lambda words: REFUSED if "poison" in words.body else None
    for _ in range(3):
        for _ in range(3):
            bench.tell(f"poison{bench.counter}")
        bench.tell(f"good{bench.counter}")
        bench.run()
    assert len(bench.wire.sent) == 3


def test_a_channel_that_refuses_one_message_after_the_other_is_in_trouble_itself(bench: Bench) -> None:
    """Each answer speaks of its message, but none passes: somebody has to hear of it, and it must not be hammered."""
    for number in range(30):
        bench.tell(f"p{number:02}")
    bench.configure(digest_over=1000)
    bench.wire.rule = lambda words: REFUSED
    bench.run(700)
    assert bench.reports.said == [("team fails: HTTP 400: invalid_payload, 30 held", START)]
    assert len(bench.wire.tried) < 12
    assert bench.failing_since() == START
    bench.run(DAY)
    assert len(bench.wire.tried) < 40
    bench.wire.rule = lambda words: None
    bench.run(3 * HOUR)
    assert {state for state, _ in bench.states().values()} == {"sent"}
    assert bench.reports.said[1:] == [("team works", None)]


def test_an_outage_after_one_refusal_after_the_other_is_probed_by_the_oldest(bench: Bench) -> None:
    for number in range(8):
        bench.tell(f"p{number}")
    bench.wire.rule = lambda words: REFUSED
    bench.run()
    assert bench.wire.attempts() == ["p0", "p1", "p2", "p3", "p4", "p5"]
    bench.wire.rule = lambda words: DOWN
    bench.run(50)
    assert bench.wire.attempts()[7:] == ["p0", "p1"]  # it is the third failure in a row


def test_a_good_message_among_many_that_are_refused_gets_its_turn(bench: Bench) -> None:
    for number in range(7):
        bench.tell(f"poison{number}")
    bench.tell("good")
    bench.wire.rule = lambda words: REFUSED if "poison" in words.body else None
    bench.run(8 * HOUR)
    assert bench.states()["good"] == ("sent", 1)
    assert bench.states()["poison0"][0] == "given_up"


def test_the_only_message_that_is_refused_and_refused_is_an_incident_too(bench: Bench) -> None:
    bench.tell("a")
    bench.wire.rule = lambda words: REFUSED
    bench.run(700)
    assert bench.reports.said == [("team fails: HTTP 400: invalid_payload, 1 held", START)]
    assert len(bench.wire.tried) < 6


def test_a_refusal_after_an_outage_is_not_repeated_without_a_pause(bench: Bench) -> None:
    bench.tell("a")
    bench.wire.script = [DOWN]
    bench.wire.rule = lambda words: REFUSED
    bench.run(60)
    assert len(bench.wire.tried) < 6


def test_a_refusal_after_an_outage_lets_the_others_go_on_at_once(bench: Bench) -> None:
    bench.tell("poison")
    bench.tell("good")
    bench.wire.script = [DOWN]
    bench.wire.rule = lambda words: REFUSED if "poison" in words.body else None
    bench.run(7)
    assert bench.states()["good"] == ("sent", 1)


def test_a_mistake_of_ours_in_one_message_is_a_failed_attempt_and_stops_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    genuine = message.write

    def write(notices: Sequence[Notice], **settings: Any) -> Message:
        if notices[0].name == "odd":
            raise ZeroDivisionError("oops")
        return genuine(notices, **settings)

    monkeypatch.setattr(message, "write", write)
    bench.tell("odd")
    bench.tell("good")
    bench.run(60)
    assert bench.states() == {"odd": ("sent", 3), "good": ("sent", 1)}
    assert "The full message was refused." in bench.wire.sent[-1].body
    assert caplog.text.count("Traceback") == 1
    assert bench.last_errors() == {None, "mistake in the program: ZeroDivisionError"}
