"""The transport against a real server that behaves, and one that does not."""

from __future__ import annotations

import errno
import gzip
import os
import threading
import zlib
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pycurl
import pytest
import requests

from notifier.transport import Answer, Kind, Transport, TransportError
from notifier.transport.carrier import MAX_HEADERS
from notifier.transport.errors import from_curl
from tests.standins import api as misbehaving
from tests.standins.api import ApiStandIn, plain, sends

MIB = 2**20
SHORT = 1.0
"""A deadline, in seconds, for those who are bound to miss it."""


def prepared(url: str, method: str = "GET", **settings: Any) -> requests.PreparedRequest:
    return requests.Request(method, url, **settings).prepare()


def ask(transport: Transport, url: str, *, timeout: float = 20.0, max_body: int = MIB) -> Answer:
    return transport.exchange(prepared(url), timeout=timeout, max_body=max_body)


def answered(answer: Answer) -> requests.Response:
    assert isinstance(answer, requests.Response), answer
    return answer


def failed(answer: Answer) -> TransportError:
    assert isinstance(answer, TransportError), answer
    return answer


# --- well-behaved ------------------------------------------------------------------------------------------------


def test_an_answer_is_a_genuine_response_with_its_content_read(transport: Transport, api: ApiStandIn) -> None:
    api.script("x", [plain("x", "starting").with_(headers={"ratelimit-reset": "1", "X-A": "1"})])
    request = prepared(api.url("x"))
    answer = answered(transport.exchange(request, timeout=20, max_body=MIB))
    assert (answer.status_code, answer.reason, answer.ok) == (200, "OK", True)
    assert answer.headers["RATELIMIT-RESET"] == "1"
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["status"] == "starting"
    assert answer.url == api.url("x")
    assert answer.request is request
    assert answer.elapsed.total_seconds() > 0
    assert b"".join(answer.iter_content(10)) == answer.content
    answer.close()


def test_headers_go_out_exactly_as_requests_prepared_them(transport: Transport, api: ApiStandIn) -> None:
    api.script("x", [plain("x", "starting")])
    transport.exchange(
        prepared(api.url("x"), headers={"Authorization": "Bearer t", "X-Empty": "", "Accept-Encoding": "identity"}),
        timeout=20,
        max_body=MIB,
    )
    headers = dict(api.wait_for()[0].headers)
    assert "gzip" in headers.pop("accept-encoding"), "libcurl says what it can decode"
    assert headers == {"authorization": "Bearer t", "x-empty": "", "host": f"127.0.0.1:{api.port}"}


def test_a_handle_that_is_used_again_sends_the_next_requests_own_headers(transport: Transport, api: ApiStandIn) -> None:
    api.script("x", [plain("x", "starting")])
    for headers in ({"Authorization": "Bearer one"}, {}, {"Authorization": "Bearer two"}):
        transport.exchange(prepared(api.url("x"), headers=headers), timeout=20, max_body=MIB)
    assert [seen.headers.get("authorization") for seen in api.wait_for(3)] == ["Bearer one", None, "Bearer two"]


def test_a_connection_is_used_again(transport: Transport, api: ApiStandIn) -> None:
    api.script("x", [plain("x", "starting")])
    for _ in range(5):
        answered(ask(transport, api.url("x")))
    assert api.connections == 1


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(transport: Transport, api: ApiStandIn) -> None:
    api.script("x", [plain("x", "starting").with_(closes=True)])
    for _ in range(3):
        assert answered(ask(transport, api.url("x"))).status_code == 200
    assert api.connections == 3


def test_five_hundred_exchanges_are_in_flight_at_once_on_one_thread(transport: Transport, api: ApiStandIn) -> None:
    api.script("x", [plain("x", "starting").with_(held=True)])
    answers: SimpleQueue[Answer] = SimpleQueue()
    threads = threading.active_count()
    for _ in range(500):
        transport.submit(prepared(api.url("x")), timeout=60, max_body=MIB, done=answers.put)
    api.wait_for(500)
    assert threading.active_count() == threads
    assert answers.empty()
    api.release()
    assert all(answered(answers.get(timeout=30)).status_code == 200 for _ in range(500))
    assert answers.empty()


def test_a_path_is_sent_as_it_is(transport: Transport, api: ApiStandIn) -> None:
    request = prepared(api.url("x"))
    request.url = api.url("%2E%2E/..%2Fy")
    transport.exchange(request, timeout=20, max_body=MIB)
    assert api.wait_for()[0].path.endswith("/predictions/%2E%2E/..%2Fy")


