"""How a download comes to an end that is none of the file: limits, sinks that will not or cannot, and other answers."""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from queue import SimpleQueue

import pytest
import requests

from notifier.transport import Answer, Head, Kind, Limits, Transport, TransportError
from tests.sinks import ANYWHERE, MIB, MemorySink, failed, fetch, get, limits, whole
from tests.standins import files as play
from tests.standins.files import FileStandIn

CONTENT = random.Random(7).randbytes(2 * MIB)
NAME = "out-0.png"


@pytest.fixture
def files() -> Iterator[FileStandIn]:
    with FileStandIn() as files:
        files.put(NAME, CONTENT)
        yield files


@pytest.fixture
def url(files: FileStandIn) -> str:
    return files.url(NAME)


# --- limits ------------------------------------------------------------------------------------------------------


def test_a_file_as_long_as_the_limit_is_taken(transport: Transport, url: str) -> None:
    whole(fetch(transport, url, MemorySink(), within=limits(max_size=len(CONTENT))))


def test_a_file_that_says_beforehand_that_it_is_too_long_is_not_begun(
    transport: Transport, files: FileStandIn, url: str
) -> None:
    files.script(NAME, [play.stalled(after=0)])
    sink = MemorySink()
    error = failed(fetch(transport, url, sink, within=limits(max_size=MIB)))
    assert (error.kind, error.reason) == (Kind.TOO_LARGE, "too large: a file of over 1 MiB")
    assert sink.heads == []


@pytest.mark.parametrize("how", [play.chunked, play.until_closed], ids=["chunks", "end"])
def test_a_file_that_turns_out_too_long_is_given_up(
    transport: Transport, files: FileStandIn, url: str, how: play.Play
) -> None:
    files.script(NAME, [how])
    sink = MemorySink()
    assert failed(fetch(transport, url, sink, within=limits(max_size=MIB))).kind is Kind.TOO_LARGE
    assert len(sink.data) <= MIB


def test_what_is_there_already_counts(transport: Transport, files: FileStandIn, url: str) -> None:
    sink = MemorySink(CONTENT[:MIB])
    answer = fetch(transport, url, sink, within=limits(max_size=len(CONTENT) - 1), Range=f"bytes={MIB}-")
    assert failed(answer).kind is Kind.TOO_LARGE
    assert len(sink.data) == MIB


SLOW = Limits(max_size=64 * MIB, timeout=60.0, stall=1.0, least_speed=1024)


@pytest.mark.parametrize(
    ("how", "came"),
    [(play.silent, 0), (play.stalled(after=0), 0), (play.stalled(after=MIB), MIB), (play.dripping(0.02), None)],
    ids=["silent", "stalled at once", "stalled", "dripping"],
)
def test_a_server_that_does_not_get_on_is_left(
    transport: Transport, files: FileStandIn, url: str, how: play.Play, came: int | None
) -> None:
    files.script(NAME, [how])
    sink = MemorySink()
    error = failed(fetch(transport, url, sink, within=SLOW))
    assert (error.kind, error.reason) == (Kind.TIMEOUT, "time-out: under 1 KiB/s for 1 s")
    assert len(sink.data) == came if came is not None else sink.data, "what came is not lost"


