"""Slack as its clients see it: a CONNECT proxy on loopback that ends TLS for Slack's hosts and answers by script.

Whoever is started with `environment()` reaches it unchanged: requests, and with it Apprise's genuine Slack plugin, goes
through HTTPS_PROXY and trusts the test CA. Serves incoming webhooks (hooks.slack.com: 200 `ok`) and the bot API
(slack.com: 200 `{"ok": true, ...}`) unless told otherwise; Discord's and Telegram's hosts too, for what only they do.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self, cast

import certifi
import trustme

HOSTS = ("hooks.slack.com", "hooks.slack-gov.com", "slack.com", "discord.com", "api.telegram.org")


@dataclass(frozen=True)
class Request:
    """One request as Slack would have got it; `json` is the parsed body, None where it is not JSON."""

    method: str
    host: str
    path: str
    headers: dict[str, str]
    body: bytes
    json: Any
    time: float
    """On the monotonic clock."""

    @property
    def place(self) -> str:
        """Host and path."""
        return self.host + self.path

    @property
    def text(self) -> str:
        """What people would read: the first attachment's title and text."""
        (attachment,) = self.json.get("attachments") or [{"title": "", "text": self.json.get("content", "")}]
        return f"{attachment['title']}\n{attachment['text']}"


@dataclass(frozen=True)
class Answer:
    """What to do with one request. `how` is one of

    answer: send status, headers and body;
    hang: take the request and say nothing;
    drip: send the answer's first bytes little by little, for ever;
    reset: take the request, then end the connection without a word.
    """

    status: int = 200
    body: bytes | None = None
    """None: what Slack says when all is well."""
    headers: dict[str, str] = field(default_factory=dict)
    how: str = "answer"


class SlackStandIn:
    """A running stand-in; a context manager, or call `close()`. `port` is the proxy's.

    It can be other services as well: those called `names`, and at its port, in the clear, any that is asked by POST.
    """

    def __init__(self, *, trusted: bool = True, names: Iterable[str] = HOSTS) -> None:
        self.requests: list[Request] = []
        self.refuse_tunnel = False
        """Answer every CONNECT with 503, as a proxy without a way out does."""
        self.refuses: Callable[[Request], bool] = lambda request: False
        """Whether a request is answered as one whose content cannot be taken, whatever is scripted."""
        self.drips_every = 0.05
        """Seconds."""
        self.stopping = threading.Event()
        self._scripts: dict[str, tuple[deque[Answer], Answer]] = {}
        self._changed = threading.Condition()
        authority = trustme.CA()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(self.tls)
        self._folder = tempfile.TemporaryDirectory(prefix="slack-stand-in-")
        self._bundle = Path(self._folder.name) / "ca.pem"
        known = (authority if trusted else trustme.CA()).cert_pem.bytes()
        self._bundle.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + known)
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.stand_in = self
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="slack-stand-in")
        self._thread.start()

    def script(self, *answers: Answer, then: Answer | None = None, to: str = "") -> None:
        """Give these answers to the next requests, one each, and `then` (default: all is well) to all later ones.

        With `to` only where host and path hold it; the longest `to` that fits decides.
        """
        with self._changed:
            self._scripts[to] = (deque(answers), then or Answer())

    def environment(self) -> dict[str, str]:
        """The variables that lead a process here. Loopback stays direct; whatever else was set for it is cleared."""
        proxy = f"http://127.0.0.1:{self.port}"
        direct = "127.0.0.1,localhost"
        return {
            **dict.fromkeys(("HTTPS_PROXY", "https_proxy"), proxy),
            **dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), ""),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), direct),
            **dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"), str(self._bundle)),
        }

    def seen(self, to: str = "") -> list[Request]:
        """The requests so far; with `to` those whose host and path hold it."""
        return [request for request in self.requests if to in request.place]

    def wait_for(self, count: int, timeout: float = 20.0, to: str = "") -> list[Request]:
        """The same, once there are at least `count` of them; AssertionError when that takes too long."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.seen(to)) >= count, timeout)
            assert arrived, f"{len(self.seen(to))} requests came within {timeout} s, not {count}"
            return self.seen(to)

    def close(self) -> None:
        """End every connection, hanging ones too, and the threads that serve them."""
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, request: Request) -> Answer:
        """Record the request; the answer it gets. Called by the connections' threads."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()
            if self.refuses(request):
                return Answer(400, b"invalid_payload")
            fits = max((to for to in self._scripts if to in request.place), key=len, default=None)
            if fits is None:
                return Answer()
            answers, then = self._scripts[fits]
            return answers.popleft() if answers else then


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    stand_in: SlackStandIn

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is part of the tests; nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    """A proxy's connection: first CONNECT, then, inside TLS, what is meant for Slack."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    @property
    def stand_in(self) -> SlackStandIn:
        return cast("_Server", self.server).stand_in

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: what is of interest is recorded."""

    def do_CONNECT(self) -> None:
        if self.stand_in.refuse_tunnel:
            self.send_error(503)
            return
        self.send_response(200, "Connection established")
        self.end_headers()
        self.wfile.flush()
        plain = self.connection
        try:
            self.connection = self.stand_in.tls.wrap_socket(plain, server_side=True)
        except OSError:  # the client does not trust us
            self.close_connection = True
            return
        self.rfile.close()
        self.setup_streams()
        self.close_connection = False

    def setup_streams(self) -> None:
        self.request = self.connection
        self.setup()

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            parsed = json.loads(body)
        except ValueError:
            parsed = None
        host = self.headers.get("Host", "")
        headers = dict(self.headers.items())
        answer = self.stand_in.take(Request(self.command, host, self.path, headers, body, parsed, time.monotonic()))
        if answer.how == "hang":
            self.stand_in.stopping.wait()
            self.close_connection = True
        elif answer.how == "reset":
            self._reset()
        else:
            self._answer(answer, host)

    def _answer(self, answer: Answer, host: str) -> None:
        body = answer.body
        if body is None:
            body = b"ok" if host.startswith("hooks.") else b'{"ok": true, "channel": "C024BE91L", "ts": "1.2"}'
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.how == "drip":
            self.flush_headers()
            while not self.stand_in.stopping.wait(self.stand_in.drips_every):
                self.wfile.write(b"X-Drip: x\r\n")
            self.close_connection = True
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        """Close so that the client gets a reset instead of an end."""
        self.close_connection = True
        reset_on_close(self.connection)


def reset_on_close(connection: Any) -> None:
    """Make closing this socket send a reset (RST) rather than an orderly end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