@pytest.mark.parametrize("status", [204, 404, 429, 503])
def test_every_status_is_an_answer(transport: Transport, api: ApiStandIn, status: int) -> None:
    api.script("x", [misbehaving.Answer(status, headers={"Retry-After": "7"})])
    answer = answered(ask(transport, api.url("x")))
    assert (answer.status_code, answer.headers["retry-after"]) == (status, "7")


def test_an_interim_answer_is_not_the_answer(transport: Transport, api: ApiStandIn) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\n\r\n"
    api.script("x", [sends(early + b"HTTP/1.1 200 Fine\r\nX-Late: 1\r\nContent-Length: 2\r\n\r\nok")])
    answer = answered(ask(transport, api.url("x")))
    assert (answer.status_code, answer.reason, answer.content) == (200, "Fine", b"ok")
    assert dict(answer.headers) == {"X-Late": "1", "Content-Length": "2"}


def test_repeated_headers_are_joined_and_trailers_are_none(transport: Transport, api: ApiStandIn) -> None:
    head = b"HTTP/1.1 200 OK\nVia: a\r\nvia: b\r\nX-Odd: caf\xe9\r\nTransfer-Encoding: chunked\r\n\r\n"
    api.script("x", [sends(head + b"2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n")])
    answer = answered(ask(transport, api.url("x")))
    assert (answer.content, answer.headers["Via"], answer.headers["X-Odd"]) == (b"ok", "a, b", "caf\xe9")
    assert "X-Trailer" not in answer.headers


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_bodies_are_decoded(transport: Transport, api: ApiStandIn, encoding: str) -> None:
    body = b'{"id": "x"}' * 1000
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    api.script("x", [misbehaving.Answer(200, packed, {"Content-Encoding": encoding})])
    assert answered(ask(transport, api.url("x"))).content == body


# --- what it does not do -----------------------------------------------------------------------------------------


def test_a_redirect_is_an_answer_and_is_not_followed(transport: Transport, api: ApiStandIn) -> None:
    with ApiStandIn() as other:
        api.script("x", [misbehaving.Answer(301, headers={"Location": other.url("x")})])
        answer = answered(ask(transport, api.url("x")))
        assert (answer.status_code, answer.headers["Location"]) == (301, other.url("x"))
        assert other.requests == []


def test_netrc_is_not_read(api: ApiStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login eve password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    transport = Transport()
    transport.start()
    try:
        ask(transport, api.url("x"))
    finally:
        transport.close()
    assert "authorization" not in api.wait_for()[0].headers


def test_cookies_are_not_kept(transport: Transport, api: ApiStandIn) -> None:
    api.script("x", [plain("x", "starting").with_(headers={"Set-Cookie": "a=b"})])
    for _ in range(2):
        ask(transport, api.url("x"))
    assert "cookie" not in api.wait_for(2)[1].headers


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "gopher://127.0.0.1:1/x"])
def test_no_other_protocol_is_spoken(transport: Transport, url: str) -> None:
    request = prepared("http://127.0.0.1/")
    request.url = url
    assert failed(transport.exchange(request, timeout=20, max_body=MIB)).kind is not Kind.TIMEOUT


@pytest.mark.parametrize(("header", "value"), [("X-A", "a\r\nX-B: b"), ("X-A", "€"), ("X-A\n", "b="), ("X-A", "b=\0")])
def test_a_header_that_could_not_be_sent_is_refused_without_showing_it(
    transport: Transport, api: ApiStandIn, header: str, value: str
) -> None:
    request = prepared(api.url("x"))
    request.headers[header] = value
    error = failed(transport.exchange(request, timeout=20, max_body=MIB))
    assert error.kind is Kind.REQUEST
    assert value not in str(error)
    assert api.requests == []
    assert answered(ask(transport, api.url("x"))).status_code == 404, "the next one is carried"


# --- misbehaving servers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (misbehaving.hang, "time-out: no answer within 1 s"),
        (misbehaving.hang_in_headers, "time-out: the answer did not end within 1 s"),
        (misbehaving.hang_in_body, "time-out: the answer did not end within 1 s"),
        (misbehaving.drip, "time-out: "),
        (misbehaving.Answer(200, b"late", delay=5), "time-out: no answer within 1 s"),
    ],
    ids=["hang", "hang in headers", "hang in body", "drip", "late"],
)
def test_the_deadline_is_for_the_whole_exchange(
    transport: Transport, api: ApiStandIn, answer: misbehaving.Answer, reason: str
) -> None:
    api.script("x", [answer])
    error = failed(ask(transport, api.url("x"), timeout=SHORT))
    assert error.kind is Kind.TIMEOUT
    assert error.reason.startswith(reason)


