"""The outside heartbeat: real pings over a real transport; time is passed in."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import pytest

from notifier.model import Heartbeat, Secret
from notifier.service.pings import RETRY, Pings
from notifier.transport import Transport
from tests.standins.api import Answer, ApiStandIn, hang, plain, problem

TAKEN = plain("switch", "processing")


class Bench:
    def __init__(self, api: ApiStandIn, transport: Transport) -> None:
        self.api = api
        self.now = 0.0
        self.pings = Pings(transport, lambda: self.now)
        self.configure()

    def configure(self, name: str = "switch", every: float = 60.0) -> None:
        self.pings.configure(Heartbeat(Secret(f"{self.api.base_url}/predictions/{name}"), every))

    def beat(self, seconds: float = 0.0, count: int | None = None) -> None:
        """Beat after so many seconds, and wait until there were so many pings in all and the last was answered."""
        self.now += seconds
        self.pings.beat()
        if count is not None:
            self.api.wait_for(count)
            deadline = time.monotonic() + 10
            while self.pings._in_flight is not None:
                assert time.monotonic() < deadline
                time.sleep(0.005)


@pytest.fixture
def bench(api: ApiStandIn) -> Iterator[Bench]:
    transport = Transport()
    transport.start()
    yield Bench(api, transport)
    transport.close()


def test_it_pings_at_once_and_then_once_a_period(bench: Bench) -> None:
    bench.api.script("switch", [TAKEN])
    bench.beat(count=1)
    bench.beat(59.0)
    bench.beat(1.0, count=2)
    bench.beat(60.0, count=3)
    assert [request.method for request in bench.api.requests] == ["GET"] * 3
    assert bench.api.requests[0].headers["user-agent"].startswith("prediction-notifier/")
    assert "authorization" not in bench.api.requests[0].headers


def test_one_that_is_not_taken_is_tried_again_soon_and_logged_when_that_changes(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    redirect = Answer(302, headers={"Location": "/elsewhere"})
    bench.api.script("switch", [problem(500), problem(500), redirect, TAKEN, TAKEN])
    with caplog.at_level(logging.INFO, "notifier"):
        for count in range(1, 5):
            bench.beat(RETRY, count=count)
        bench.beat(RETRY)
        bench.beat(60.0, count=5)
    assert caplog.messages == [
        'outside heartbeat not taken reason="HTTP 500"',
        'outside heartbeat not taken reason="HTTP 302"',
        "outside heartbeat taken",
    ]
    assert {request.id for request in bench.api.requests} == {"switch"}  # no redirect is followed


def test_one_that_hangs_is_not_repeated_meanwhile(bench: Bench) -> None:
    bench.api.script("switch", [hang])
    bench.beat()
    bench.api.wait_for(1)
    bench.beat(120.0)
    bench.beat(120.0)
    assert len(bench.api.requests) == 1


def test_another_address_is_pinged_at_once_and_none_any_more(bench: Bench) -> None:
    bench.api.script("switch", [hang])
    bench.api.script("other", [TAKEN])
    bench.beat()
    bench.api.wait_for(1)
    bench.configure("other")
    bench.beat(count=2)
    bench.configure("other")  # the same: nothing changes
    bench.beat(1.0)
    bench.pings.configure(None)
    bench.beat(120.0)
    assert [request.id for request in bench.api.requests] == ["switch", "other"]


def test_the_address_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    transport = Transport()
    transport.start()
    pings = Pings(transport, lambda: 0.0)
    pings.configure(Heartbeat(Secret("http://127.0.0.1:1/s3cret-uuid?key=s3cret")))
    with caplog.at_level(logging.DEBUG):
        pings.beat()
        deadline = time.monotonic() + 10
        while not caplog.messages:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    transport.close()
    assert caplog.messages[0].startswith("outside heartbeat not taken reason=")
    assert "s3cret" not in caplog.text
