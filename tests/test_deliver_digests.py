"""Digests: when many notices wait they are one message, which marks what it told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from notifier.store import Store
from tests.deliver_bench import DOWN, REFUSED, START, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Store.open(f"sqlite:///{tmp_path}/n.db", daemon=True, now=START) as store:
        yield Bench(store)


def test_a_digest_marks_what_it_told_and_the_rest_follows(bench: Bench) -> None:
    notices = [bench.tell(f"p{number:02}") for number in range(60)]
    bench.run()
    told = [[notice for notice in notices if notice in words.body] for words in bench.wire.sent]
    assert [notice for some in told for notice in some] == notices
    assert 1 < len(bench.wire.sent) < 10
    assert all(len(words.body) <= 3000 for words in bench.wire.sent)
    assert set(bench.states().values()) == {("sent", 1)}


@pytest.mark.parametrize(("digest_over", "messages"), [(1, 1), (3, 1), (4, 4), (100_000, 4)])
def test_more_than_digest_over_are_one_message(bench: Bench, digest_over: int, messages: int) -> None:
    bench.configure(digest_over=digest_over)
    for prediction in "abcd":
        bench.tell(prediction)
    bench.run()
    assert len(bench.wire.sent) == messages


def test_a_digest_over_beyond_what_is_looked_at_together_is_gone_by_as_well(bench: Bench) -> None:
    bench.configure(digest_over=250)
    for number in range(252):
        bench.tell(f"p{number:03}")
    bench.run()
    assert [title[0] for title in bench.wire.titles()[:2]] == ["📋", "❌"]
    assert set(bench.states().values()) == {("sent", 1)}


def test_after_an_outage_the_rest_is_a_digest(bench: Bench) -> None:
    for prediction in "abcdefghijkl":
        bench.tell(prediction)
    bench.configure(digest_over=5)
    bench.wire.script = [DOWN]
    bench.run(60)
    assert {state for state, _ in bench.states().values()} == {"sent"}
    assert [title[0] for title in bench.wire.titles()] == ["❌", "📋"]


def test_a_digest_that_fails_is_the_channels_trouble_whatever_its_first_has_been_through(bench: Bench) -> None:
    bench.configure(digest_over=3)
    bench.tell("a")
    bench.tell("b")
    bench.wire.script = [DOWN, DOWN, DOWN, None, DOWN]
    bench.run(3.0)
    for prediction in "cdef":
        bench.tell(prediction)
    bench.run(200)
    assert bench.wire.titles()[0] == "❌ b: failed"
    assert bench.wire.tried[4][1].title.startswith("📋 5")
    assert {state for state, _ in bench.states().values()} == {"sent"}


def test_a_digest_that_is_refused_is_sent_one_by_one_and_only_the_one_at_fault_in_plain(bench: Bench) -> None:
    bench.configure(digest_over=3)
    for prediction in ("a", "b", "poison", "c"):
        bench.tell(prediction)
    bench.wire.rule = lambda words: REFUSED if "poison" in words.body and "was refused" not in words.body else None
    bench.run(60)
    assert bench.wire.titles() == ["❌ a: failed", "❌ b: failed", "❌ c: failed", "poison: failed"]
    assert {state for state, _ in bench.states().values()} == {"sent"}
    for prediction in "efgh":
        bench.tell(prediction)
    bench.run()
    assert len(bench.wire.sent) == 5


def test_only_the_notices_of_the_refused_digest_go_one_by_one(bench: Bench) -> None:
    """Not the whole backlog behind it."""
    for number in range(150):
        bench.tell(f"p{number:03}" if number != 3 else "poison")
    bench.wire.rule = lambda words: REFUSED if "poison" in words.body else None
    bench.run(60)
    assert sorted({state for state, _ in bench.states().values()}) == ["given_up", "sent"]
    assert len(bench.wire.tried) < 80


def test_of_a_long_row_of_one_prediction_only_what_is_in_the_text_is_marked_and_the_rest_follows(bench: Bench) -> None:
    notices = [bench.tell("a", f"step{number}", before=f"step{number - 1}") for number in range(90)]
    bench.wire.script = [None, DOWN]
    bench.run()
    first = bench.wire.sent[0].body
    told = [notice for notice in notices if notice in first]
    assert notices[: len(told)] == told
    assert 10 < len(told) < 60
    assert [row.deliveries[0].state.value for row in bench.rows()].count("sent") == len(told)
    bench.run(60)
    text = "\n".join(words.body for words in bench.wire.sent)
    assert [text.count(notice) for notice in notices] == [1] * 90
    assert sorted(notices, key=text.index) == notices
    assert all(f"→ step{number} (" in text for number in range(90))
    assert {row.deliveries[0].state.value for row in bench.rows()} == {"sent"}
