"""The embedded server: an API that plays the predictions, and the place where their notices arrive. Loopback only."""

from __future__ import annotations

import json
import queue
import threading
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from notifier.demo.lives import Life, Reply

API_PATH = "/replicate/v1"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as a channel got it."""

    channel: str
    title: str
    body: str


class Server:
    """Speaks HTTP on a port of 127.0.0.1 as long as its `with` block lasts."""

    def __init__(self, cast: list[Life]) -> None:
        self._lives = {life.id: life for life in cast}
        self._lock = threading.Lock()
        self.polls: Counter[str] = Counter()
        # Unlike a Queue's, its `put` may be called by a signal's handler that interrupts its `get`.
        self.arrivals: queue.SimpleQueue[Arrival | None] = queue.SimpleQueue()
        """Messages as they come; None: nothing more is to be waited for."""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.port = self._http.server_port
        self.base_url = f"http://127.0.0.1:{self.port}{API_PATH}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), name="demo server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def hang_up(self) -> None:
        """Let nobody wait for further arrivals. May be called by a signal's handler."""
        self.arrivals.put(None)

    def reply(self, prediction_id: str) -> Reply:
        """What the next poll of a prediction is answered with."""
        life = self._lives.get(prediction_id)
        if life is None:
            return Reply({"detail": "No prediction matches the given query.", "status": 404}, 404)
        with self._lock:
            number = self.polls[prediction_id]
            self.polls[prediction_id] += 1
        return life.replies[min(number, len(life.replies) - 1)]


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing: the terminal belongs to the notices."""

        def do_GET(self) -> None:
            reply = server.reply(self.path.rpartition("/")[2])
            self._send(reply.status, json.dumps(reply.body).encode())

        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            channel = self.path.rstrip("/").rpartition("/")[2]
            server.arrivals.put(Arrival(channel, told["title"], told["message"]))
            self._send(200, b"{}")

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
