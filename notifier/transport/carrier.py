"""What every exchange is made of: a libcurl handle, the head of its answer, and what to say when there is no answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pycurl
import requests
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers

from notifier.transport.errors import Kind, TransportError
from notifier.transport.options import configure

Answer = requests.Response | TransportError
Done = Callable[[Answer], None]

MAX_HEADER_BYTES = 64 * 1024
MAX_HEADERS = 256
"""Of one answer, interim answers (1xx), a proxy's and trailers included."""


class Carrier(ABC):
    """A libcurl handle with room for one answer at a time. Used in the transport's thread alone.

    libcurl calls back while it works. An exception there would only be printed by pycurl: a callback keeps what is to
    be said in `_verdict` instead, and returns 0, less than it was given, which tells libcurl to stop.
    """

    __slots__ = ("_header_bytes", "_lines", "_verdict", "handle", "job", "reusable")

    def __init__(self, ca_bundle: Path) -> None:
        self.handle = pycurl.Curl()
        self.reusable = True
        self.job: Any = None
        self._lines: list[bytes] = []
        self._header_bytes = 0
        self._verdict: TransportError | None = None
        configure(self.handle, ca_bundle)
        self.handle.setopt(pycurl.HEADERFUNCTION, self._take_header)

    @abstractmethod
    def begin(self, job: Any) -> None:
        """Set what this job needs; the handle is then ready for the multi handle.

        Raises ValueError (UnicodeError among them), pycurl.error or a TransportError for what cannot be sent.
        """

    @abstractmethod
    def end(self, code: int, message: str) -> tuple[Any, Answer]:
        """The job, and what came of it by libcurl's code (0: all is well) and message."""

    def _take_header(self, line: bytes) -> int | None:
        self._header_bytes += len(line)
        if self._header_bytes > MAX_HEADER_BYTES or len(self._lines) > MAX_HEADERS:
            limit = f"{in_words(MAX_HEADER_BYTES)} or {MAX_HEADERS} lines"
            self._verdict = TransportError(Kind.TOO_LARGE, f"too large: headers of over {limit}")
            return 0
        if line.startswith(b"HTTP/"):  # the next answer: the one before was an interim one
            self._lines.clear()
        self._lines.append(line)
        return None

    def _asked(self) -> bool:
        """Whether any of the request was sent."""
        return bool(self.handle.getinfo(pycurl.REQUEST_SIZE) > 0)

    def _response(self, request: requests.PreparedRequest, content: bytes) -> Answer:
        """The answer as requests' own adapter would build it, its content already read."""
        try:
            reason, headers = parse_headers(self._lines)
        except ValueError as error:
            return not_http(error)
        answer = requests.Response()
        answer.status_code = self.handle.getinfo(pycurl.RESPONSE_CODE)
        answer.reason = reason
        answer.headers = headers
        answer.encoding = get_encoding_from_headers(headers)
        answer.url = request.url or ""
        answer.request = request
        answer.elapsed = timedelta(seconds=self.handle.getinfo(pycurl.TOTAL_TIME))
        answer._content = content  # how a Response is given content that was read already
        answer._content_consumed = True  # type: ignore[attr-defined]
        return answer


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


def not_http(error: ValueError) -> TransportError:
    """The error for a head that parse_headers cannot read."""
    return TransportError(Kind.MALFORMED, f"not HTTP: {error}")


def our_mistake(error: BaseException) -> TransportError:
    """The error for an exception in one of libcurl's callbacks."""
    return TransportError(Kind.CLOSED, f"our own mistake: {type(error).__name__}")


def in_words(size: int) -> str:
    """A limit for people: `16 MiB`, `100 bytes`."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"
