"""The question, as it goes over a real wire; and an answer from there to its reading."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest
import requests

from notifier import __version__
from notifier.model import Api, FailedPoll, Failure, Observation, Secret
from notifier.poll import BearerAuth, Poller
from notifier.transport import Answer, Transport, TransportError
from tests.standins import api as misbehaving
from tests.standins.api import ApiStandIn, comet_error, plain, prediction, problem, wrapped

TOKEN = "r8_secret-token"
NOW = 1_790_000_000.0


@pytest.fixture
def api() -> Iterator[ApiStandIn]:
    with ApiStandIn(token=TOKEN) as standin:
        yield standin


def poller_of(api: ApiStandIn, transport: Transport, *, timeout: float = 20.0, token: str = TOKEN) -> Poller:
    return Poller(Api("cometapi", api.base_url, Secret(token), timeout=timeout, max_body=2**20), transport)


def poll(poller: Poller, prediction_id: str) -> Observation | FailedPoll:
    return poller.read(poller.ask_once(prediction_id), prediction_id, NOW)


def test_the_question_is_one_get_with_the_token(api: ApiStandIn, transport: Transport) -> None:
    poller_of(api, transport).ask_once("abc")
    (seen,) = api.wait_for()
    headers = dict(seen.headers)
    assert (seen.method, seen.path, seen.body) == ("GET", "/replicate/v1/predictions/abc", b"")
    assert "gzip" in headers.pop("accept-encoding")
    assert headers == {
        "host": f"127.0.0.1:{api.port}",
        "authorization": f"Bearer {TOKEN}",
        "accept": "application/json",
        "user-agent": f"prediction-notifier/{__version__}",
    }


def test_asking_returns_at_once_and_the_answer_comes_later(api: ApiStandIn, transport: Transport) -> None:
    api.script("x", [plain("x", "processing").with_(held=True)])
    poller = poller_of(api, transport)
    answers: SimpleQueue[Answer] = SimpleQueue()
    poller.ask("x", answers.put)
    api.wait_for()
    assert answers.empty()
    api.release()
    assert poller.read(answers.get(timeout=20), "x", NOW) == Observation("processing", created_at=1773314838.258)


def test_the_same_poller_asks_for_one_after_another(api: ApiStandIn, transport: Transport) -> None:
    poller = poller_of(api, transport)
    for prediction_id in ("one", "two", "three"):
        api.script(prediction_id, [plain(prediction_id, "starting")])
        assert isinstance(poll(poller, prediction_id), Observation)
    assert [seen.id for seen in api.requests] == ["one", "two", "three"]
    assert api.connections == 1


@pytest.mark.parametrize("odd", ["../../account", "..", ".", "a/b", "a?b=c", "a#b", "a b", "%2e%2e", "ä"])
def test_an_id_cannot_lead_the_token_to_another_path(api: ApiStandIn, transport: Transport, odd: str) -> None:
    poller_of(api, transport).ask_once(odd)
    (seen,) = api.wait_for()
    assert seen.id == odd
    assert seen.path.count("/") == 4
    assert not set(seen.path.rpartition("/")[2]) & set(".?# ")


def test_a_redirect_is_a_failure_and_the_other_host_sees_nothing(api: ApiStandIn, transport: Transport) -> None:
    with ApiStandIn() as other:
        location = f"{other.base_url}/secret-path?signature=1"
        api.script("x", [misbehaving.Answer(301, headers={"Location": location})])
        failed = poll(poller_of(api, transport), "x")
        assert other.requests == []
    assert failed == FailedPoll(
        Failure.REDIRECT,
        f"HTTP 301 Moved Permanently: redirected to http://127.0.0.1:{other.port}; is base_url right?",
        301,
    )


def test_netrc_does_not_replace_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: ApiStandIn) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login eve password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    transport = Transport()
    transport.start()
    try:
        poller_of(api, transport).ask_once("x")
    finally:
        transport.close()
    assert api.wait_for()[0].headers["authorization"] == f"Bearer {TOKEN}"
    with requests.Session() as session:
        request = session.prepare_request(requests.Request("GET", api.url("x"), auth=BearerAuth(Secret(TOKEN))))
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"


def test_the_token_is_not_shown_where_an_answer_repeats_it(api: ApiStandIn, transport: Transport) -> None:
    poller = poller_of(api, transport)
    api.script("x", [comet_error(401, f"invalid key {TOKEN}!"), plain("x", "failed", error=f"no such key: {TOKEN}")])
    refused, seen = poll(poller, "x"), poll(poller, "x")
    assert isinstance(refused, FailedPoll)
    assert refused.reason == "HTTP 401 Unauthorized: invalid key ***!"
    assert isinstance(seen, Observation)
    assert seen.error == "no such key: ***"


def test_the_token_is_not_shown_by_the_poller_or_what_it_makes(api: ApiStandIn, transport: Transport) -> None:
    poller = poller_of(api, transport)
    shown = [poller, vars(poller), BearerAuth(Secret(TOKEN)), vars(BearerAuth(Secret(TOKEN))), poller.ask_once("x")]
    assert TOKEN not in repr(shown)


def test_a_short_token_does_not_garble_the_answer(transport: Transport) -> None:
    with ApiStandIn(token="status") as api:
        api.script("x", [plain("x", "starting")])
        assert isinstance(poll(poller_of(api, transport, token="status"), "x"), Observation)


def test_one_poll_after_another_through_every_kind_of_trouble(api: ApiStandIn, transport: Transport) -> None:
    poller = poller_of(api, transport, timeout=5)
    packed = gzip.compress(json.dumps(prediction("x", "succeeded", output="hi")).encode())
    story = [
        # First of all: of a connection that worked before, libcurl would ask again over a fresh one.
        (misbehaving.reset, Failure.NETWORK),
        (plain("x", "starting"), "starting"),
        (problem(500, "Oops"), Failure.SERVER),
        (misbehaving.truncated, Failure.NETWORK),
        (misbehaving.sends(b"garbage\r\n\r\n"), Failure.MALFORMED),
        (misbehaving.Answer(200, b"x" * (2**20 + 1)), Failure.MALFORMED),
        (misbehaving.Answer(200, b"<!doctype html><title>CometAPI</title>"), Failure.MALFORMED),
        (misbehaving.Answer(200, packed[:-20], {"Content-Encoding": "gzip"}), Failure.MALFORMED),
        (wrapped("x", "IN_PROGRESS"), "processing"),
        (misbehaving.Answer(200, packed, {"Content-Encoding": "gzip"}), "succeeded"),
        (problem(429, detail="slow down", Retry_After="3"), Failure.THROTTLED),
        (plain("x", "succeeded", output="hi"), "succeeded"),
    ]
    api.script("x", [answer for answer, _ in story])
    seen = [poll(poller, "x") for _ in story]
    told = [one.status if isinstance(one, Observation) else one.failure for one in seen]
    assert told == [expected for _, expected in story]


def test_the_deadline_is_the_accounts(api: ApiStandIn, transport: Transport) -> None:
    api.script("x", [misbehaving.drip])
    started = time.monotonic()
    failed = poll(poller_of(api, transport, timeout=1.0), "x")
    assert time.monotonic() - started < 4
    assert isinstance(failed, FailedPoll)
    assert failed.failure is Failure.SILENT
    assert failed.reason.endswith("within 1 s")


def test_a_token_that_no_header_can_hold_is_told_without_showing_it(api: ApiStandIn, transport: Transport) -> None:
    answer = poller_of(api, transport, token="r8_sécret€token").ask_once("x")
    assert isinstance(answer, TransportError)
    assert "€" not in repr(answer)
    assert api.requests == []
