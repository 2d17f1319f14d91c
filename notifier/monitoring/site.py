"""The sockets: a WSGI application is served where the configuration says, whatever its clients do.

waitress reads and writes all connections in one thread and has a few others make the answers, so that a client that is
slow, or silent, holds up nobody. What it lets a client do all the same is taken away here: a connection is good for one
request and for a limited time in all, not since its last byte, and when there are too many, the oldest give way.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from notifier.logs import event, mistake
from notifier.monitoring.pages import ALWAYS, TEXT

logger = logging.getLogger(__name__)

RETRY = 10.0
"""Seconds between attempts to listen where it was not possible."""
GRACE = 2.0
"""Seconds that answers in the making get when the site is closed."""
THREADS = 4
"""That make answers."""
CONNECTIONS = 100
"""At once; each is an open file."""
MOST_OWED = 64 * 2**20
"""Bytes of answers that their clients have not taken yet, in all, before the oldest of those clients gives way."""
TO_ASK, TO_LISTEN = 10.0, 60.0
"""Seconds in which a request must be there, and its answer be taken."""
PAUSE = 0.5
"""Seconds without new connections after one could not be accepted."""
SETTINGS = {
    "ident": None,
    "expose_tracebacks": False,
    "max_request_header_size": 16 * 2**10,
    "max_request_body_size": 2**10,
    "outbuf_overflow": 2**30,  # beyond it the answer goes through a temporary file, and the disk may be full
    "threads": THREADS,
}

# It tells of what clients do, each time and in their words: there are requests that it trips over, and logs, such as
# `GET http://[ HTTP/1.1`.
logging.getLogger("waitress").setLevel(logging.CRITICAL)


class _Answering(WSGITask):
    def start(self) -> None:
        super().start()
        self.set_close_on_finish()  # one request a connection: else any number may be asked for before one is read


class _Refusing(ErrorTask):
    """The answer to what is no request: without the client's own words, which waitress repeats."""

    def execute(self) -> None:
        error = self.request.error
        self.status = f"{error.code} {error.reason}"
        self.response_headers = [("Content-Type", TEXT), *ALWAYS]
        body = f"{error.reason}\n".encode()
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Connection(HTTPChannel):
    """One client. In the server's own thread, but for `service`."""

    task_class = _Answering
    error_task_class = _Refusing

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.ends_at = time.monotonic() + TO_ASK
        super().__init__(*arguments, **named)

    def service(self) -> None:
        """Make the answer. In one of the other threads."""
        super().service()
        self.ends_at = time.monotonic() + TO_LISTEN

    def handle_expt(self) -> None:
        """Out-of-band data is no part of HTTP; left alone, it would wake the thread for ever."""
        self.handle_close()


class _Dispatcher(ThreadedTaskDispatcher):
    """The threads that make answers, known by their names."""

    def start_new_thread(self, target: Callable[..., None], thread_no: int) -> None:
        threading.Thread(target=target, args=(thread_no,), name=f"http {thread_no}", daemon=True).start()


