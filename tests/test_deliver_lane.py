"""One lane with a real store and the real words; only the wire is a double, and time is passed in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from notifier import message
from notifier.deliver import Lane, Pacer
from notifier.errors import DeliveryError, StoreWriteError
from notifier.model import Address, Channel, Clock, Event, Key, Message, Notice, Secret, State
from notifier.store import Change, HistoryRow, Store

TEAM = Address("team", "")
START = 1_800_000_000.0


class Time:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = START
        self.clock = Clock(wall=lambda: self.now, monotonic=lambda: self.now)


class Wire:
    """Our seam to the channel: answers as scripted, then takes everything."""

    def __init__(self) -> None:
        self.script: list[Exception | None] = []
        self.sent: list[Message] = []
        self.tried: list[Message] = []

    def send(self, words: Message) -> None:
        self.tried.append(words)
        answer = self.script.pop(0) if self.script else None
        if answer is not None:
            raise answer
        self.sent.append(words)


class Reports:
    """Where the lane reports that its channel is in trouble."""

    def __init__(self) -> None:
        self.said: list[tuple[str, float | None]] = []

    def channel_fails(self, address: Address, since: float, reason: str, held: int) -> None:
        self.said.append((f"{address.channel} fails: {reason}, {held} held", since))

    def channel_works(self, address: Address) -> None:
        self.said.append((f"{address.channel} works", None))


class Bench:
    """A lane and what it stands between."""

    def __init__(self, store: Store) -> None:
        self.store, self.time, self.wire, self.reports = store, Time(), Wire(), Reports()
        self.channel = Channel("team", Secret("json://x"), rate=1000.0)
        self.counter = 0
        self.lane = self.new_lane()

    def new_lane(self, outbox: Store | None = None, failing_since: float | None = None) -> Lane:
        return Lane(
            TEAM, self.channel, pacer=Pacer(1e9), send=self.wire.send, limit=3000, outbox=outbox or self.store,
            words=message, incidents=self.reports, clock=self.time.clock, failing_since=failing_since,
        )  # fmt: skip

    def tell(self, prediction: str, status: str, before: str = "starting") -> str:
        self.counter += 1
        notice = Notice(
            f"notice{self.counter:04}", Event.STATUS, self.time.now, Key("api", prediction), name=prediction,
            before=before, status=status, names=frozenset({"status"}),
        )  # fmt: skip
        change = Change(Key("api", prediction), State(START, status), ((notice, (TEAM,)),))
        self.store.record([change], self.time.now)
        return notice.notice

    def run(self, seconds: float = 0.0) -> None:
        """Let the lane do all there is to do for so many seconds."""
        end = self.time.now + seconds
        for _ in range(10_000):
            wait = self.lane.step()
            if wait is None or self.time.now + wait > end:
                break
            self.time.now += wait
        self.time.now = max(self.time.now, end)

    def rows(self) -> Sequence[HistoryRow]:
        return self.store.history(None, 1000)

    def states(self) -> list[tuple[str, int]]:
        return [(each.state.value, each.attempts) for row in self.rows() for each in row.deliveries]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Store.open(f"sqlite:///{tmp_path}/n.db", daemon=True, now=START) as store:
        yield Bench(store)


DOWN = DeliveryError("HTTP 503")
REFUSED = DeliveryError("HTTP 400: invalid_payload", content=True)


def test_what_waits_is_sent_in_order_and_marked(bench: Bench) -> None:
    first, second = bench.tell("a", "processing"), bench.tell("b", "failed")
    bench.run()
    assert [[notice in words.body for notice in (first, second)] for words in bench.wire.sent] == [
        [True, False],
        [False, True],
    ]
    assert bench.states() == [("sent", 1), ("sent", 1)]
    assert bench.lane.step() is None


def test_a_failed_one_is_tried_again_by_the_list_and_carries_the_same_notice_id(bench: Bench) -> None:
    notice = bench.tell("a", "failed")
    bench.wire.script = [DOWN, DeliveryError("time-out", maybe_arrived=True)]
    bench.run(4.0 * 0.8)
    assert (len(bench.wire.tried), bench.states()) == (1, [("waiting", 1)])
    bench.run(60)
    assert [notice in words.body for words in bench.wire.tried] == [True, True, True]
    assert bench.states() == [("sent", 3)]
    assert bench.rows()[0].deliveries[0].last_error == "time-out (it may have arrived)"


def test_a_notice_that_waits_behind_a_failing_one_goes_out_with_it(bench: Bench) -> None:
    first = bench.tell("a", "processing")
    bench.wire.script = [DOWN]
    bench.run()
    second = bench.tell("a", "succeeded", before="processing")
    bench.run(60)
    assert len(bench.wire.sent) == 1
    body = bench.wire.sent[0].body
    assert body.index("processing") < body.index("succeeded")
    assert first in body
    assert second in body
    assert [state for state, _ in bench.states()] == ["sent", "sent"]


def test_only_the_oldest_probes_a_failing_channel_and_its_success_frees_the_rest(bench: Bench) -> None:
    for prediction in "abcd":
        bench.tell(prediction, "failed")
    bench.wire.script = [DOWN, DOWN]
    bench.run(20)
    assert [words.title for words in bench.wire.tried] == [bench.wire.tried[0].title] * 2
    bench.run(30)
    assert len(bench.wire.sent) == 4
    assert [state for state, _ in bench.states()] == ["sent"] * 4


def test_a_digest_marks_what_it_told_and_the_rest_follows(bench: Bench) -> None:
    notices = [bench.tell(f"p{number:02}", "failed") for number in range(60)]
    bench.run()
    told = [[notice for notice in notices if notice in words.body] for words in bench.wire.sent]
    assert [notice for some in told for notice in some] == notices
    assert 1 < len(bench.wire.sent) < 10
    assert all(len(words.body) <= 3000 for words in bench.wire.sent)
    assert {state for state, _ in bench.states()} == {"sent"}


def test_a_refused_message_goes_out_once_in_plain_and_is_then_given_up_while_others_pass(bench: Bench) -> None:
    bench.tell("poison", "failed")
    bench.wire.script = [REFUSED]
    bench.run()
    bench.tell("good", "failed")
    bench.run()
    assert [words.title for words in bench.wire.sent] == [bench.wire.sent[0].title]
    assert "good" in bench.wire.sent[0].title
    bench.wire.script = [REFUSED, REFUSED]
    bench.run(60)
    whole, _, again, plain = bench.wire.tried
    assert whole.body == again.body
    assert "The full message was refused." in plain.body
    assert sorted(bench.states()) == [("given_up", 3), ("sent", 1)]
    bench.tell("later", "failed")
    bench.run()
    assert "later" in bench.wire.sent[-1].title


def test_a_message_that_only_looks_like_an_outage_does_not_block_the_others(bench: Bench) -> None:
    """A server that answers 500 to one message for ever, and takes all others."""
    bench.tell("poison", "failed")
    bench.tell("good", "failed")
    take, bench.lane = bench.wire.send, bench.new_lane()

    def send(words: Message) -> None:
        if "poison" in words.body:
            bench.wire.tried.append(words)
            raise DOWN
        take(words)

    bench.lane.configure(bench.channel, Pacer(1e9), send, 3000)
    bench.run(3600)
    assert sorted(state for state, _ in bench.states()) == ["given_up", "sent"]


def test_what_cannot_be_delivered_for_give_up_after_is_given_up_with_its_reason(bench: Bench) -> None:
    bench.tell("a", "failed")
    bench.tell("b", "failed")
    bench.wire.script = [DOWN] * 1000
    bench.run(3 * 86400 + 7200)
    assert [state for state, _ in bench.states()] == ["given_up", "given_up"]
    assert {each.last_error for row in bench.rows() for each in row.deliveries} == {"HTTP 503"}
    assert 70 < len(bench.wire.tried) < 90  # hourly, after the first
    assert sum(attempts for _, attempts in bench.states()) == len(bench.wire.tried)


def test_a_channel_that_fails_for_ten_minutes_is_reported_once_and_its_recovery_once(bench: Bench) -> None:
    bench.tell("a", "failed")
    bench.tell("b", "failed")
    bench.wire.script = [DOWN] * 6
    bench.run(599)
    assert bench.reports.said == []
    bench.run(2)
    assert bench.reports.said == [("team fails: HTTP 503, 2 held", START)]
    bench.run(3 * 3600)
    assert bench.reports.said[1:] == [("team works", None)]


def test_a_new_start_goes_on_with_a_channel_that_failed_before(bench: Bench) -> None:
    bench.tell("a", "failed")
    bench.wire.script = [DOWN]
    bench.run()
    since = bench.store.channel_health()[TEAM].failing_since
    assert since == START
    bench.lane = bench.new_lane(failing_since=since)
    bench.run(10)
    assert bench.states() == [("sent", 2)]
    assert bench.store.channel_health()[TEAM].failing_since is None


class Forgetful:
    """A store that cannot record what was sent, for a while."""

    def __init__(self, store: Store) -> None:
        self._store, self.broken = store, True

    def mark_sent(self, ids: Sequence[int], wall: float) -> None:
        if self.broken:
            raise StoreWriteError("the disk is full")
        self._store.mark_sent(ids, wall)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def test_while_sent_cannot_be_recorded_nothing_more_is_sent_and_nothing_twice(bench: Bench) -> None:
    bench.tell("a", "failed")
    bench.tell("b", "failed")
    forgetful = Forgetful(bench.store)
    bench.lane = bench.new_lane(outbox=forgetful)  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(StoreWriteError):
            bench.lane.step()
    assert len(bench.wire.sent) == 1
    forgetful.broken = False
    bench.run()
    assert len(bench.wire.sent) == 2
    assert bench.states() == [("sent", 1), ("sent", 1)]


def test_a_mistake_of_ours_in_one_message_is_a_failed_attempt_and_stops_no_other(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.tell("a", "failed")
    bench.tell("b", "failed")
    bench.wire.script = [ZeroDivisionError("oops")]
    bench.run()
    assert [words.title for words in bench.wire.sent] == [bench.wire.sent[0].title]
    assert bench.rows()[0].deliveries[0].last_error == "mistake in the program: ZeroDivisionError"
    assert "mistake in the program" in caplog.text
    bench.run(60)
    assert [state for state, _ in bench.states()] == ["sent", "sent"]


def test_the_pacer_spaces_the_messages_of_all_recipients() -> None:
    pacer = Pacer(2.0)
    assert [pacer.reserve(START) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    assert pacer.reserve(START + 10) == 0.0


def test_a_channel_that_refuses_one_message_after_the_other_is_in_trouble_itself(bench: Bench) -> None:
    """Each answer speaks of its message, but none passes: somebody has to hear of it, and it must not be hammered."""
    for prediction in "abcdef":
        bench.tell(prediction, "failed")
    bench.wire.script = [REFUSED] * 1000
    bench.run(700)
    assert [said for said, _ in bench.reports.said] == ["team fails: HTTP 400: invalid_payload, 6 held"]
    assert len(bench.wire.tried) < 12


def test_a_good_message_behind_two_that_are_refused_is_not_held_up_for_long(bench: Bench) -> None:
    for prediction in ("poison1", "poison2", "good"):
        bench.tell(prediction, "failed")

    def send(words: Message) -> None:
        if "poison" in words.body:
            raise REFUSED
        bench.wire.sent.append(words)

    bench.lane.configure(bench.channel, Pacer(1e9), send, 3000)
    bench.run(60)
    assert ["good" in words.title for words in bench.wire.sent] == [True]
    bench.run(3600)
    assert sorted(state for state, _ in bench.states()) == ["given_up", "given_up", "sent"]
