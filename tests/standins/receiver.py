"""The far end of Apprise's json://: an HTTP server on loopback that takes what is posted, refuses it or holds it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass(frozen=True)
class Post:
    """One message as it came, and what it is answered with. `path` is what the channel's URL names after the host."""

    path: str
    title: str
    message: str
    status: int


class Receiver:
    """A running receiver; a context manager, or call `close()`. `status`, `rule` and `hold` may be set at any time."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.status = 200
        self.rule: Callable[[str], int] = lambda message: self.status
        """What a message is answered with."""
        self.hold = threading.Event()
        """While it is clear, messages are taken and not answered."""
        self.hold.set()
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with receiver._changed:
                    post = Post(self.path.strip("/"), told["title"], told["message"], receiver.rule(told["message"]))
                    receiver.posts.append(post)
                    receiver._changed.notify_all()
                receiver.hold.wait(60)
                try:
                    self.send_response(post.status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                except OSError:
                    pass  # whoever asked was killed

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """A client that is killed in the middle is part of the tests; nothing to print."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="receiver")
        self._thread.start()
        self.url = f"json://127.0.0.1:{self._server.server_port}/"

    @property
    def bodies(self) -> list[str]:
        """What every message said, taken or not."""
        return [post.message for post in self.posts]

    @property
    def taken(self) -> list[Post]:
        """What it said yes to, whether or not the yes was heard."""
        with self._changed:
            return [post for post in self.posts if post.status == 200]

    def wait_for(self, count: int, timeout: float = 30.0) -> list[str]:
        """What the messages said, once there are at least `count`; AssertionError when that takes too long."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.posts) >= count, timeout), self.bodies
            return self.bodies

    def close(self) -> None:
        """Answer what is held, and end the server and its threads."""
        self.hold.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