class _Server(TcpWSGIServer):
    """One listening socket and its connections. In a thread of its own, but for `pull_trigger`."""

    def __init__(self, application: Any, listening: socket.socket, dispatcher: _Dispatcher) -> None:
        self._ending = threading.Lock()
        self._has_ended = False
        self._accept_at = 0.0
        place = (listening.family, listening.type, listening.proto, listening.getsockname())
        adjustments = Adjustments(sockets=[listening], **SETTINGS)
        super().__init__(
            application, _sock=listening, dispatcher=dispatcher, adj=adjustments, sockinfo=place, bind_socket=False
        )

    def run(self) -> None:
        """Serve until `end`."""
        while self._map:
            # select(), its default, cannot do a file number above 1023, and the daemon has thousands of files open.
            wasyncore.loop(timeout=1, use_poll=True, map=self._map, count=1)
            self._close_overdue()

    def end(self) -> None:
        """Close everything, and let `run` end."""
        with self._ending:
            self._has_ended = True
        wasyncore.close_all(self._map, ignore_all=True)

    # After the end, the trigger's descriptor may be somebody else's: the store's, say.

    def ask_to_end(self) -> None:
        """Have `end` called. From any thread, once."""
        with self._ending:
            if not self._has_ended:
                self.trigger.pull_trigger(self.end)

    def pull_trigger(self) -> None:
        """Wake the server's thread. From any other."""
        with self._ending:
            if not self._has_ended:
                self.trigger.pull_trigger()

    def readable(self) -> bool:
        """Whether a new connection is wanted. In waitress this closes those that are over, by the wall clock."""
        return self.accepting and time.monotonic() >= self._accept_at

    def handle_accept(self) -> None:
        """Take a new connection; the oldest that nobody works for gives way where there are too many."""
        if len(self.active_channels) >= CONNECTIONS:
            for connection in [each for each in self._connections() if not each.requests][:1]:
                connection.handle_close()
        try:
            accepted = self.accept()
        except OSError as error:  # no descriptor is left, say: asked for again at once, it would be so a thousand times
            self._accept_at = time.monotonic() + PAUSE
            event(logger, logging.DEBUG, "a connection was not accepted", reason=error.strerror)
            return
        if accepted is None:
            return
        client, address = accepted
        try:
            self.set_socket_options(client)
            _Connection(self, client, address, self.adj, map=self._map)
        except OSError:  # it has gone already
            client.close()

    def handle_error(self) -> None:
        """Unlike a connection, the server is not closed by a mistake."""
        mistake(logger, "a connection was not accepted")

    def _close_overdue(self) -> None:
        now = time.monotonic()
        for connection in self._connections():
            if now >= connection.ends_at and not connection.requests:
                connection.handle_close()
        slow = [each for each in self._connections() if each.total_outbufs_len]
        while len(slow) > 1 and sum(each.total_outbufs_len for each in slow) > MOST_OWED:
            slow.pop(0).handle_close()

    def _connections(self) -> list[_Connection]:
        """The oldest first."""
        return list(self.active_channels.values())


class _Serving:
    """A server at work."""

    def __init__(self, application: Any, host: str, port: int) -> None:
        """Raises OSError where the place cannot be listened on."""
        listening = _listen(host, port)
        self._dispatcher = _Dispatcher()
        try:
            self._server = _Server(application, listening, self._dispatcher)
            self._dispatcher.set_thread_count(THREADS)
        except BaseException:  # whatever it was, the place must be free again
            listening.close()
            raise
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._server.run()
        except Exception:  # noqa: BLE001 - nobody waits for this thread: only the log can tell
            mistake(logger, "the site has ended")
        finally:
            self._server.end()

    @property
    def alive(self) -> bool:
        """Whether it still serves."""
        return self._thread.is_alive()

    def close(self) -> bool:
        """Free the place, and end every connection; whether no thread of it is left."""
        self._dispatcher.shutdown(timeout=GRACE)
        self._server.ask_to_end()
        self._thread.join(GRACE)
        return not self._thread.is_alive() and not self._dispatcher.threads


def _listen(host: str, port: int) -> socket.socket:
    # `localhost` is 127.0.0.1: whoever resolves it to ::1 as well tries both.
    numeric = "127.0.0.1" if host == "localhost" else host
    (family, kind, protocol, _, place), *_ = socket.getaddrinfo(
        numeric, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
    except BaseException:  # whatever it was, the socket must not stay
        listening.close()
        raise
    return listening


class Site:
    """Serves a WSGI application at one place at a time. For one thread at a time.

    A place that cannot be listened on ends nothing: it is logged when it changes, and tried again every 10 s.
    """

    def __init__(self, application: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._application, self._monotonic = application, monotonic
        self._serving: _Serving | None = None
        self._place: tuple[str, int] | None = None
        """Where it serves, or tries to."""
        self._try_at = 0.0
        self._complaint = ""

    def tend(self, place: tuple[str, int] | None) -> None:
        """Serve at this host and port, or nowhere; to be called every now and then."""
        if place != self._place:
            self.stop()
            self._place, self._try_at, self._complaint = place, 0.0, ""
        if self._serving is not None and not self._serving.alive:
            self.stop()
        if place is not None and self._serving is None and self._monotonic() >= self._try_at:
            self._start(*place)

    def stop(self) -> bool:
        """Serve no more; whether no thread of it is left."""
        serving, self._serving = self._serving, None
        return serving is None or serving.close()

    def _start(self, host: str, port: int) -> None:
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self._serving = _Serving(self._application, host, port)
        except OSError as error:
            self._try_at = self._monotonic() + RETRY
            reason = error.strerror or str(error)
            level = logging.DEBUG if reason == self._complaint else logging.ERROR
            self._complaint = reason
            event(logger, level, "http: cannot listen: it is tried again", address=address, reason=reason)
        else:
            self._complaint = ""
            event(logger, logging.INFO, "http: listening", address=address)
