"""Which question gets which answer, and who may ask."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from notifier.errors import StoreError
from notifier.monitoring import OK, Answer, Pages, Site, as_json
from tests.standins.asker import Heard, ask, free_port, request

ALLOWED, REFUSED = 200, 403


class Asked:
    """Two pages over a real socket, one of which fails for as long as there is a `failure`."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.pages = Pages({"/well": lambda: as_json(OK, {"well": True}), "/ill": self.answer})
        self.site = Site(self.pages)
        self.port = free_port()
        self.site.tend(("127.0.0.1", self.port))

    def answer(self) -> Answer:
        if self.failure is not None:
            raise self.failure
        return as_json(OK, {"ill": ["é\n", {"list": [1]}], "none": None, "empty": [], "nothing": {}})

    def hear(self, said: bytes) -> Heard:
        return ask(self.port, said)


@pytest.fixture
def asked() -> Iterator[Asked]:
    asked = Asked()
    yield asked
    assert asked.site.stop()


# --- who may ask -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", ALLOWED),
        ("127.0.0.1:9464", ALLOWED),
        ("192.168.1.7:80", ALLOWED),  # no name can be led elsewhere that is none
        ("[::1]:9464", ALLOWED),
        ("[fe80::1]", ALLOWED),
        ("localhost", ALLOWED),
        ("LocalHost:1", ALLOWED),
        ("localhost.", ALLOWED),
        ("Monitor.example.com:9464", ALLOWED),
        ("nas", ALLOWED),
        ("example.com", REFUSED),
        ("evil.monitor.example.com", REFUSED),
        ("monitor.example.com.evil.test", REFUSED),
        ("127.0.0.1.evil.test", REFUSED),
        ("127.1", REFUSED),
        ("0x7f000001", REFUSED),
        ("localhost@evil.test", REFUSED),
        ("evil.test:80:localhost", REFUSED),
        ("[::1", REFUSED),
        ("[localhost]:1", REFUSED),
        ("[127.0.0.1]", REFUSED),
        ("::1", REFUSED),
        ("", REFUSED),
        ("localhost evil.test", REFUSED),
        ("loc\xe4lhost", REFUSED),
    ],
)
def test_a_name_that_a_web_page_can_lead_here_is_refused(asked: Asked, host: str, status: int) -> None:
    asked.pages.hosts = ("monitor.example.com", "nas")
    heard = asked.hear(request("/well", f"Host: {host}"))
    assert heard.status == status
    if status == REFUSED:
        assert b"http.hosts" in heard.body


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"GET /well HTTP/1.1\r\n\r\n", REFUSED),
        (b"GET /well HTTP/1.0\r\n\r\n", ALLOWED),
        (request("/well", "Host: localhost", "Host: evil.test"), REFUSED),
        (request("/well", "Host: localhost", "Host: localhost"), REFUSED),
        (request("http://evil.test/well", "Host: localhost"), REFUSED),
        (request("HTTP://localhost:1/well", "Host: evil.test"), ALLOWED),
        (request("/well?http://evil.test/"), ALLOWED),
        (request("/well", "Host: evil.test", version="HTTP/1.0"), REFUSED),
        (request("/well", "Host: evil.test", "X-Forwarded-Host: localhost"), REFUSED),
    ],
)
def test_it_is_the_name_that_was_really_asked_by_which_counts(asked: Asked, said: bytes, status: int) -> None:
    assert asked.hear(said).status == status


def test_no_other_page_of_the_web_is_let_read_it(asked: Asked) -> None:
    heard = asked.hear(request("/well", "Origin: https://evil.test"))
    assert not [name for name in heard.headers if name.startswith("access-control")]


# --- which answer ------------------------------------------------------------------------------------------------


def test_json_is_json(asked: Asked) -> None:
    heard = asked.hear(request("/ill"))
    assert heard.headers["content-type"] == "application/json"
    assert json.loads(heard.body) == {"ill": ["é\n", {"list": [1]}], "none": None, "empty": [], "nothing": {}}


def test_what_there_is_stands_at_the_root(asked: Asked) -> None:
    heard = asked.hear(request("/"))
    assert (heard.status, heard.body) == (200, b"/well\n/ill\n")
    assert heard.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", ["/well?x=1", "//well", "/%77ell"])
def test_a_page_is_found_however_its_path_is_written(asked: Asked, path: str) -> None:
    assert asked.hear(request(path)).body == b'{"well": true}\n'


@pytest.mark.parametrize("path", ["/well/", "/Well", "/../well", "/<script>", "*", "/%00"])
def test_nothing_else_is_found(asked: Asked, path: str) -> None:
    heard = asked.hear(request(path))
    assert (heard.status, heard.body) == (404, b"there is /, /well, /ill\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_nothing_is_changed(asked: Asked, method: str) -> None:
    heard = asked.hear(request("/well", method=method))
    assert (heard.status, heard.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/well", "/nowhere", "/ill"])
def test_every_answer_is_of_its_moment_and_is_what_it_says_it_is(asked: Asked, path: str) -> None:
    asked.failure = StoreError("x")
    heard = asked.hear(request(path))
    assert (heard.headers["cache-control"], heard.headers["x-content-type-options"]) == ("no-store", "nosniff")
    assert "server" not in heard.headers
    head = asked.hear(request(path, method="HEAD"))
    assert (head.status, head.body) == (heard.status, b"")
    assert head.headers["content-length"] == heard.headers["content-length"]


# --- what goes wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "status", "logged", "times"),
    [
        (StoreError("the store /secret/place is damaged"), 503, 'http: not answered path=/ill reason="the store', 2),
        # Of the program's own, the same is said once an hour.
        (
            ZeroDivisionError("oops"),
            500,
            'mistake in the program effect="http: not answered" error=ZeroDivisionError',
            1,
        ),
    ],
)
def test_what_goes_wrong_is_no_traceback_to_who_asks_and_logged_when_it_changes(
    asked: Asked, caplog: pytest.LogCaptureFixture, failure: Exception, status: int, logged: str, times: int
) -> None:
    caplog.set_level(logging.INFO)
    caplog.clear()
    asked.failure = failure
    for _ in range(3):
        heard = asked.hear(request("/ill"))
        assert heard.status == status
        assert json.loads(heard.body).keys() == {"error"}
        assert not any(word in heard.body for word in (b"secret", b"oops", b"Traceback", b"File"))
    assert caplog.text.count(logged) == len(caplog.records) == 1
    assert asked.hear(request("/well")).status == 200
    asked.failure = None
    assert asked.hear(request("/ill")).status == 200
    assert asked.hear(request("/ill")).status == 200
    assert [record.getMessage() for record in caplog.records[1:]] == ["http: answered again path=/ill"]
    asked.failure = failure
    asked.hear(request("/ill"))
    assert caplog.text.count(logged) == times
