"""Downloads: the bytes of a file go to a sink as they come, over any redirects, from where the guard allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin

import pycurl
import requests

from notifier import __version__
from notifier.model import Secret
from notifier.transport.carrier import Answer, Carrier, Done, in_words, not_http, our_mistake, parse_headers
from notifier.transport.errors import Kind, TransportError, from_curl
from notifier.transport.guard import Guard, origin
from notifier.transport.heads import asked_from, read_head
from notifier.transport.intake import Intake, Sink
from notifier.transport.options import header_lines, milliseconds
from notifier.transport.proxies import proxy_for
from notifier.transport.sockets import GuardedSockets

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_CARRIED = frozenset({"accept", "accept-language", "if-range", "range", "user-agent"})
"""Headers that are sent on to another origin. Any other could be a secret, as Authorization always is."""
_SHORT_BODY = 4096
"""Bytes that are kept of an answer that is not the file: they may say why."""
_BUFFER = 2 * 2**20
"""Bytes that libcurl reads at once, at most. With 256 KiB, a network faster than this machine takes it a fifth more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one download may take."""

    max_size: int
    """Bytes of the whole file, of which a part may be there already."""
    timeout: float
    """Seconds for all of it, redirects included."""
    stall: float = 60.0
    """Seconds without progress: no connection, or less in all of them than `least_speed` would bring. libcurl looks at
    the mean of some five seconds, so that what came fast before may add those.
    """
    least_speed: int = 1024
    """Bytes a second."""


def file_request(
    url: str, *, token: Secret | None = None, offset: int = 0, validator: str | None = None
) -> requests.PreparedRequest:
    """A request for a file, or for the rest of it if it has not changed: from `offset` on, with the `validator` that
    came with its beginning. A URL is asked for as it is: what is signed must not be written in another way.
    """
    headers = {"User-Agent": f"prediction-notifier/{__version__}", "Accept": "*/*"}
    if offset and validator is not None:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    if token is not None:
        headers["Authorization"] = f"Bearer {token.reveal()}"
    request = requests.PreparedRequest()
    request.method, request.url = "GET", url
    request.prepare_headers(headers)
    return request


class Hop(NamedTuple):
    """One request of a download; each redirect makes it one more."""

    request: requests.PreparedRequest
    sink: Sink
    guard: Guard
    limits: Limits
    deadline: float
    """On the monotonic clock."""
    environment: Mapping[str, str]
    done: Done


class Download(Carrier):
    """Carries one hop, always over a connection of its own: one that others opened was not opened under its guard."""

    __slots__ = ("_body", "_intake", "_settled", "_sockets")

    def __init__(self, ca_bundle: Path) -> None:
        super().__init__(ca_bundle)
        self.reusable = False
        self.job: Hop
        self._sockets: GuardedSockets
        self._intake: Intake | None = None
        self._settled = False
        """The answer's head is whole, and it is no file: nothing that happens to its body matters."""
        self._body = bytearray()
        handle = self.handle
        handle.setopt(pycurl.WRITEFUNCTION, self._take_body)
        handle.setopt(pycurl.BUFFERSIZE, _BUFFER)
        handle.setopt(pycurl.FRESH_CONNECT, 1)
        handle.setopt(pycurl.FORBID_REUSE, 1)
        handle.unsetopt(pycurl.ACCEPT_ENCODING)
        handle.setopt(pycurl.NOPROXY, "")

    def begin(self, hop: Hop) -> None:
        """As every carrier's."""
        self.job = hop
        request, guard, limits = hop.request, hop.guard, hop.limits
        if request.method != "GET" or request.body:
            raise ValueError("a download is a GET without a body")
        asked_from(request.headers)
        to = origin(request.url or "")
        proxy = proxy_for(to, hop.environment)
        refusal = guard.refuses(to) or (guard.refuses_unresolved(to.host) if proxy else None)
        if refusal is not None:
            raise refused(refusal)
        handle = self.handle
        self._sockets = GuardedSockets(handle, guard, None if proxy else to.host)
        handle.setopt(pycurl.URL, request.url)
        handle.setopt(pycurl.PROXY, proxy or "")
        lines = header_lines(request.headers.items(), body=False)
        # Checksums, lengths and ranges are of the file's own bytes.
        handle.setopt(pycurl.HTTPHEADER, [*lines, b"Accept-Encoding: identity"])
        handle.setopt(pycurl.TIMEOUT_MS, milliseconds(hop.deadline - time.monotonic()))
        handle.setopt(pycurl.CONNECTTIMEOUT_MS, milliseconds(limits.stall))
        handle.setopt(pycurl.LOW_SPEED_TIME, max(1, ceil(limits.stall)))
        handle.setopt(pycurl.LOW_SPEED_LIMIT, limits.least_speed)

    def end(self, code: int, message: str) -> tuple[Hop, Answer]:
        """As every carrier's. What came of the file is in the sink then."""
        self._sockets.close()
        if self._verdict is None and self._sockets.fault is not None:
            self._verdict = our_mistake(self._sockets.fault)
        if not self._settled:
            if self._verdict is None and code != pycurl.E_OK:
                self._verdict = self._what_failed(code, message)
            if self._intake is not None:
                try:
                    (self._intake.flush if self._verdict else self._intake.finish)()
                except Exception as error:  # noqa: BLE001 - a sink's mistake is the failure of this download alone
                    self._verdict = _verdict(error)
        return self.job, self._verdict or self._response(self.job.request, bytes(self._body))

    def _what_failed(self, code: int, message: str) -> TransportError:
        if self._sockets.refusal is not None:
            return refused(self._sockets.refusal)
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return TransportError(Kind.TIMEOUT, f"time-out: {self._timed_out(message)}")
        return from_curl(code, message, self.handle.getinfo(pycurl.OS_ERRNO))

    def _timed_out(self, message: str) -> str:
        limits = self.job.limits
        if message.startswith("Operation too slow"):
            return f"under {in_words(limits.least_speed)}/s for {limits.stall:g} s"
        if not self._asked():
            return f"no connection within {min(limits.stall, limits.timeout):g} s"
        return f"the download did not end within {limits.timeout:g} s"

    def _take_header(self, line: bytes) -> int | None:
        if super()._take_header(line) == 0:
            return 0
        if line not in (b"\r\n", b"\n"):  # which follows a head, and no trailers
            return None
        try:
            return None if self._goes_on() else 0
        except BaseException as error:  # noqa: BLE001 - as above
            self._verdict = _verdict(error)
            return 0

    def _goes_on(self) -> bool:
        """Whether the body is wanted, now that the head is whole. Raises TransportError if this is the end of it."""
        status = int(self._lines[0].split()[1])
        if status < 200:
            return True
        try:
            _, headers = parse_headers(self._lines)
        except ValueError as error:
            raise not_http(error) from None
        if not 200 <= status < 300:
            self._settled = True
            return status not in _REDIRECTS
        try:
            head = read_head(status, headers, self.job.request.headers)
        except ValueError as error:
            raise TransportError(Kind.MALFORMED, f"not what was asked for: {error}") from None
        self._intake = Intake(self.job.sink, head, self.job.limits.max_size)
        return True

    def _take_body(self, data: bytes) -> int | None:
        if self._intake is not None:
            try:
                self._intake.take(data)
            except BaseException as error:  # noqa: BLE001 - kept for `end`: pycurl would print it and forget it
                self._verdict = _verdict(error)
                return 0
            return None
        self._body += data[: _SHORT_BODY - len(self._body)]
        return None if len(self._body) < _SHORT_BODY else 0


