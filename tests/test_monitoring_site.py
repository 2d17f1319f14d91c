"""The sockets: whatever clients do, others are answered; and what is closed leaves nothing."""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import pytest

from notifier.monitoring import Site, site
from tests.standins.asker import Heard, ask, connect, free_port, hear, request, until

HUGE = b"x" * (24 * 2**20)
"""More than the kernel keeps for a client that does not read."""


class Application:
    """A WSGI application with a short answer, a huge one, and one that is made for as long as `gate` is shut."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.gate = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        self.asked.append(path)
        if path == "/slow":
            self.gate.wait(30)
        body = HUGE if path == "/huge" else b"well"
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return () if environ["REQUEST_METHOD"] == "HEAD" else (body,)


class Served:
    """A site on a free port."""

    def __init__(self) -> None:
        self.application = Application()
        self.now = 0.0
        self.site = Site(self.application, lambda: self.now)
        self.port = free_port()
        self.tend()

    def tend(self) -> None:
        self.site.tend(("127.0.0.1", self.port))

    def has_answered(self, count: int) -> bool:
        """Whether it was asked for the huge answer so often."""
        return self.application.asked.count("/huge") == count

    def connected(self) -> list[object]:
        """The addresses of the clients that the server holds."""
        assert self.site._serving is not None
        return [connection.addr for connection in list(self.site._serving._server.active_channels.values())]

    def is_well(self) -> bool:
        return ask(self.port, request()).body == b"well"


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("http")]


@pytest.fixture
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.application.gate.set()
    assert served.site.stop()
    until(lambda: not threads())


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as clients:
        yield clients


def open_files() -> set[str]:
    """Those that stand in a folder, even if they have no name there any more."""
    found = {os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")}
    return {file for file in found if not file.startswith("/proc/")}


def is_over(connection: socket.socket) -> bool:
    """Whether the server has closed it; waits for that."""
    try:
        while connection.recv(2**20):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def drip(connection: socket.socket, said: bytes) -> None:
    for byte in said:
        connection.sendall(bytes([byte]))
        time.sleep(0.02)


# --- clients that do as they should ------------------------------------------------------------------------------


def test_one_request_is_answered_over_each_connection_without_a_word_on_who_answers(served: Served) -> None:
    heard = ask(served.port, request() * 50)
    assert (heard.status, heard.headers["connection"], heard.body, heard.rest) == (200, "close", b"well", b"")
    assert "server" not in heard.headers
    assert served.application.asked == ["/"]


def test_head_has_the_headers_and_no_body(served: Served) -> None:
    heard = ask(served.port, request(method="HEAD"))
    assert (heard.status, heard.headers["content-length"], heard.body) == (200, "4", b"")


def test_http_1_0_is_spoken_too(served: Served) -> None:
    assert ask(served.port, b"GET / HTTP/1.0\r\n\r\n").body == b"well"


def test_an_answer_of_megabytes_arrives_whole_at_a_slow_reader(served: Served) -> None:
    with connect(served.port) as connection:
        connection.sendall(request("/huge"))
        time.sleep(0.3)
        assert hear(connection).body == HUGE


def test_the_address_may_be_ipv6_or_localhost() -> None:
    for host, address in (("::1", "::1"), ("localhost", "127.0.0.1")):
        port = free_port()
        site = Site(Application())
        try:
            site.tend((host, port))
            with connect(port, address) as connection:
                connection.sendall(request())
                assert hear(connection).body == b"well"
        finally:
            assert site.stop()


# --- clients that do not -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: loc"])
def test_hundreds_of_half_open_connections_hold_up_nobody(served: Served, clients: ExitStack, said: bytes) -> None:
    for _ in range(3):
        for _ in range(150):
            clients.enter_context(connect(served.port)).sendall(said)
        begin = time.monotonic()
        assert served.is_well()
        assert time.monotonic() - begin < site.TO_ASK / 2


def test_a_request_that_comes_byte_by_byte_ends_in_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "TO_ASK", 0.5)
    with connect(served.port) as connection:
        begin = time.monotonic()
        with pytest.raises(ConnectionError):
            drip(connection, request("/", "X: " + "x" * 3000))
        assert time.monotonic() - begin < 15  # of the minute that it would take
    assert served.is_well()


def test_whoever_does_not_read_the_answer_holds_up_nobody_and_is_let_go_of(
    served: Served, clients: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "MOST_OWED", 2**40)
    silent = [clients.enter_context(connect(served.port)) for _ in range(2 * site.THREADS)]
    for connection in silent:
        connection.sendall(request("/huge") * 20)
    until(lambda: served.has_answered(len(silent)))
    assert served.is_well()
    monkeypatch.setattr(site, "TO_LISTEN", 0.3)
    late = clients.enter_context(connect(served.port))
    late.sendall(request("/huge"))
    until(lambda: served.has_answered(len(silent) + 1))
    until(lambda: late.getsockname() not in served.connected())
    assert len(hear(late).body) < len(HUGE)


def test_of_those_who_do_not_read_the_oldest_give_way_when_all_that_is_owed_is_too_much(
    served: Served, clients: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "MOST_OWED", 3 * len(HUGE))  # the kernel holds some megabytes of each as well
    silent = [clients.enter_context(connect(served.port)) for _ in range(6)]
    for number, connection in enumerate(silent):
        connection.sendall(request("/huge"))
        until(partial(served.has_answered, number + 1))
    assert served.is_well()
    until(lambda: len(served.connected()) <= 4)
    whole = [len(hear(connection).body) == len(HUGE) for connection in silent]
    assert whole[-1]
    assert whole == sorted(whole)
    assert 3 <= sum(whole) <= 4


def test_an_answer_that_waits_for_its_reader_is_kept_in_memory(served: Served) -> None:
    """Not in a temporary file: that the disk is full is one of the things it tells."""
    before = open_files()
    with connect(served.port) as connection:
        connection.sendall(request("/huge"))
        until(lambda: served.has_answered(1))
        assert served.is_well()
        assert open_files() <= before
        assert hear(connection).body == HUGE


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (request("/", "X: " + "x" * 2**20), {431, 0}),  # closed while it is still talking, it need not hear why
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}),
        (b"nonsense\r\n\r\n", {400}),
        (b'g"<script>\r\nt / HTTP/1.1\r\n\r\n', {400}),
        (request("http://["), {0}),
        (request("http://\xb2/"), {400}),
        (request("/", "Content-Length: " + "9" * 5000), {0}),
        (request("/", "Content-Length: -1"), {400}),
        (request("/", "Content-Length: 1048576", method="POST") + b"x" * 2**20, {413, 0}),
        (request("/", "Transfer-Encoding: chunked", method="POST") + b"100000\r\n" + b"x" * 2**20, {413, 0}),
        (request("/", "Transfer-Encoding: chunked", method="POST") + b"zz\r\n", {400}),
        (request("/", "Transfer-Encoding: gzip"), {501}),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else "",
)
def test_what_is_no_request_is_refused_in_our_words_and_not_logged(
    served: Served, caplog: pytest.LogCaptureFixture, said: bytes, status: set[int]
) -> None:
    with connect(served.port) as connection:
        try:
            connection.sendall(said)
            heard = hear(connection)
        except (BrokenPipeError, ConnectionResetError):
            heard = Heard(0, {}, b"", b"")
    assert heard.status in status
    if heard.status:
        assert (heard.headers["cache-control"], heard.headers["x-content-type-options"]) == ("no-store", "nosniff")
        assert heard.headers["content-type"].startswith("text/plain")
        assert b"script" not in heard.body
    assert served.is_well()
    assert served.application.asked == ["/"]
    assert caplog.records == []


def test_out_of_band_data_ends_a_connection(served: Served) -> None:
    with connect(served.port) as connection:
        begin = time.monotonic()
        connection.send(b"!", socket.MSG_OOB)
        assert is_over(connection)
        assert time.monotonic() - begin < site.TO_ASK / 2  # until then it would wake the server again and again
    assert served.is_well()


def test_a_client_that_goes_while_its_answer_is_made_is_no_news(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(site.THREADS):
        with connect(served.port) as connection:
            connection.sendall(request("/slow"))
            until(lambda: "/slow" in served.application.asked)
    served.application.gate.set()
    assert served.is_well()
    assert caplog.records == []


# --- the process's own limits ------------------------------------------------------------------------------------


@pytest.fixture
def many_files() -> Iterator[None]:
    """More than select() can do: 1,200 open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2000:
        pytest.skip(f"needs more open files than {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1200)]
    yield
    for file in files:
        os.close(file)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_it_works_beside_more_open_files_than_select_can_do(many_files: None) -> None:
    served = Served()
    try:
        with connect(served.port) as connection:
            assert connection.fileno() > 1100
            assert served.is_well()
    finally:
        assert served.site.stop()


def test_without_a_descriptor_for_a_connection_it_waits_instead_of_spinning(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []

    def accept(_: object) -> None:
        tries.append(time.monotonic())
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch, connect(served.port) as waiting:
        patch.setattr(site._Server, "accept", accept)
        with connect(served.port) as second:
            until(lambda: len(tries) >= 3)
            assert tries[2] - tries[0] >= 2 * site.PAUSE
            second.sendall(request())
        patch.undo()
        waiting.sendall(request())
        assert hear(waiting).body == b"well"


# --- where it listens --------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_an_error_once_and_tried_again(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    other = Site(Application(), lambda: served.now)
    place = ("127.0.0.1", served.port)
    for served.now in (0.0, 5.0, 11.0, 22.0):
        other.tend(place)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert f'address=127.0.0.1:{served.port} reason="Address already in use"' in caplog.text
    assert served.site.stop()
    served.now = 31.0
    other.tend(place)
    assert len(caplog.records) == 1  # not yet
    served.now = 32.0
    other.tend(place)
    assert "http: listening" in caplog.text
    assert served.is_well()
    assert other.stop()


def test_an_address_of_another_machine_is_an_error_and_no_end(caplog: pytest.LogCaptureFixture) -> None:
    other = Site(Application())
    other.tend(("192.0.2.1", free_port()))
    assert "Cannot assign requested address" in caplog.text
    assert other.stop()


def test_it_moves_and_what_it_leaves_is_free_with_every_connection_ended(served: Served) -> None:
    before = served.port
    with connect(before) as idle, connect(before) as unread:
        unread.sendall(request("/huge"))
        until(lambda: served.application.asked == ["/huge"])
        served.port = free_port()
        served.tend()
        assert is_over(idle)
        assert is_over(unread)
    assert served.is_well()
    with closing(socket.socket()) as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind(("127.0.0.1", before))
        taker.listen()


def test_it_is_closed_while_an_answer_is_made_and_another_waits(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site, "GRACE", 0.3)
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(served.port)) for _ in range(site.THREADS + 2)]
        for connection in connections:
            connection.sendall(request("/slow"))
        until(lambda: served.application.asked.count("/slow") == site.THREADS)
        assert not served.site.stop()  # threads of it are still at work, and said so
        assert all(map(is_over, connections))
        served.application.gate.set()
        until(lambda: not threads())


def test_many_starts_and_stops_leave_no_file_and_no_thread(served: Served) -> None:
    begin = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        assert served.site.stop()
        served.tend()
        assert served.is_well()
    until(lambda: len(threads()) == 1 + site.THREADS)
    until(lambda: len(os.listdir("/proc/self/fd")) <= begin)


def test_a_mistake_of_ours_that_ends_its_thread_is_logged_and_it_starts_anew(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("oops")

    with monkeypatch.context() as patch:
        patch.setattr(site._Server, "_close_overdue", broken)
        until(lambda: "the site has ended" in caplog.text)
    until(lambda: "http" not in threads())
    served.tend()
    assert served.is_well()