def test_a_server_that_lets_nobody_in_is_left(transport: Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection, and does not speak TLS
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        error = failed(fetch(transport, url, MemorySink(), within=limits(stall=0.3)))
    assert (error.kind, error.reason) == (Kind.TIMEOUT, "time-out: no connection within 0.3 s")


def test_slow_but_steady_is_good_enough(transport: Transport, files: FileStandIn) -> None:
    files.put("small", b"x" * 60)
    files.script("small", [play.dripping(0.05)])
    sink = MemorySink()
    whole(fetch(transport, files.url("small"), sink, within=replace(SLOW, least_speed=1)))
    assert sink.data == b"x" * 60


def test_there_is_an_end_to_all_of_it(transport: Transport, files: FileStandIn, url: str) -> None:
    files.script(NAME, [play.stalled(after=MIB)])
    error = failed(fetch(transport, url, MemorySink(), within=limits(timeout=0.5)))
    assert (error.kind, error.reason) == (Kind.TIMEOUT, "time-out: the download did not end within 0.5 s")


def test_redirects_do_not_begin_the_time_anew(transport: Transport, files: FileStandIn, url: str) -> None:
    async def late(turn: play.Turn) -> bool:
        await asyncio.sleep(0.8)
        await turn.body(302, b"", {"Location": f"/{NAME}"})
        return True

    files.script(NAME, [late, late, late])
    assert failed(fetch(transport, url, MemorySink(), within=limits(timeout=2.0))).kind is Kind.TIMEOUT


# --- answers that are not the file -------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [302, 304, 400, 403, 404, 410, 429, 500, 503, 599])
def test_another_answer_is_told_with_what_it_says(
    transport: Transport, files: FileStandIn, url: str, code: int
) -> None:
    body = b"" if code == 304 else b"<Error><Code>AccessDenied</Code></Error>"
    files.script(NAME, [play.status(code, body, Retry_After="7")])
    sink = MemorySink()
    answer = fetch(transport, url, sink)
    assert isinstance(answer, requests.Response)
    assert (answer.status_code, answer.headers["Retry-After"]) == (code, "7")
    assert answer.content == (b"" if code == 302 else body)
    assert sink.heads == []


@pytest.mark.parametrize("how", [play.stalled(after=MIB), play.streams(64 * MIB)], ids=["stalls", "goes on"])
def test_of_another_answer_no_more_is_read_than_could_be_shown(
    transport: Transport, files: FileStandIn, url: str, how: play.Play
) -> None:
    class Refusing(play.Turn):
        async def head(self, code: int = 200, headers: object = None) -> None:
            await super().head(403, {"Content-Length": str(64 * MIB)})

    async def refuse(turn: play.Turn) -> None:
        await how(Refusing(turn.connection, turn.seen, turn.file))

    files.script(NAME, [refuse])
    began = time.monotonic()
    answer = fetch(transport, url, MemorySink(), within=limits(max_size=1))
    assert isinstance(answer, requests.Response)
    assert (answer.status_code, len(answer.content)) == (403, 4096)
    assert time.monotonic() - began < limits().stall, "nobody waited for more"


@pytest.mark.parametrize(
    "how", [play.stalled(after=4), play.reset(after=4), play.truncated(after=4)], ids=["stalls", "resets", "ends"]
)
def test_another_answer_counts_though_its_body_fails(
    transport: Transport, files: FileStandIn, url: str, how: play.Play
) -> None:
    class Refusing(play.Turn):
        async def part(self) -> bytes:
            await self.head(404, {"Content-Length": "100"})
            return b"gone"

    async def refuse(turn: play.Turn) -> None:
        await how(Refusing(turn.connection, turn.seen, turn.file))

    files.script(NAME, [refuse])
    answer = fetch(transport, url, MemorySink(), within=SLOW)
    assert isinstance(answer, requests.Response)
    assert (answer.status_code, answer.content) == (404, b"gone")


def test_a_file_is_gone_after_a_while(transport: Transport) -> None:
    now = 0.0
    with FileStandIn(clock=lambda: now) as files:
        files.put(NAME, CONTENT, expires_at=3600.0, gone=410)
        whole(fetch(transport, files.url(NAME), MemorySink()))
        now = 3600.0
        answer = fetch(transport, files.url(NAME), MemorySink())
    assert isinstance(answer, requests.Response)
    assert (answer.status_code, answer.content) == (410, b"expired")


# --- sinks -------------------------------------------------------------------------------------------------------


def no_pages(head: Head) -> str | None:
    kind = head.headers.get("Content-Type", "")
    return "a page instead of an image" if kind.startswith("text/html") else None


def test_a_sink_may_not_want_the_answer(transport: Transport, files: FileStandIn, url: str) -> None:
    files.script(NAME, [play.html])
    sink = MemorySink(b"before", judge=no_pages)
    error = failed(fetch(transport, url, sink))
    assert (error.kind, error.reason) == (Kind.UNWANTED, "unwanted: a page instead of an image")
    assert (sink.data, sink.blocks) == (b"before", [])
    assert sink.head.headers["Content-Type"] == "text/html; charset=utf-8"
    whole(fetch(transport, url, MemorySink(judge=no_pages)))


class FullSink(MemorySink):
    """One that has no space left at some time."""

    def __init__(self, at: str, error: Exception) -> None:
        super().__init__()
        self._at = at
        self._error = error

    def begin(self, head: Head) -> str | None:
        if self._at == "begin":
            raise self._error
        return super().begin(head)

    def write(self, data: bytes) -> None:
        if self._at == "write" and self.blocks:
            raise self._error
        super().write(data)


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("at", ["begin", "write"])
def test_a_sink_that_cannot_is_a_failure_that_says_so(
    transport: Transport, url: str, at: str, caplog: pytest.LogCaptureFixture
) -> None:
    error = failed(fetch(transport, url, FullSink(at, FULL)))
    assert (error.kind, error.reason) == (Kind.SINK, "cannot be written: No space left on device")
    assert error.__cause__ is FULL
    whole(fetch(transport, url, MemorySink()))
    assert caplog.records == []


def test_a_disk_that_is_full_is_told_rather_than_the_connection_that_broke(
    transport: Transport, files: FileStandIn, url: str
) -> None:
    """What is left to write when the connection ends is where the disk may turn out to be full."""

    class Full(MemorySink):
        def write(self, data: bytes) -> None:
            raise FULL

    files.script(NAME, [play.truncated(after=1000)])
    assert failed(fetch(transport, url, Full())).kind is Kind.SINK


@pytest.mark.parametrize("at", ["begin", "write"])
def test_a_mistake_in_a_sink_costs_nobody_else_a_file(transport: Transport, url: str, at: str) -> None:
    error = failed(fetch(transport, url, FullSink(at, ZeroDivisionError())))
    assert (error.kind, error.reason) == (Kind.CLOSED, "our own mistake: ZeroDivisionError")
    assert transport.alive
    whole(fetch(transport, url, MemorySink()))


def test_an_error_does_not_keep_what_was_at_hand(transport: Transport, url: str) -> None:
    assert failed(fetch(transport, url, FullSink("write", FULL))).__traceback__ is None


# --- requests that are none --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "HEAD", "DELETE"])
def test_a_download_is_a_get(transport: Transport, files: FileStandIn, url: str, method: str) -> None:
    request = requests.Request(method, url).prepare()
    error = failed(transport.fetch(request, sink=MemorySink(), guard=ANYWHERE, limits=limits()))
    assert (error.kind, error.reason) == (Kind.REQUEST, "cannot be sent: a download is a GET without a body")
    assert files.requests == []


def test_a_request_that_is_none_costs_nobody_else_a_file(transport: Transport, url: str) -> None:
    request = requests.PreparedRequest()
    assert failed(transport.fetch(request, sink=MemorySink(), guard=ANYWHERE, limits=limits())).kind is Kind.REQUEST
    whole(fetch(transport, url, MemorySink()))


# --- closing -----------------------------------------------------------------------------------------------------


def test_closing_abandons_downloads_and_whoever_waits_is_told(files: FileStandIn, url: str) -> None:
    files.script(NAME, [], then=play.stalled(after=MIB))
    transport = Transport()
    transport.start()
    answers: SimpleQueue[Answer] = SimpleQueue()
    abandoned: SimpleQueue[Answer] = SimpleQueue()
    waiting = threading.Thread(target=lambda: answers.put(fetch(transport, url, MemorySink())))
    waiting.start()
    transport.download(get(url), sink=MemorySink(), guard=ANYWHERE, limits=limits(), done=abandoned.put)
    files.wait_for(2)
    transport.close()
    assert failed(answers.get(timeout=20)).kind is Kind.CLOSED
    waiting.join()
    assert abandoned.empty()
    assert failed(fetch(transport, url, MemorySink())).kind is Kind.CLOSED


def test_no_sink_is_called_once_whoever_waited_was_told(files: FileStandIn, url: str) -> None:
    """He may close the file, whose number the next one to open a file is given."""
    writing, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    class Slow(MemorySink):
        def write(self, data: bytes) -> None:
            writing.set()
            go_on.wait(20)
            order.append("written")

    def wait() -> None:
        order.append(failed(fetch(transport, url, Slow())).kind)

    files.script(NAME, [play.stalled(after=len(CONTENT) - 1)])
    transport = Transport()
    transport.start()
    waiting = threading.Thread(target=wait)
    waiting.start()
    assert writing.wait(20)
    closing = threading.Thread(target=transport.close)
    closing.start()
    waiting.join(0.3)
    go_on.set()
    waiting.join(20)
    closing.join(20)
    assert order[-1] == Kind.CLOSED
    assert set(order[:-1]) == {"written"}


def test_waiting_in_the_transports_own_thread_is_refused(transport: Transport, url: str) -> None:
    refused: SimpleQueue[str] = SimpleQueue()

    def wait(_answer: Answer) -> None:
        try:
            fetch(transport, url, MemorySink())
        except RuntimeError as error:
            refused.put(str(error))

    transport.download(get(url), sink=MemorySink(), guard=ANYWHERE, limits=limits(), done=wait)
    assert "wait for itself" in refused.get(timeout=20)


def test_when_the_transport_fails_whoever_waits_for_a_file_is_told(
    files: FileStandIn, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble() -> None:
        raise ZeroDivisionError

    files.script(NAME, [play.stalled(after=0)])
    transport = Transport()
    transport.start()
    answers: SimpleQueue[Answer] = SimpleQueue()
    transport.download(get(url), sink=MemorySink(), guard=ANYWHERE, limits=limits(), done=answers.put)
    files.wait_for()
    transport.call(stumble)
    error = answers.get(timeout=20)
    assert isinstance(error, TransportError)
    assert error.kind is Kind.CLOSED
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL]
    assert failed(fetch(transport, url, MemorySink())).kind is Kind.CLOSED
    transport.close()