class Following:
    """One download from the first request to the answer that is no redirect.

    Each hop is a request of ours, so that each is looked at as the first was. After the first, all happens in the
    transport's thread.
    """

    def __init__(self, first: Hop, submit: Callable[[Hop], None]) -> None:
        self._hop = first
        self._submit = submit
        self._redirects = 0

    def go_on(self) -> None:
        """Submit the next request, of which the first is one."""
        self._submit(self._hop._replace(done=self._take))

    def _take(self, answer: Answer) -> None:
        if isinstance(answer, TransportError) or not _is_redirect(answer):
            self._hop.done(answer)
            return
        self._redirects += 1
        try:
            if self._redirects > _MOST_REDIRECTS:
                raise refused(f"over {_MOST_REDIRECTS} redirects")
            self._hop = self._hop._replace(request=redirected(self._hop.request, answer.headers["Location"]))
        except TransportError as error:
            self._hop.done(error)
        else:
            self.go_on()


def _verdict(error: BaseException) -> TransportError:
    if not isinstance(error, TransportError):
        return our_mistake(error)
    error.__traceback__ = None  # it would keep the blocks at hand for as long as anybody has the error
    return error


def _is_redirect(answer: requests.Response) -> bool:
    return answer.status_code in _REDIRECTS and "Location" in answer.headers


def redirected(request: requests.PreparedRequest, location: str) -> requests.PreparedRequest:
    """The request for where an answer to another one points to. Raises TransportError if that is no place for one."""
    here = request.url or ""
    try:
        # requests reads a header as Latin-1; a URL in one that is not in ASCII is in UTF-8 (RFC 9110, 10.2.2).
        there = urljoin(here, location.encode("latin-1").decode("utf-8", "replace"))
        following = requests.Request("GET", there, headers=dict(request.headers)).prepare()
    except (ValueError, requests.RequestException):
        raise refused("redirected to what is no URL") from None
    try:
        same = origin(following.url or "") == origin(here)
    except ValueError as error:
        raise refused(f"redirected to {error}") from None
    for name in list(following.headers):
        if not same and name.lower() not in _CARRIED:
            del following.headers[name]
    return following


def refused(reason: str) -> TransportError:
    """The error for what the guard does not allow."""
    return TransportError(Kind.REFUSED, f"refused: {reason}")
