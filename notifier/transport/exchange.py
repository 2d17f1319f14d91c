"""One exchange on one libcurl handle: options in, a requests.Response or a TransportError out."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pycurl
import requests
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from notifier.transport.errors import Kind, TransportError, from_curl

Answer = requests.Response | TransportError
Done = Callable[[Answer], None]

MAX_HEADER_BYTES = 64 * 1024
MAX_HEADERS = 256
"""Of one answer, interim answers (1xx), a proxy's and trailers included."""
_LONGEST = 2_000_000.0
"""Seconds; more milliseconds do not fit into libcurl's number."""
SMALL_BODY = 256 * 1024
"""What every answer may hold, however much the others hold together."""

# Options of libcurl that pycurl has no name for (values from curl/curl.h, where they never change).
_SUPPRESS_CONNECT_HEADERS = 265
_QUICK_EXIT = 322

_OWN_HEADERS = ("Accept", "Expect", "User-Agent")
"""Headers that libcurl would add by itself where requests has none."""


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


class Exchange:
    """A libcurl handle with room for one answer at a time; used again and again, for one job after another.

    What does not differ between jobs is set once: setting it all costs as much as a whole exchange.
    """

    __slots__ = (
        "_body",
        "_buffered",
        "_excess",
        "_fault",
        "_header_bytes",
        "_headers",
        "_lines",
        "_longest",
        "handle",
        "job",
        "reusable",
    )

    def __init__(self, ca_bundle: Path, buffered: Buffered) -> None:
        self._buffered = buffered
        self.handle = pycurl.Curl()
        self.reusable = True
        self._headers: tuple[tuple[str | bytes, str | bytes], ...] = ()
        self._longest = 0
        self._clear()
        configure(self.handle, ca_bundle)
        self.handle.setopt(pycurl.HEADERFUNCTION, self._take_header)
        self.handle.setopt(pycurl.WRITEFUNCTION, self._take_body)

    def _clear(self) -> None:
        self.job: Job | None = None
        self._lines: list[bytes] = []
        self._header_bytes = 0
        self._body = bytearray()
        self._excess: str | None = None
        self._fault: BaseException | None = None

    def begin(self, job: Job) -> None:
        """Set what this job needs; the handle is then ready for the multi handle.

        Raises ValueError (UnicodeError among them) or pycurl.error for a request that cannot be sent.
        """
        request = job.request
        handle = self.handle
        self.job = job
        handle.setopt(pycurl.URL, request.url)
        # For libcurl, a deadline of 0 is none at all.
        handle.setopt(pycurl.TIMEOUT_MS, max(1, int(min(job.timeout, _LONGEST) * 1000)))
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
        """The job, and what came of it by libcurl's code (0: all is well) and message. There is room again then."""
        job = self.job
        assert job is not None  # noqa: S101 - only what has begun ends
        if self._fault is not None:
            answer: Answer = TransportError(Kind.CLOSED, f"our own mistake: {type(self._fault).__name__}")
        elif self._excess is not None:
            answer = TransportError(Kind.TOO_LARGE, self._excess)
        elif code == pycurl.E_FILESIZE_EXCEEDED:
            answer = TransportError(Kind.TOO_LARGE, f"too large: a body of over {in_words(job.max_body)}")
        elif code == pycurl.E_OPERATION_TIMEDOUT:
            answer = TransportError(Kind.TIMEOUT, self._timed_out(job.timeout))
        elif code != pycurl.E_OK:
            answer = from_curl(code, message, self.handle.getinfo(pycurl.OS_ERRNO))
        else:
            answer = self._response(job)
        self._buffered.hand_over(answer, len(self._body))
        self._clear()
        return job, answer

    def _timed_out(self, timeout: float) -> str:
        if self._body or self._lines:
            return f"time-out: the answer did not end within {timeout:g} s"
        if self.handle.getinfo(pycurl.REQUEST_SIZE) > 0:  # bytes of it that were sent
            return f"time-out: no answer within {timeout:g} s"
        return f"time-out: no connection within {timeout:g} s"

    # An exception in a callback would only be printed by pycurl: it is kept for `end` instead. Returning 0, less than
    # was given, tells libcurl to stop.

    def _take_header(self, line: bytes) -> int | None:
        self._header_bytes += len(line)
        if self._header_bytes > MAX_HEADER_BYTES or len(self._lines) > MAX_HEADERS:
            self._excess = f"too large: headers of over {MAX_HEADER_BYTES // 1024} KiB or {MAX_HEADERS} lines"
            return 0
        if line.startswith(b"HTTP/"):  # the next answer: the one before was an interim one
            self._lines.clear()
        self._lines.append(line)
        return None

    def _take_body(self, data: bytes) -> int | None:
        try:
            size = len(self._body) + len(data)
            most = self.job.max_body if self.job is not None else 0
            if size > most:
                self._excess = f"too large: a body of over {in_words(most)}"
                return 0
            if size > SMALL_BODY and not self._buffered.has_room(len(data), most):
                self._excess = f"too large: the answers at hand hold over {in_words(self._buffered.limit)} together"
                return 0
            self._body += data
            self._buffered.held += len(data)
        except BaseException as error:  # noqa: BLE001 - kept for `end`: pycurl would print it and forget it
            self._fault = error
            return 0
        return None

    def _response(self, job: Job) -> Answer:
        """The answer as requests' own adapter would build it, its content already read."""
        try:
            reason, headers = parse_headers(self._lines)
        except ValueError as error:
            return TransportError(Kind.MALFORMED, f"not HTTP: {error}")
        answer = requests.Response()
        answer.status_code = self.handle.getinfo(pycurl.RESPONSE_CODE)
        answer.reason = reason
        answer.headers = headers
        answer.encoding = get_encoding_from_headers(headers)
        answer.url = job.request.url or ""
        answer.request = job.request
        answer.elapsed = timedelta(seconds=self.handle.getinfo(pycurl.TOTAL_TIME))
        answer._content = bytes(self._body)  # how a Response is given content that was read already
        answer._content_consumed = True  # type: ignore[attr-defined]
        return answer


