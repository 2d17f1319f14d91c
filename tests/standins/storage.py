"""An object store that misbehaves: a small HTTP server on loopback, which answers as a test says.

It tells of itself what S3 tells, as far as a file is put, looked at and deleted, and knows nothing of lists.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.standins.s3 import KEY, SECRET


@dataclass
class Asked:
    """A request."""

    method: str
    target: str
    headers: dict[str, str]
    """By their names in lower case."""
    size: int

    @property
    def path(self) -> str:
        """Of the target, without the query."""
        return urlsplit(self.target).path


@dataclass
class Answer:
    """What is answered to it."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def refused(status: int, code: str, more: str = "") -> Answer:
    """An error as S3 and its likes put it."""
    return Answer(
        status, f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message>{more}</Error>".encode()
    )


Script = Callable[[Asked], "Answer | None"]


class StorageStandIn:
    """`script` may answer a request; what it has no answer to is done. `seconds` are slept over each body that comes.

    `hang` lets requests stand without an answer until the end.
    """

    def __init__(
        self,
        script: Script = lambda _: None,
        *,
        seconds: float = 0.0,
        hang: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.asked: list[Asked] = []
        self.script = script
        self.seconds = seconds
        self.hang = hang
        self._sizes: dict[str, int] = {}
        self._notes: dict[str, str] = {}
        self._parts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        handler = type("Handler", (_Handler,), {"store": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = False
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"
        self.environ = {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
        }

    def answer(self, asked: Asked) -> Answer:
        """What the store has to say."""
        with self._lock:
            self.asked.append(asked)
        if self.hang:
            self._closing.wait()
        if asked.size:
            time.sleep(self.seconds)
        return self.script(asked) or self._done(asked)

    def _done(self, asked: Asked) -> Answer:
        query = parse_qs(urlsplit(asked.target).query, keep_blank_values=True)
        note = next((value for name, value in asked.headers.items() if name.endswith("-meta-sha256")), "")
        with self._lock:
            if asked.method == "POST" and "uploads" in query:
                self._parts[asked.path] = 0
                self._notes[asked.path] = note
                return Answer(
                    body=b"<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>"
                )
            if asked.method == "PUT" and "partNumber" in query:
                self._parts[asked.path] += asked.size
                return Answer(headers={"ETag": '"part"'})
            if asked.method == "POST":
                self._sizes[asked.path] = self._parts.pop(asked.path)
                return Answer(body=b"<CompleteMultipartUploadResult><ETag>whole</ETag></CompleteMultipartUploadResult>")
            if asked.method == "PUT":
                self._sizes[asked.path] = asked.size
                self._notes[asked.path] = note
                return Answer(headers={"ETag": '"whole"', "x-goog-generation": "1"})
            if asked.method == "DELETE":
                self._sizes.pop(asked.path, None)
                return Answer(204)
            if asked.path not in self._sizes:
                return refused(404, "NoSuchKey")
            # The length is that of the file, and a HEAD has no body.
            headers = {"ETag": '"whole"', "Last-Modified": "Tue, 24 Nov 2026 08:00:00 GMT"}
            headers |= {f"x-{whose}-meta-sha256": self._notes[asked.path] for whose in ("amz", "goog", "ms")}
            return Answer(200, bytes(self._sizes[asked.path]), headers)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    store: StorageStandIn
    timeout = 30

    def _answer(self) -> None:
        size = left = int(self.headers.get("Content-Length", 0))
        while left and (data := self.rfile.read(min(left, 2**20))):
            left -= len(data)
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.store.answer(Asked(self.command, self.path, headers, size))
        try:
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
        except ConnectionError:
            pass  # whoever asked has given up

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        """Nothing, to nowhere."""