def test_a_body_that_drips_misses_the_deadline_too(transport: Transport, api: ApiStandIn) -> None:
    async def play(connection: misbehaving.Connection, raw: bytes) -> None:
        head, _, body = raw.partition(b"\r\n\r\n")
        await connection.write(head + b"\r\n\r\n")
        drip = misbehaving.drip.play
        assert drip is not None
        await drip(connection, body)

    api.script("x", [misbehaving.Answer(200, b"x" * 100, play=play)])
    error = failed(ask(transport, api.url("x"), timeout=SHORT))
    assert (error.kind, error.reason) == (Kind.TIMEOUT, "time-out: the answer did not end within 1 s")


TWO_LENGTHS = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\nokay"
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (misbehaving.reset, Kind.BROKEN),
        (misbehaving.reset_in_body, Kind.BROKEN),
        (misbehaving.truncated, Kind.BROKEN),
        (sends(b""), Kind.BROKEN),
        (sends(CHUNKED + b"2\r\nok\r\n"), Kind.BROKEN),
        (sends(CHUNKED + b"zz\r\nok\r\n0\r\n\r\n"), Kind.BROKEN),
        (sends(CHUNKED + b"2\r\nokokok\r\n0\r\n\r\n"), Kind.BROKEN),
        (sends(b"\x16\x03\x01\x00garbage\r\n\r\n"), Kind.MALFORMED),
        (sends(b'{"id": "x", "status": "succeeded"}'), Kind.MALFORMED),
        (sends(b"HTTP/9.9 200 OK\r\n\r\n"), Kind.MALFORMED),
        (sends(HEAD + b"X-A: \0\r\nContent-Length: 2\r\n\r\nok"), Kind.MALFORMED),
        (sends(HEAD + b"Content-Length: -2\r\n\r\nok"), Kind.MALFORMED),
        (sends(TWO_LENGTHS), Kind.MALFORMED),
        (misbehaving.Answer(200, b"not gzip", {"Content-Encoding": "gzip"}), Kind.MALFORMED),
        (misbehaving.Answer(200, b"?", {"Content-Encoding": "rot13"}), Kind.MALFORMED),
        (misbehaving.Answer(200, b"", {"X-Long": "x" * 70_000}), Kind.TOO_LARGE),
        (misbehaving.Answer(200, b"", {"X-Longer": "x" * 500_000}), Kind.TOO_LARGE),
        (misbehaving.Answer(200, b"", {f"X-{n}": "" for n in range(MAX_HEADERS + 1)}), Kind.TOO_LARGE),
        (sends((b"HTTP/1.1 103 Early Hints\r\nX-A: " + b"x" * 1000 + b"\r\n\r\n") * 100), Kind.TOO_LARGE),
        (misbehaving.Answer(200, b"x" * (MIB + 1)), Kind.TOO_LARGE),
        (sends(HEAD + b"\r\n" + b"x" * (MIB + 1)), Kind.TOO_LARGE),
        (misbehaving.Answer(200, gzip.compress(b"0" * 64 * MIB), {"Content-Encoding": "gzip"}), Kind.TOO_LARGE),
    ],
    ids=lambda value: value.value if isinstance(value, Kind) else "",
)
def test_a_fault_on_the_wire_is_told_by_its_kind_and_the_next_exchange_is_fine(
    transport: Transport, api: ApiStandIn, answer: misbehaving.Answer, kind: Kind
) -> None:
    api.script("x", [answer, plain("x", "starting")])
    error = failed(ask(transport, api.url("x")))
    assert error.kind is kind, error
    assert error.reason.isprintable()
    assert answered(ask(transport, api.url("x"))).json()["id"] == "x"


def test_a_body_as_long_as_the_limit_is_taken(transport: Transport, api: ApiStandIn) -> None:
    api.script("x", [misbehaving.Answer(200, b"x" * MIB)])
    assert len(answered(ask(transport, api.url("x"), max_body=MIB)).content) == MIB
    assert failed(ask(transport, api.url("x"), max_body=MIB - 1)).reason == "too large: a body of over 1048575 bytes"


