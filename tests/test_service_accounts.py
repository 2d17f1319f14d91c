"""What the keeper makes of trouble that is not one account's, and of what an API says of its limit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from notifier.model import Incident, IncidentKind, Key
from notifier.service.keeper import Answered
from notifier.transport import Kind, TransportError
from tests.builders import an_api
from tests.standins.api import Answer, plain, problem
from tests.test_service_keeper import START, Bench, running, watch

HERE, THERE = an_api("here", rate=1000.0), an_api("there", rate=1000.0)
TWO = [watch("a"), watch("b", api="there")]


@contextmanager
def two_accounts(folder: Path) -> Iterator[Bench]:
    with running(folder, TWO, [HERE, THERE]) as bench:
        yield bench


def unreachable(bench: Bench, prediction_id: str, api: str, kind: Kind = Kind.RESOLVE) -> None:
    error = TransportError(kind, f"DNS: Could not resolve host: {api}.example")
    bench.keeper.put(Answered(Key(api, prediction_id), bench.now, error))
    bench.settle()


def open_incidents(bench: Bench) -> list[tuple[str, str]]:
    return [(each.kind.value, each.subject) for each in bench.store.open_incidents()]


def test_nothing_being_reached_is_one_incident_of_this_machine_and_no_watch_is_unreachable(tmp_path: Path) -> None:
    with two_accounts(tmp_path) as bench:
        for _ in range(4):
            unreachable(bench, "a", "here")
            unreachable(bench, "b", "there", Kind.NO_ROUTE)
            bench.now += 30
        assert open_incidents(bench) == []
        unreachable(bench, "a", "here")
        assert open_incidents(bench) == [("network", "this machine")]
        assert bench.table.take() == []  # it is only probed, after a while
        bench.answer("b", plain("b", "processing"), api="there")
        assert open_incidents(bench) == []
        assert sorted(bench.table.take()) == [("here", "a"), ("there", "b")]
        assert [event for event, _, _ in bench.events()] == ["incident", "incident_over"]
        assert bench.store.load_states(bench.now)[Key("here", "a")].failures == 0


def test_an_account_whose_name_alone_is_not_found_is_that_accounts_trouble(tmp_path: Path) -> None:
    three = [watch("a"), watch("c"), watch("d"), watch("b", api="there")]
    with running(tmp_path, three, [HERE, THERE]) as bench:
        for _ in range(8):
            bench.answer("b", plain("b", "processing"), api="there")
            for name in "acd":
                unreachable(bench, name, "here")
            bench.now += 30
        assert open_incidents(bench) == [("api", "here")]


def test_an_account_that_was_not_asked_since_is_asked_before_anybody_is_blamed(tmp_path: Path) -> None:
    with two_accounts(tmp_path) as bench:
        bench.answer("b", plain("b", "processing"), api="there")
        bench.table.take()
        for api, name in (("here", "a"), ("there", "b")):
            bench.table.land(Key(api, name), 3000.0)
        bench.now += 1
        unreachable(bench, "a", "here")
        assert bench.table.take() == []
        bench.now += 61
        unreachable(bench, "a", "here")
        assert ("there", "b") in bench.table.take()
        assert open_incidents(bench) == []


def test_an_incident_of_this_machine_is_taken_up_after_a_restart_and_probed_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, TWO, [HERE, THERE])
    try:
        incident = Incident(IncidentKind.NETWORK, "this machine", START - 600, "DNS")
        bench.store.open_incident(incident, [], START)
        bench.keeper.resume_incidents([incident])
        bench.keeper.start()
        assert len(bench.table.take()) == 2  # one each
        bench.answer("a", plain("a", "processing"))
        assert open_incidents(bench) == []
        assert [event for event, _, _ in bench.events()] == ["incident_over"]
    finally:
        bench.close()


def test_a_channel_that_waits_to_be_tried_again_is_tried_when_this_machine_reaches_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[None] = []
    with two_accounts(tmp_path) as bench:
        monkeypatch.setattr(bench.lanes, "try_again", lambda: tried.append(None))
        for _ in range(6):
            unreachable(bench, "a", "here")
            unreachable(bench, "b", "there")
            bench.now += 30
        assert tried == []
        bench.answer("a", problem(503))
        assert tried == [None]


def go_offline(bench: Bench) -> None:
    for _ in range(5):
        unreachable(bench, "a", "here")
        unreachable(bench, "b", "there")
        bench.now += 30
    assert open_incidents(bench) == [("network", "this machine")]


def test_silence_does_not_end_an_incident_of_this_machine(tmp_path: Path) -> None:
    """A poll that was under way, or one whose packets get lost on the first metre, only times out."""
    with two_accounts(tmp_path) as bench:
        go_offline(bench)
        unreachable(bench, "a", "here", Kind.TIMEOUT)
        assert open_incidents(bench) == [("network", "this machine")]
        unreachable(bench, "b", "there", Kind.CONNECT)
        assert open_incidents(bench) == []


def test_an_account_whose_new_address_is_not_reached_either_is_probed_again(tmp_path: Path) -> None:
    with two_accounts(tmp_path) as bench:
        go_offline(bench)
        elsewhere = dataclasses.replace(HERE, base_url="http://127.0.0.1:2/v1")
        new = [*TWO, *(watch(name) for name in "cdefgh")]
        bench.keeper.post(lambda: bench.apply(bench.configuration(new, [elsewhere, THERE])))
        bench.settle()
        bench.now += 0.1
        taken = [key for key in bench.table.take() if key.api == "here"]
        assert len(taken) == 7  # the new address is tried at once
        for key in taken:
            unreachable(bench, key.id, "here")
            bench.table.land(key, None)
        assert open_incidents(bench) == [("network", "this machine")]
        bench.now += 31
        assert len([key for key in bench.table.take() if key.api == "here"]) == 1


def test_an_account_that_is_removed_leaves_the_incident_to_the_others(tmp_path: Path) -> None:
    with two_accounts(tmp_path) as bench:
        go_offline(bench)
        bench.keeper.post(lambda: bench.apply(bench.configuration(TWO[:1], [HERE])))
        bench.settle()
        assert open_incidents(bench) == [("network", "this machine")]
        bench.answer("a", plain("a", "processing"))
        assert open_incidents(bench) == []


def with_limit(answer: Answer, remaining: str, reset: str) -> Answer:
    limit = {"ratelimit-remaining": remaining, "ratelimit-reset": reset}
    return dataclasses.replace(answer, headers={**answer.headers, **limit})


def test_what_an_api_has_left_slows_the_account_down_until_it_has_more(tmp_path: Path) -> None:
    with running(tmp_path, [watch(name, interval=1.0) for name in "abcdefgh"]) as bench:
        assert len(bench.table.take()) == 8
        bench.answer("a", with_limit(plain("a", "processing"), "2", "10"))
        for name in "bcdefgh":
            bench.answer(name, plain(name, "processing"))
        load = bench.table.load("here")
        assert load is not None
        assert load.allowed == pytest.approx(0.2)
        bench.now += 1
        assert len(bench.table.take()) == 1
        bench.answer("b", with_limit(plain("b", "processing"), "59999", "1"))
        load = bench.table.load("here")
        assert load is not None
        assert load.allowed == pytest.approx(1000.0)


def test_an_account_that_cannot_keep_up_is_logged_once_and_noted_for_status(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slow = an_api("here", rate=1000.0, concurrency=2)
    with running(tmp_path, [watch(name, interval=1.0) for name in "abcdefgh"], [slow]) as bench:
        for _ in range(3):
            taken = bench.table.take()
            assert len(taken) == 2
            bench.now += 3
            for key in taken:
                bench.answer(key.id, plain(key.id, "processing"))
        with caplog.at_level("WARNING"):
            for _ in range(2):
                bench.keeper.post(bench.keeper._write_polls)
                bench.settle()
        (row,) = bench.store.accounts_overview()
        assert (row.name, row.asked, row.allowed, row.latency) == ("here", 8.0, 1000.0, 3.0)
        (said,) = [record.getMessage() for record in caplog.records]
        assert said.startswith('account cannot keep up api=here asked=8 why="at 3 s a poll, 24 would be in flight')


def test_while_this_machine_reaches_nothing_no_channel_is_an_incident(tmp_path: Path) -> None:
    failing = Incident(IncidentKind.CHANNEL, "team", START, "cannot resolve hooks.slack.com")
    with two_accounts(tmp_path) as bench:
        for _ in range(6):
            unreachable(bench, "a", "here")
            unreachable(bench, "b", "there")
            bench.now += 30
        bench.keeper.post(lambda: bench.keeper.begin_incident(failing))
        bench.settle()
        assert open_incidents(bench) == [("network", "this machine")]
        bench.answer("a", problem(503))
        bench.keeper.post(lambda: bench.keeper.begin_incident(failing))
        bench.settle()
        assert open_incidents(bench) == [("channel", "team")]


@pytest.mark.parametrize("how", ["network", "account"])
def test_an_incident_of_what_is_polled_no_more_is_closed_and_what_comes_later_is_polled_as_always(
    tmp_path: Path, how: str
) -> None:
    with two_accounts(tmp_path) as bench:
        if how == "network":
            for _ in range(6):
                unreachable(bench, "a", "here")
                unreachable(bench, "b", "there")
                bench.now += 30
        else:
            bench.answer("a", problem(401, "Unauthenticated", "no"))
        assert len(open_incidents(bench)) == 1
        events = bench.events()
        for watches in ([], [watch("c")]):
            config = bench.configuration(watches, [HERE, THERE])
            bench.keeper.post(lambda config=config: bench.apply(config))  # type: ignore[misc]
            bench.settle()
            assert open_incidents(bench) == []
        assert bench.table.take() == [Key("here", "c")]
        bench.answer("c", plain("c", "processing"))
        bench.now += 30
        assert bench.table.take() == [Key("here", "c")]
        assert bench.events() == events
