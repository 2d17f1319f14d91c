"""Which question gets which answer, and who may ask: a WSGI application that reads, and changes nothing."""

from __future__ import annotations

import ipaddress
import json
import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from notifier.errors import StoreError
from notifier.logs import event, mistake

logger = logging.getLogger(__name__)

OK = "200 OK"
UNAVAILABLE = "503 Service Unavailable"
TEXT, JSON = "text/plain; charset=utf-8", "application/json"
ALWAYS = (
    ("Cache-Control", "no-store"),  # how things are now is of no use later
    ("X-Content-Type-Options", "nosniff"),
)
"""Headers of every answer."""
METHODS = ("GET", "HEAD")
_ABSOLUTE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://(?P<host>[^/?#]*)")
_HOST = re.compile(r"(?P<name>\[[^\[\]]*\]|[^:\[\]]*)(?::[0-9]*)?")


class Answer(NamedTuple):
    """One answer. `headers` are those beside the ones that all have."""

    status: str
    kind: str
    """The Content-Type."""
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


Page = Callable[[], Answer]
"""What answers at one path. May raise StoreError; is called by several threads at once."""


def as_json(status: str, value: Mapping[str, object]) -> Answer:
    """A value as JSON. A long list in it is written item by item: one call for all of it would let no other thread run
    until it is done.
    """
    parts = [f"{json.dumps(name)}: {_written(each)}" for name, each in value.items()]
    return Answer(status, JSON, f"{{{', '.join(parts)}}}\n".encode())


def _written(value: object) -> str:
    return f"[{', '.join([json.dumps(item) for item in value])}]" if isinstance(value, list) else json.dumps(value)


def as_text(status: str, text: str, *headers: tuple[str, str]) -> Answer:
    """A line for people."""
    return Answer(status, TEXT, f"{text}\n".encode(), headers)


class Pages:
    """The application: to be called by any number of threads.

    Whoever asks must do so by an address, by localhost, or by one of `hosts` (in lower case; may be set at any time): a
    page of the web can have its own name lead to this machine, so that a browser takes our answers for the page's own,
    but that name stays what the browser asks by.
    """

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self.hosts: Collection[str] = ()
        self._pages = {"/": lambda: as_text(OK, "\n".join(pages)), **pages}
        self._complaints: dict[str, str] = {}
        """By path, why it could not be answered the last time."""

    def __call__(self, environ: Mapping[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        """Answer one request, as WSGI has it."""
        answer = self._answer(environ)
        headers = [("Content-Type", answer.kind), ("Content-Length", str(len(answer.body))), *ALWAYS, *answer.headers]
        start_response(answer.status, headers)
        return () if environ["REQUEST_METHOD"] == "HEAD" else (answer.body,)

    def _answer(self, environ: Mapping[str, Any]) -> Answer:
        if not self._may_ask(environ):
            return as_text("403 Forbidden", "only addresses, localhost and the names in http.hosts are answered")
        path = environ["PATH_INFO"]
        if path not in self._pages:
            return as_text("404 Not Found", "there is " + ", ".join(self._pages))
        if environ["REQUEST_METHOD"] not in METHODS:
            return as_text("405 Method Not Allowed", "nothing is changed here", ("Allow", ", ".join(METHODS)))
        try:
            answer = self._pages[path]()
        except StoreError as error:
            if self._is_news(path, str(error)):
                event(logger, logging.ERROR, "http: not answered", path=path, reason=error)
            return as_json(UNAVAILABLE, {"error": "the store cannot be read"})
        except Exception as error:  # noqa: BLE001 - a mistake of ours: whoever asks is not to see its traceback
            self._complaints[path] = repr(error)
            mistake(logger, "http: not answered", path=path)
            return as_json("500 Internal Server Error", {"error": "mistake in the program: see its log"})
        if self._complaints.pop(path, None) is not None:
            event(logger, logging.INFO, "http: answered again", path=path)
        return answer

    def _is_news(self, path: str, reason: str) -> bool:
        """A failure that repeats is logged when it changes: somebody asks every few seconds."""
        before, self._complaints[path] = self._complaints.get(path), reason
        return reason != before

    def _may_ask(self, environ: Mapping[str, Any]) -> bool:
        host = environ.get("HTTP_HOST")
        absolute = _ABSOLUTE.match(environ.get("REQUEST_URI", ""))
        if absolute is not None:  # then that counts, says RFC 9112, section 3.2.2
            host = absolute["host"]
        if host is None:
            return bool(environ["SERVER_PROTOCOL"] == "HTTP/1.0")  # no browser speaks that
        found = _HOST.fullmatch(host)  # of two headers that were joined by a comma, neither is believed
        if found is None:
            return False
        name = found["name"].lower().removesuffix(".")
        return name in ("localhost", *self.hosts) or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        if name.startswith("["):
            ipaddress.IPv6Address(name[1:-1])
        else:
            ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True
