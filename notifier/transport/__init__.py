"""A requests transport adapter on libcurl: one thread carries any number of exchanges.

requests prepares and represents every exchange (PreparedRequest, Response); libcurl carries it, because requests' own
adapter cannot do what a daemon needs: one deadline for the whole exchange from DNS to the last byte (its time-out
starts again at each byte), a limit on decoded bytes, thousands of exchanges without thousands of threads, and one CA
store parsed for all connections.

How it works: curl_multi's socket interface says which sockets to watch, one epoll watches them, so that an event costs
the same however many exchanges are under way (https://curl.se/libcurl/c/libcurl-multi.html, "multi_socket"). Other
threads only append to a deque and ring an eventfd.

Answers are read into memory (`exchange`), or are files that go to a sink as they come (`download`). Whoever writes
files has a Transport of their own for it: while a sink writes, nothing else is carried.

Proxies are the environment's, as libcurl reads it: http_proxy, HTTPS_PROXY, ALL_PROXY, NO_PROXY and so on, but not
HTTP_PROXY in capitals, which a web server's visitor could set ("httpoxy").
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Any

import pycurl
import requests
from requests.adapters import BaseAdapter

from notifier.logs import fatal_mistake, mistake
from notifier.transport.carrier import Answer, Carrier, Done
from notifier.transport.certificates import CaBundleError, ca_bundle
from notifier.transport.download import Download, Following, Hop, Limits, file_request
from notifier.transport.errors import Kind, TransportError, cannot_be_sent
from notifier.transport.exchange import Buffered, Exchange, Job
from notifier.transport.guard import Guard, Origin, origin
from notifier.transport.heads import Head
from notifier.transport.intake import Sink
from notifier.transport.relay import Relay
from notifier.transport.waits import retry_after, seconds_in

__all__ = [
    "Answer", "CaBundleError", "Done", "Guard", "Head", "Kind", "Limits", "Origin", "Sink", "Transport",
    "TransportError", "file_request", "origin", "retry_after", "seconds_in",
]  # fmt: skip

logger = logging.getLogger(__name__)

_SEND_TIMEOUT = 90.0
_CLOSE_PATIENCE = 2.0
"""libcurl 8.20 and later joins its resolver threads, and pycurl has no name for the option that spares us that."""
_CONNECTIONS_KEPT = 16_384
"""libcurl closes idle connections when there are more than this, busy ones included: above any number in flight.

