"""The transport's start, its end, and what a mistake costs."""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue
from typing import Any

import pytest
import requests

from notifier.transport import Answer, Kind, Transport
from notifier.transport.exchange import Buffered
from tests.standins import api as misbehaving
from tests.standins.api import ApiStandIn
from tests.test_transport import MIB, answered, ask, failed, prepared


def test_what_was_submitted_before_the_start_is_carried_then(api: ApiStandIn) -> None:
    transport = Transport()
    answers: SimpleQueue[Answer] = SimpleQueue()
    transport.submit(prepared(api.url("x")), timeout=20, max_body=MIB, done=answers.put)
    alive = [transport.alive]
    transport.start()
    alive.append(transport.alive)
    answered(answers.get(timeout=20))
    transport.close()
    assert [*alive, transport.alive] == [False, True, False]


def test_closing_abandons_what_is_under_way_and_may_be_repeated(api: ApiStandIn) -> None:
    api.script("x", [misbehaving.hang])
    transport = Transport()
    transport.start()
    answers: SimpleQueue[Answer] = SimpleQueue()
    for _ in range(10):
        transport.submit(prepared(api.url("x")), timeout=60, max_body=MIB, done=answers.put)
    api.wait_for(10)
    threads = threading.active_count()
    transport.close()
    transport.close()
    assert threading.active_count() == threads - 1
    transport.submit(prepared(api.url("x")), timeout=60, max_body=MIB, done=answers.put)
    assert answers.empty()


def test_a_transport_that_was_never_started_can_be_closed() -> None:
    transport = Transport()
    transport.close()
    transport.close()
    assert failed(ask(transport, "http://127.0.0.1/")).kind is Kind.CLOSED


def test_closing_from_the_transports_own_thread_works(api: ApiStandIn) -> None:
    transport = Transport()
    transport.start()
    closed = threading.Event()

    def close(_answer: Answer) -> None:
        transport.close()
        closed.set()

    transport.submit(prepared(api.url("x")), timeout=20, max_body=MIB, done=close)
    assert closed.wait(20)
    transport.close()
    assert not transport.alive


def test_whoever_waits_is_told_when_the_transport_is_closed(transport: Transport, api: ApiStandIn) -> None:
    api.script("x", [misbehaving.hang])
    answers: SimpleQueue[Answer] = SimpleQueue()
    waiting = threading.Thread(target=lambda: answers.put(ask(transport, api.url("x"), timeout=60)))
    waiting.start()
    api.wait_for()
    transport.close()
    assert failed(answers.get(timeout=20)).kind is Kind.CLOSED
    waiting.join()


def test_waiting_in_the_transports_own_thread_is_refused(transport: Transport, api: ApiStandIn) -> None:
    refused: SimpleQueue[str] = SimpleQueue()

    def wait(_answer: Answer) -> None:
        try:
            ask(transport, api.url("x"))
        except RuntimeError as error:
            refused.put(str(error))

    transport.submit(prepared(api.url("x")), timeout=20, max_body=MIB, done=wait)
    assert "wait for itself" in refused.get(timeout=20)


def test_a_mistake_of_one_who_asked_costs_nobody_else_an_answer(
    transport: Transport, api: ApiStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(_answer: Answer) -> None:
        raise ZeroDivisionError

    transport.submit(prepared(api.url("x")), timeout=20, max_body=MIB, done=stumble)
    assert answered(ask(transport, api.url("x"))).status_code == 404
    assert transport.alive
    assert "an answer is not taken" in caplog.text


def test_a_mistake_in_taking_a_body_is_that_exchanges_failure(api: ApiStandIn) -> None:
    class Broken(Buffered):
        @property
        def limit(self) -> int:
            raise ZeroDivisionError

        @limit.setter
        def limit(self, value: int) -> None:
            pass

    transport = Transport()
    transport._buffered = Broken(0)
    transport.start()
    try:
        api.script("x", [misbehaving.Answer(200, b"x" * MIB)])
        error = failed(ask(transport, api.url("x")))
        assert (error.kind, error.reason) == (Kind.CLOSED, "our own mistake: ZeroDivisionError")
        assert answered(ask(transport, api.url("y"))).status_code == 404
    finally:
        transport.close()


def test_a_request_that_is_none_costs_nobody_else_an_answer(transport: Transport, api: ApiStandIn) -> None:
    error = failed(transport.exchange(requests.PreparedRequest(), timeout=20, max_body=MIB))
    assert (error.kind, error.reason) == (Kind.REQUEST, "cannot be sent: TypeError")
    assert failed(transport.exchange(prepared(api.url("x")), timeout=float("nan"), max_body=1)).kind is Kind.REQUEST
    assert answered(ask(transport, api.url("x"), timeout=float("inf"))).status_code == 404


class BrokenEpoll:
    """One that cannot watch anything any more."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def register(self, descriptor: int, events: int) -> None:
        raise MemoryError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_when_the_loop_fails_everybody_is_told_and_it_shows(api: ApiStandIn, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake of ours in one of libcurl's callbacks, which pycurl by itself would only print."""
    api.script("slow", [misbehaving.hang])
    transport = Transport()
    transport.start()
    answers: SimpleQueue[Answer] = SimpleQueue()
    for _ in range(10):
        transport.submit(prepared(api.url("slow")), timeout=60, max_body=MIB, done=answers.put)
    api.wait_for(10)
    transport._epoll = BrokenEpoll(transport._epoll)  # type: ignore[assignment]
    transport.submit(prepared(api.url("x")), timeout=60, max_body=MIB, done=answers.put)
    assert {failed(answers.get(timeout=20)).kind for _ in range(11)} == {Kind.CLOSED}
    assert not transport.alive
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]
    assert failed(ask(transport, api.url("x"))).kind is Kind.CLOSED, "and whoever comes later"
    assert answers.empty()
    transport.close()