def test_a_body_that_says_beforehand_that_it_is_too_long_is_not_read(transport: Transport, api: ApiStandIn) -> None:
    head = HEAD + b"Content-Length: %d\r\n\r\n" % (2 * MIB)

    async def play(connection: misbehaving.Connection, raw: bytes) -> None:
        await connection.write(head)
        await connection.gone()

    api.script("x", [misbehaving.Answer(play=play)])
    assert failed(ask(transport, api.url("x"))).reason == "too large: a body of over 1 MiB"


def test_a_body_that_is_decoded_to_nothing_has_an_end_too(transport: Transport, api: ApiStandIn) -> None:
    """Empty blocks of deflate, for as long as anybody listens (RFC 1951, 3.2.4)."""

    async def play(connection: misbehaving.Connection, raw: bytes) -> None:
        await connection.write(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10])
        while True:
            await connection.write(b"\x00\x00\x00\xff\xff" * 10_000)

    api.script("x", [misbehaving.Answer(play=play)])
    assert failed(ask(transport, api.url("x"))).reason == "too large: a body of over 1 MiB"


def test_a_connection_refused_is_told(transport: Transport) -> None:
    with ApiStandIn() as gone:
        url = gone.url("x")
    error = failed(ask(transport, url))
    assert error.kind is Kind.CONNECT
    assert error.reason.endswith(": Connection refused")
    assert " ms" not in error.reason, "the same failure reads the same each time"


@pytest.mark.parametrize("os_error", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN])
def test_no_way_to_the_hosts_network_is_told_from_a_host_that_refuses(os_error: int) -> None:
    error = from_curl(
        pycurl.E_COULDNT_CONNECT, "Failed to connect to a.example:443 after 3 ms: Could not connect to server", os_error
    )
    assert error.kind is Kind.NO_ROUTE
    assert error.reason == f"connection: Failed to connect to a.example:443: {os.strerror(os_error)}"


def test_a_host_without_an_address_is_told(transport: Transport) -> None:
    too_long = "x" * 64  # for a part of a name (RFC 1035, 2.3.4): no DNS server need be asked
    request = prepared("http://127.0.0.1/")
    request.url = f"http://{too_long}.example/"
    assert failed(transport.exchange(request, timeout=20, max_body=MIB)).kind is Kind.RESOLVE


def test_one_that_hangs_does_not_delay_the_others(transport: Transport, api: ApiStandIn) -> None:
    api.script("slow", [misbehaving.hang])
    api.script("x", [plain("x", "starting")])
    slow: SimpleQueue[Answer] = SimpleQueue()
    for _ in range(50):
        transport.submit(prepared(api.url("slow")), timeout=60, max_body=MIB, done=slow.put)
    for _ in range(50):
        assert answered(ask(transport, api.url("x"), timeout=10)).status_code == 200
    assert slow.empty()


def test_a_single_body_may_be_as_long_as_it_was_said(api: ApiStandIn) -> None:
    api.script("big", [misbehaving.Answer(200, b"x" * 2 * MIB)])
    transport = Transport(max_buffered=MIB)
    transport.start()
    try:
        assert len(answered(ask(transport, api.url("big"), max_body=2 * MIB)).content) == 2 * MIB
    finally:
        transport.close()


def test_big_answers_that_nobody_has_read_yet_count_as_well(api: ApiStandIn) -> None:
    """Whoever reads them may be slower than they come: they would pile up before him."""
    big = misbehaving.Answer(200, b"x" * MIB)
    api.script("big", [big])
    transport = Transport(max_buffered=3 * MIB + 1)
    transport.start()
    try:
        unread = [answered(ask(transport, api.url("big"), max_body=2 * MIB)) for _ in range(3)]
        assert "together" in failed(ask(transport, api.url("big"), max_body=2 * MIB)).reason
        unread.pop()
        assert answered(ask(transport, api.url("big"), max_body=2 * MIB)).status_code == 200
    finally:
        transport.close()


def test_big_bodies_together_are_bounded_and_small_ones_pass(api: ApiStandIn) -> None:
    big = misbehaving.Answer(200, b"x" * MIB)
    api.script("big", [big.with_(play=misbehaving.hang_in_body.play)])
    api.script("x", [plain("x", "starting")])
    transport = Transport(max_buffered=3 * MIB)
    transport.start()
    try:
        big_ones: SimpleQueue[Answer] = SimpleQueue()
        for _ in range(5):
            transport.submit(prepared(api.url("big")), timeout=60, max_body=2 * MIB, done=big_ones.put)
        assert "together" in failed(big_ones.get(timeout=20)).reason
        assert answered(ask(transport, api.url("x"))).status_code == 200
    finally:
        transport.close()