Connections that stay idle are closed by age instead (CURLOPT_MAXAGE_CONN: 118 s unless told otherwise).
"""
_HANDLES_KEPT = 256
_STARTED_AT_ONCE = 64
"""Exchanges started before looking at the sockets again, so that a burst of them holds up none under way."""

_READY = {
    select.EPOLLIN: pycurl.CSELECT_IN,
    select.EPOLLOUT: pycurl.CSELECT_OUT,
}
"""What to tell libcurl of a socket; any other event, an error or a hang-up among them, is for it to look at itself."""
_WANTED = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}


Waiting = SimpleQueue[Answer] | Relay
"""Whoever waits for an answer is told of it by `put`."""


class Transport(BaseAdapter):
    """Carries requests' prepared requests; one thread, any number of them at a time.

    `submit` and `download` are for those who must not wait, `exchange`, `fetch` and requests' own `send` for those who
    may. Answers are genuine `requests.Response` values whose content has been read and decoded. No redirect is followed
    save by downloads, no netrc is read and no cookie is kept. Raises CaBundleError at construction, where the CA bundle
    is chosen.

    `max_body` is the limit of `send`, in decoded bytes; `max_buffered` is what all bodies under way, and all answers
    that whoever asked still has, may hold together, save small ones.
    """

    def __init__(
        self,
        *,
        environment: Mapping[str, str] = os.environ,
        max_body: int = 16 * 2**20,
        max_buffered: int = 64 * 2**20,
    ) -> None:
        super().__init__()
        self._environment = environment
        self._ca_bundle = ca_bundle(environment)
        self._max_body = max_body
        self._buffered = Buffered(max_buffered)
        self._pending: deque[Job | Hop] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        self._waiting: set[Waiting] = set()
        self._fetching: set[Waiting] = set()
        """Likewise, but with a sink: they are told by the thread, when it is done with that."""
        self._thread = threading.Thread(target=self._run, name="transport", daemon=True)
        self._lock = threading.Lock()
        """Held only to ring the bell, and to put it away."""
        self._closed = False
        self._failed = False
        self._disposed = False
        self._rung = False
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, _CONNECTIONS_KEPT)
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._timer: float | None = None
        self._running: dict[pycurl.Curl, Carrier] = {}
        self._idle: list[Carrier] = []
        self._fault: Exception | None = None

    # --- for any thread ------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether exchanges are being carried: started, not closed, and not stopped by a mistake of ours."""
        return self._thread.is_alive() and not self._failed and not self._closed

    def start(self) -> None:
        """Start the thread. What was submitted before is carried now."""
        self._thread.start()

    def close(self) -> None:
        """Abandon what is under way (those who do not wait hear nothing more) and end the thread. May be called again.

        Does not wait for a DNS server that never answers, nor for a sink that does not return for 2 s: the thread then
        ends by itself, or with the process. Otherwise no sink is called any more.
        """
        self._closed = True
        self._ring()
        self._tell_of_the_end(self._waiting)
        if self._thread.ident is None:
            self._dispose()
        elif self._thread is not threading.current_thread():
            self._thread.join(_CLOSE_PATIENCE)

    def submit(self, request: requests.PreparedRequest, *, timeout: float, max_body: int, done: Done) -> None:
        """Carry an exchange; returns at once, may be called from any thread.

        `timeout` is in seconds and for everything, DNS to last byte; `max_body` is in decoded bytes. `done` is called
        once, in the transport's thread, and must be quick. It is not called any more once the transport is closed.
        """
        self._submit(Job(request, timeout, max_body, done))

    def download(
        self, request: requests.PreparedRequest, *, sink: Sink, guard: Guard, limits: Limits, done: Done
    ) -> None:
        """Give a file to the sink; returns at once, may be called from any thread.

        The request is a GET; with `Range: bytes=N-` (and `If-Range`) it is for the rest of a file. Up to five redirects
        are followed, each within the guard, and to another origin without any header that could be a secret.

        `done` is called as that of `submit`. A Response is the last answer: with a 2xx status, the sink has all of its
        body and `content` is empty; with another, the sink has nothing, and `content` is what its body begins with
        (4 KiB). A file that is cut short is a TransportError as every other failure is, and the sink has what came of
        it. What follows the end of an answer, where its own headers set it, is not part of it.

        Bodies are the file's own bytes. A server that compresses all the same (gzip) is put up with, but cannot be
        asked for the rest of such a file.

        Through a proxy, the guard sees no address: it refuses what a name gives away (`localhost`, `10.0.0.1`), and
        where the others lead is for the proxy to judge.
        """
        deadline = time.monotonic() + limits.timeout
        Following(Hop(request, sink, guard, limits, deadline, self._environment, done), self._submit).go_on()

    def call(self, call: Callable[[], None]) -> None:
        """Have something quick, which raises nothing, called in the transport's thread; returns at once."""
        self._calls.append(call)
        self._ring()

    def exchange(self, request: requests.PreparedRequest, *, timeout: float, max_body: int) -> Answer:
        """Carry an exchange and wait for what comes of it; as `submit`, but not for the transport's own thread."""
        answers: SimpleQueue[Answer] = SimpleQueue()
        return self._wait(
            self._waiting,
            answers,
            lambda: self.submit(request, timeout=timeout, max_body=max_body, done=answers.put),
            answers.get,
        )

    def fetch(self, request: requests.PreparedRequest, *, sink: Sink, guard: Guard, limits: Limits) -> Answer:
        """Download a file and wait for what comes of it; as `download`, but not for the transport's own thread, and
        with the sink's writes done in the caller's: what comes next is received meanwhile.

        The sink is not called any more once this returns, whatever it returns.
        """
        relay = Relay(sink)
        return self._wait(
            self._fetching,
            relay,
            lambda: self.download(request, sink=relay, guard=guard, limits=limits, done=relay.put),
            relay.wait,
        )

    def _wait(
        self, waiting: set[Waiting], waits: Waiting, submit: Callable[[], None], get: Callable[[], Answer]
    ) -> Answer:
        if self._thread is threading.current_thread():
            raise RuntimeError("the transport's thread would wait for itself")
        waiting.add(waits)
        try:
            if self._closed or self._thread.ident is None:
                return TransportError(Kind.CLOSED, "the transport is not running")
            submit()
            return get()
        finally:
            waiting.discard(waits)

    def _tell_of_the_end(self, waiting: set[Waiting]) -> None:
        for each in list(waiting):
            each.put(TransportError(Kind.CLOSED, "the transport was closed"))

    def _submit(self, job: Job | Hop) -> None:
        self._pending.append(job)
        self._ring()
        if self._failed:  # nobody else will
            self._refuse_pending()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002, FBT001, FBT002 - requests' signature
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,  # noqa: FBT001, FBT002 - requests' signature
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,  # noqa: ARG002 - requests' signature
    ) -> requests.Response:
        """Carry an exchange for `requests.Session`, mounted with `Session.mount`; waits for the answer.

        `timeout` is for the whole exchange (of a pair, the sum; `None` is 90 s). The content is read whole, whatever
        `stream` says, and proxies are those of the environment. Raises requests' own exceptions, and ValueError where
        certificates are not to be verified as this transport does: nothing is sent then.
        """
        if cert is not None or verify not in (True, str(self._ca_bundle)):
            raise ValueError("this transport has its own CA bundle, and no other way to verify")
        seconds = sum(filter(None, timeout)) if isinstance(timeout, tuple) else timeout
        answer = self.exchange(request, timeout=seconds or _SEND_TIMEOUT, max_body=self._max_body)
        if isinstance(answer, TransportError):
            raise answer.as_requests_error(request)
        answer.connection = self  # type: ignore[assignment]  # typed as requests' own adapter
        return answer

    def _ring(self) -> None:
        """Wake the thread. Rings once however often it is called, until the thread has looked at what is pending."""
        if self._rung:
            return
        with self._lock:
            if not self._disposed:
                self._rung = True
                os.eventfd_write(self._bell, 1)

    # --- the transport's thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop()
        except Exception:  # noqa: BLE001 - our own mistake: everyone who waits is told, and `alive` says so
            fatal_mistake(logger, "the transport stops")
            self._failed = True
            self._refuse([carrier.job for carrier in self._running.values() if carrier.job is not None])
            self._refuse_pending()
        finally:
            self._tell_of_the_end(self._fetching)
            self._dispose()

    def _loop(self) -> None:
        while not self._closed:
            for descriptor, events in self._epoll.poll(self._patience()):
                if descriptor == self._bell:
                    os.eventfd_read(self._bell)
                    self._rung = False  # before looking at what is pending: nothing is appended unseen
                    while self._calls:
                        self._calls.popleft()()
                else:
                    self._multi.socket_action(descriptor, _READY.get(events, pycurl.CSELECT_IN | pycurl.CSELECT_OUT))
            self._start_pending()
            if self._timer is not None and self._timer <= time.monotonic():
                self._timer = None
                self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            if self._fault is not None:
                raise self._fault
            self._finish()

    def _patience(self) -> float | None:
        """How long to wait for an event, in seconds; None for as long as it takes."""
        if self._pending:
            return 0.0
        return None if self._timer is None else max(0.0, self._timer - time.monotonic())

    def _start_pending(self) -> None:
        for _ in range(min(len(self._pending), _STARTED_AT_ONCE)):
            job = self._pending.popleft()
            carrier = self._carrier(job)
            try:
                carrier.begin(job)
                self._multi.add_handle(carrier.handle)
            except Exception as error:  # noqa: BLE001 - one odd request must not cost the others their answers
                carrier.handle.close()
                self._tell(job, cannot_be_sent(error))
            else:
                self._running[carrier.handle] = carrier

    def _carrier(self, job: Job | Hop) -> Carrier:
        if isinstance(job, Hop):
            return Download(self._ca_bundle)
        return self._idle.pop() if self._idle else Exchange(self._ca_bundle, self._buffered)

    def _finish(self) -> None:
        """Hand over every answer that is complete, and every failure."""
        _, complete, failed = self._multi.info_read()
        for handle in complete:
            self._end(handle, pycurl.E_OK, "")
        for handle, code, message in failed:
            self._end(handle, code, message)

    def _end(self, handle: pycurl.Curl, code: int, message: str) -> None:
        carrier = self._running[handle]
        self._multi.remove_handle(handle)
        job, answer = carrier.end(code, message)
        del self._running[handle]
        if carrier.reusable and len(self._idle) < _HANDLES_KEPT:
            self._idle.append(carrier)
        else:
            handle.close()
        self._tell(job, answer)

    def _tell(self, job: Job | Hop, answer: Answer) -> None:
        try:
            job.done(answer)
        except Exception:  # noqa: BLE001 - the mistake of one who asked must not cost the others their answers
            mistake(logger, "an answer is not taken")

    def _refuse(self, jobs: list[Job | Hop]) -> None:
        for job in jobs:
            self._tell(job, TransportError(Kind.CLOSED, "the transport stopped by a mistake of ours"))

    def _refuse_pending(self) -> None:
        with contextlib.suppress(IndexError):  # several threads may be at it: there is no asking first
            while True:
                self._refuse([self._pending.popleft()])

    def _dispose(self) -> None:
        """Close what the thread worked with, when nobody works with it any more."""
        with self._lock:
            if self._disposed:
                return
            self._disposed = True  # nobody rings from here on
        for carrier in (*self._running.values(), *self._idle):
            carrier.handle.close()
        self._running.clear()
        self._idle.clear()
        self._multi.close()
        self._epoll.close()
        os.close(self._bell)

    # libcurl's two callbacks. An exception in one would only be printed: it is kept for the loop to raise.

    def _watch_socket(self, what: int, descriptor: int, _multi: pycurl.CurlMulti, _data: object) -> None:
        try:
            if what == pycurl.POLL_REMOVE:
                with contextlib.suppress(OSError):  # closed already: the kernel has stopped watching it by itself
                    self._epoll.unregister(descriptor)
                return
            try:
                self._epoll.register(descriptor, _WANTED.get(what, 0))
            except FileExistsError:
                self._epoll.modify(descriptor, _WANTED.get(what, 0))
        except Exception as error:  # noqa: BLE001 - see above
            self._fault = error

    def _set_timer(self, milliseconds: int) -> None:
        self._timer = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000
