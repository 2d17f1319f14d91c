"""Whoever looks after the daemon over http, well-behaved and not: bytes over a real socket on loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import requests

SOON = 20.0
"""Seconds that an answer may take on a busy machine."""


class Heard(NamedTuple):
    """An answer, in parts; a status of 0 is none at all."""

    status: int
    headers: dict[str, str]
    """By their names in lower case."""
    body: bytes
    rest: bytes
    """What came after it."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    """A connection; the caller closes it."""
    return socket.create_connection((host, port), SOON)


def request(path: str = "/", *headers: str, method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    """The bytes of a request; with a Host if there is none among the headers."""
    if not any(header.lower().startswith("host:") for header in headers):
        headers = ("Host: localhost", *headers)
    return "\r\n".join((f"{method} {path} {version}", *headers, "", "")).encode("latin-1")


def ask(port: int, sent: bytes) -> Heard:
    """Send these bytes, and hear the server out until it closes the connection."""
    with connect(port) as connection:
        connection.sendall(sent)
        return hear(connection)


def hear(connection: socket.socket) -> Heard:
    """The answer, once the server has closed the connection."""
    said = b""
    try:
        while part := connection.recv(2**20):
            said += part
    except ConnectionResetError:  # closed while we had more to say
        pass
    head, _, rest = said.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", 0))
    return Heard(int(status.split(" ")[1]) if status else 0, headers, rest[:length], rest[length:])


def get(port: int, path: str, **named: Any) -> requests.Response:
    """The answer to a question that anybody would ask."""
    return requests.get(f"http://127.0.0.1:{port}{path}", timeout=SOON, **named)


def until(condition: Callable[[], object], timeout: float = SOON) -> None:
    """Wait until the condition is met; AssertionError when that takes too long."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)
