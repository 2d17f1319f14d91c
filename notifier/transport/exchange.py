"""One exchange on one libcurl handle: options in, a requests.Response or a TransportError out."""

from __future__ import annotations

import weakref
from collections import deque
from pathlib import Path
from typing import NamedTuple

import pycurl
import requests

from notifier.transport.carrier import Answer, Carrier, Done, in_words, our_mistake
from notifier.transport.errors import Kind, TransportError, from_curl
from notifier.transport.options import header_lines, milliseconds, set_method

SMALL_BODY = 256 * 1024
"""What every answer may hold, however much the others hold together."""


class Job(NamedTuple):
    """What `submit` was asked to do."""

    request: requests.PreparedRequest
    timeout: float
    max_body: int
    done: Done


class Buffered:
    """How many bytes all bodies hold together, and how many they may: those under way, and big ones that were handed
    over and not dropped yet, which whoever asked may be slower to read than they come. For one thread.
    """

    __slots__ = ("_dropped", "held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._dropped: deque[int] = deque()
        """Sizes of answers that were dropped since, in any thread."""

    def has_room(self, size: int, longest: int) -> bool:
        """Whether so many bytes more are within the limit, which is no less than what one body may have."""
        while self._dropped:
            self.held -= self._dropped.popleft()
        return self.held + size <= max(self.limit, longest)

    def hand_over(self, answer: Answer, size: int) -> None:
        """A body has become an answer; a big one counts until nobody has it any more."""
        if size > SMALL_BODY and isinstance(answer, requests.Response):
            weakref.finalize(answer, self._dropped.append, size).atexit = False
        else:
            self.held -= size


class Exchange(Carrier):
    """Carries one job after another, each answer in memory.

    What does not differ between jobs is set once: setting it all costs as much as a whole exchange.
    """

    __slots__ = ("_body", "_buffered", "_headers", "_longest")

    def __init__(self, ca_bundle: Path, buffered: Buffered) -> None:
        super().__init__(ca_bundle)
        self._buffered = buffered
        self._headers: tuple[tuple[str | bytes, str | bytes], ...] = ()
        self._longest = 0
        self._clear()
        self.handle.setopt(pycurl.WRITEFUNCTION, self._take_body)

    def _clear(self) -> None:
        self.job: Job | None = None
        self._lines: list[bytes] = []
        self._header_bytes = 0
        self._body = bytearray()
        self._verdict: TransportError | None = None

    def begin(self, job: Job) -> None:
        """As every carrier's."""
        request = job.request
        handle = self.handle
        self.job = job
        handle.setopt(pycurl.URL, request.url)
        handle.setopt(pycurl.TIMEOUT_MS, milliseconds(job.timeout))
        if job.max_body != self._longest:
            # On the wire, so that what says beforehand that it is too long is not read, nor what is decoded to nothing.
            # Compression may make it a little longer, and then it is for `_take_body` to say.
            handle.setopt(pycurl.MAXFILESIZE_LARGE, job.max_body + job.max_body // 8 + SMALL_BODY)
            self._longest = job.max_body
        headers = tuple(request.headers.items())
        if headers != self._headers:
            handle.setopt(pycurl.HTTPHEADER, header_lines(headers, body=bool(request.body)))
            self._headers = headers
        if request.method != "GET" or request.body:
            # Not what this program does all day: the handle is not used again, so that nothing of it stays behind.
            self.reusable = False
            set_method(handle, request)

    def end(self, code: int, message: str) -> tuple[Job, Answer]:
        """As every carrier's; there is room for another job then."""
        job = self.job
        assert job is not None  # noqa: S101 - only what has begun ends
        if self._verdict is not None:
            answer: Answer = self._verdict
        elif code == pycurl.E_FILESIZE_EXCEEDED:
            answer = TransportError(Kind.TOO_LARGE, f"too large: a body of over {in_words(job.max_body)}")
        elif code == pycurl.E_OPERATION_TIMEDOUT:
            answer = TransportError(Kind.TIMEOUT, self._timed_out(job.timeout))
        elif code != pycurl.E_OK:
            answer = from_curl(code, message, self.handle.getinfo(pycurl.OS_ERRNO))
        else:
            answer = self._response(job.request, bytes(self._body))
        self._buffered.hand_over(answer, len(self._body))
        self._clear()
        return job, answer

    def _timed_out(self, timeout: float) -> str:
        if self._body or self._lines:
            return f"time-out: the answer did not end within {timeout:g} s"
        if self._asked():
            return f"time-out: no answer within {timeout:g} s"
        return f"time-out: no connection within {timeout:g} s"

    def _take_body(self, data: bytes) -> int | None:
        try:
            size = len(self._body) + len(data)
            most = self.job.max_body if self.job is not None else 0
            if size > most:
                self._verdict = TransportError(Kind.TOO_LARGE, f"too large: a body of over {in_words(most)}")
                return 0
            if size > SMALL_BODY and not self._buffered.has_room(len(data), most):
                held = f"the answers at hand hold over {in_words(self._buffered.limit)} together"
                self._verdict = TransportError(Kind.TOO_LARGE, f"too large: {held}")
                return 0
            self._body += data
            self._buffered.held += len(data)
        except BaseException as error:  # noqa: BLE001 - kept for `end`: pycurl would print it and forget it
            self._verdict = our_mistake(error)
            return 0
        return None