def configure(handle: pycurl.Curl, ca_bundle: Path) -> None:
    """Set what is the same for every exchange."""
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(_QUICK_EXIT, 1)  # do not wait at the end for a DNS server that never answers (before libcurl 8.20)
    handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    # One exchange per connection: on a shared HTTP/2 connection one stalled or reset stream of a gateway, or one lost
    # packet, would hold up every prediction behind it.
    handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    handle.setopt(pycurl.HTTP09_ALLOWED, 0)
    handle.setopt(pycurl.FOLLOWLOCATION, 0)
    handle.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
    handle.setopt(pycurl.PATH_AS_IS, 1)  # requests has prepared the path: `%2E%2E` is a name, not a way up
    handle.setopt(pycurl.ACCEPT_ENCODING, "")  # all encodings that libcurl can decode
    # What is meant for the API (the token above all) is not for the proxy that is asked to connect to it.
    handle.setopt(pycurl.HEADEROPT, pycurl.HEADER_SEPARATE)
    handle.setopt(_SUPPRESS_CONNECT_HEADERS, 1)
    handle.setopt(pycurl.SSL_VERIFYPEER, 1)
    handle.setopt(pycurl.SSL_VERIFYHOST, 2)
    if ca_bundle.is_dir():
        handle.setopt(pycurl.CAPATH, str(ca_bundle))
        handle.unsetopt(pycurl.CAINFO)
        handle.setopt(pycurl.PROXY_CAPATH, str(ca_bundle))
        handle.unsetopt(pycurl.PROXY_CAINFO)
    else:
        handle.setopt(pycurl.CAINFO, str(ca_bundle))
        handle.unsetopt(pycurl.CAPATH)
        handle.setopt(pycurl.PROXY_CAINFO, str(ca_bundle))
        handle.unsetopt(pycurl.PROXY_CAPATH)


def set_method(handle: pycurl.Curl, request: requests.PreparedRequest) -> None:
    """Set another method than GET, and the body. Raises ValueError for a body that is not in memory."""
    body = request.body
    if isinstance(body, str):
        body = body.encode()
    if not isinstance(body, bytes | None):
        raise ValueError("a body that is a stream cannot be sent")  # noqa: TRY004 - a value this transport refuses
    if body:
        handle.setopt(pycurl.POSTFIELDSIZE_LARGE, len(body))
        handle.setopt(pycurl.COPYPOSTFIELDS, body)
    if request.method == "HEAD":
        handle.setopt(pycurl.NOBODY, 1)
    else:
        handle.setopt(pycurl.CUSTOMREQUEST, request.method)


def header_lines(headers: Iterable[tuple[str | bytes, str | bytes]], *, body: bool) -> list[bytes]:
    """The request's headers in libcurl's notation, and nothing of libcurl's own.

    Accept-Encoding is left to libcurl, which knows what it can decode, and the length of a body, which it counts.
    Raises ValueError for a header that requests would not have prepared.
    """
    lines = []
    left_out = {name.lower(): name for name in _OWN_HEADERS}
    for raw_name, raw_value in headers:
        name = raw_name if isinstance(raw_name, str) else raw_name.decode("latin-1")
        value = raw_value if isinstance(raw_value, str) else raw_value.decode("latin-1")
        lowered = name.lower()
        left_out.pop(lowered, None)
        if lowered == "accept-encoding" or (lowered == "content-length" and body):
            continue
        line = f"{name}: {value}" if value else f"{name};"
        if not line.isprintable():
            raise ValueError("a header with a control character in it")
        lines.append(line.encode("latin-1"))
    return lines + [f"{name}:".encode() for name in left_out.values()]


def parse_headers(lines: list[bytes]) -> tuple[str, CaseInsensitiveDict[str]]:
    """The reason phrase and the headers; repeated ones are joined with a comma, as requests does.

    Raises ValueError for two Content-Lengths that differ: where such an answer ends is anyone's guess (RFC 9112, 6.3).
    """
    first, *others = b"".join(lines).decode("latin-1").replace("\r\n", "\n").split("\n")
    status_line = first.split(None, 2)
    headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    names = set()
    for line in others:
        if not line:
            break  # what follows are trailers
        name, _, value = line.partition(":")
        value = value.strip()
        key = name.lower()
        if key in names:
            if key == "content-length" and headers[name] != value:
                raise ValueError("two Content-Lengths")
            value = f"{headers[name]}, {value}"
        names.add(key)
        headers[name] = value
    reason = status_line[2].strip() if len(status_line) > 2 else ""  # version, code, reason
    return reason, headers


def in_words(size: int) -> str:
    """A limit for people: `16 MiB`, `100 bytes`."""
    for unit, name in ((2**20, "MiB"), (2**10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"
