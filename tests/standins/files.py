"""Where outputs lie: a real HTTP/1.1 server on loopback that serves files by name, and misbehaves by script.

    with FileStandIn() as files:
        files.put("a.png", b"...", expires_at=3600.0)
        files.script("a.png", [truncated(after=100), status(503), stalled(after=100)])

Each request for a file is given the next play of its script, and honest answers afterwards. Ranges, If-Range, HEAD,
ETag and Last-Modified are understood as RFC 9110 has them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import re
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import quote, unquote

import trustme

from tests.standins.api import Connection, Seen
from tests.standins.endings import end_connections

_SLICE = 256 * 1024
LONG_AGO = "Tue, 10 Nov 2026 08:00:00 GMT"
NOW = "Tue, 24 Nov 2026 08:00:00 GMT"
_OFFSET = re.compile(r"bytes=(\d+)-")


@dataclass(frozen=True)
class File:
    """What is served under one name."""

    content: bytes
    content_type: str = "image/png"
    etag: str | None = None
    last_modified: str | None = LONG_AGO
    expires_at: float | None = None
    """From when on it is not there any more, on the server's clock."""
    gone: int = 404
    """What is answered then."""
    headers: Mapping[str, str] = field(default_factory=dict)


class Turn:
    """One request, and what a play can answer it with."""

    def __init__(self, connection: Connection, seen: Seen, file: File) -> None:
        self.connection = connection
        self.seen = seen
        self.file = file

    async def head(self, code: int = 200, headers: Mapping[str, str | None] | None = None) -> None:
        """Send status line and headers: the file's own, changed by those given; None takes one away."""
        own = {
            "Date": NOW,
            "Content-Type": self.file.content_type,
            "Content-Length": str(len(self.file.content)),
            "ETag": self.file.etag,
            "Last-Modified": self.file.last_modified,
            "Accept-Ranges": "bytes",
            **self.file.headers,
            **(headers or {}),
        }
        try:
            reason = HTTPStatus(code).phrase
        except ValueError:
            reason = "Odd"
        lines = [f"HTTP/1.1 {code} {reason}", *(f"{name}: {value}" for name, value in own.items() if value is not None)]
        await self.connection.write("\r\n".join((*lines, "", "")).encode("latin-1"))

    async def send(self, data: bytes) -> None:
        """Send bytes of the body."""
        for start in range(0, len(data), _SLICE):
            await self.connection.write(data[start : start + _SLICE])

    async def body(self, code: int, body: bytes, headers: Mapping[str, str | None] | None = None) -> None:
        """Send a whole answer that has nothing to do with the file."""
        bare = {"ETag": None, "Last-Modified": None, "Accept-Ranges": None, "Content-Type": "text/plain"}
        await self.head(code, {**bare, "Content-Length": str(len(body)), **(headers or {})})
        await self.send(body if self.seen.method != "HEAD" else b"")

    def asked_from(self) -> int | None:
        """The offset that is asked for and can be had from this version of the file; None for all of it."""
        found = _OFFSET.fullmatch(self.seen.headers.get("range", ""))
        version = self.seen.headers.get("if-range")
        if found is None or version not in (None, self.file.etag, self.file.last_modified):
            return None
        return int(found[1])

    async def part(self) -> bytes:
        """Send the head of an honest answer; the bytes that are to follow."""
        content, start = self.file.content, self.asked_from()
        if start is None:
            await self.head()
            return content
        if start >= len(content):
            await self.body(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return b""
        part = content[start:]
        headers = {
            "Content-Length": str(len(part)),
            "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}",
        }
        await self.head(206, headers)
        return part


Play = Callable[[Turn], Awaitable[bool | None]]
"""Answers one request. The connection is closed afterwards, unless it returns True."""


# --- plays -------------------------------------------------------------------------------------------------------


async def honest(turn: Turn) -> bool:
    """What was asked for."""
    data = await turn.part()
    await turn.send(data if turn.seen.method != "HEAD" else b"")
    return True


async def _honest_until(turn: Turn, after: int) -> bytes:
    """Send the beginning of an honest body; the rest of it."""
    data = await turn.part()
    await turn.send(data[:after])
    return data[after:]


def truncated(after: int) -> Play:
    """So many bytes of the body, then a well-behaved end of the connection."""

    async def play(turn: Turn) -> None:
        await _honest_until(turn, after)

    return play


def reset(after: int) -> Play:
    """So many bytes of the body, then none of what was not read yet."""

    async def play(turn: Turn) -> None:
        await _honest_until(turn, after)
        await asyncio.sleep(0.05)  # or the reset would overtake what was written
        turn.connection.reset()

    return play


def stalled(after: int) -> Play:
    """So many bytes of the body, then silence."""

    async def play(turn: Turn) -> None:
        await _honest_until(turn, after)
        await turn.connection.gone()

    return play


async def silent(turn: Turn) -> None:
    """Take the request and say nothing."""
    await turn.connection.gone()


def dripping(every: float = 0.05) -> Play:
    """The body byte by byte."""

    async def play(turn: Turn) -> None:
        for byte in await turn.part():
            await turn.send(bytes([byte]))
            await asyncio.sleep(every)

    return play


def claims(length: int) -> Play:
    """The file, under a wrong length."""

    async def play(turn: Turn) -> None:
        await turn.head(200, {"Content-Length": str(length)})
        await turn.send(turn.file.content)

    return play


def status(code: int, body: bytes = b"", **headers: str) -> Play:
    """Another answer. Underscores in the headers' names stand for hyphens."""

    async def play(turn: Turn) -> bool:
        await turn.body(code, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return True

    return play


def redirect(location: str, code: int = 302) -> Play:
    """Somewhere else."""
    return status(code, Location=location)


html = status(200, b"<!doctype html><title>Sorry</title>", Content_Type="text/html; charset=utf-8")
"""A page that is sorry, as a success."""
empty = status(200, b"", Content_Type="image/png")


async def range_ignored(turn: Turn) -> bool:
    """All of it, whatever was asked."""
    await turn.head()
    await turn.send(turn.file.content)
    return True


def content_range(value: str | None, body: bytes) -> Play:
    """A 206 that says what it likes."""
    return status(206, body, **({} if value is None else {"Content_Range": value}))


async def gzipped(turn: Turn) -> bool:
    """Compressed, though nobody asked for that."""
    packed = gzip.compress(turn.file.content)
    await turn.head(200, {"Content-Encoding": "gzip", "Content-Length": str(len(packed))})
    await turn.send(packed)
    return True


async def chunked(turn: Turn) -> bool:
    """The file in chunks, without a word on its length."""
    await turn.head(200, {"Content-Length": None, "Transfer-Encoding": "chunked"})
    content = turn.file.content
    for start in range(0, len(content), 1000):
        piece = content[start : start + 1000]
        await turn.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    await turn.send(b"0\r\nX-Trailer: 1\r\n\r\n")
    return True


async def until_closed(turn: Turn) -> None:
    """The file, which ends where the connection does."""
    await turn.head(200, {"Content-Length": None})
    await turn.send(turn.file.content)


def sends(data: bytes) -> Play:
    """Exactly these bytes, then the end of the connection."""

    async def play(turn: Turn) -> None:
        await turn.send(data)

    return play


def streams(size: int) -> Play:
    """So many bytes that nobody has in memory."""

    async def play(turn: Turn) -> None:
        await turn.head(200, {"Content-Length": str(size)})
        block = bytes(_SLICE)
        for _ in range(size // _SLICE):
            await turn.connection.write(block)

    return play


# --- the server --------------------------------------------------------------------------------------------------


class FileStandIn:
    """A running file server on 127.0.0.1, or on another address of this machine; a context manager, or call `close()`.

    With `authority` it speaks TLS, with a certificate of that authority for `names`. `clock` says when files expire.
    """

    def __init__(
        self,
        *,
        authority: trustme.CA | None = None,
        names: Iterable[str] = ("localhost", "127.0.0.1"),
        address: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.requests: list[Seen] = []
        self.connections = 0
        self._files: dict[str, File] = {}
        self._scripts: dict[str, list[Play]] = {}
        self._then: dict[str, Play] = {}
        self._clock = clock
        self._changed = threading.Condition()
        self._tls: ssl.SSLContext | None = None
        if authority is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(*names).configure_cert(self._tls)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="file stand-in")
        self._thread.start()
        try:
            self._server = self._call(asyncio.start_server(self._serve, address, port, ssl=self._tls, backlog=1024))
        except OSError:
            self._end_loop()
            raise
        self.port: int = self._server.sockets[0].getsockname()[1]

    def url(self, name: str, host: str = "127.0.0.1") -> str:
        """Where a file is, by any name of this machine."""
        return f"{'http' if self._tls is None else 'https'}://{host}:{self.port}/{quote(name)}"

    def put(self, name: str, content: bytes, **settings: Any) -> File:
        """Serve a file, instead of what was there; `settings` are File's. Without an `etag` it has a strong one."""
        digest = hashlib.sha256(content).hexdigest()[:16]
        file = File(content, **{"etag": f'"{digest}"', **settings})
        with self._changed:
            self._files[name] = file
        return file

    def script(self, name: str, plays: Iterable[Play], *, then: Play = honest) -> None:
        """Play these to the next requests for a file, instead of what was scripted before, and `then` to all others."""
        with self._changed:
            self._scripts[name] = list(plays)
            self._then[name] = then

    def wait_for(self, count: int = 1, name: str | None = None, *, timeout: float = 20.0) -> list[Seen]:
        """Wait until so many requests (for that file) came; return them. Raises TimeoutError after `timeout`."""

        def asked() -> list[Seen]:
            return [seen for seen in self.requests if name is None or seen.id == name]

        with self._changed:
            if not self._changed.wait_for(lambda: len(asked()) >= count, timeout):
                raise TimeoutError(f"{len(asked())} requests came")
            return asked()

    def close(self) -> None:
        """Drop all connections and end the thread."""
        if not self._loop.is_closed():
            self._call(self._end())
            self._end_loop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    async def _end(self) -> None:
        self._server.close()
        await end_connections()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        connection = Connection(reader, writer)
        try:
            # Whoever goes away in the middle is no fault of this server's; a cancelled task is the server's own end.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._answer(connection, await self._read(reader, number)):
                    pass
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await asyncio.wait_for(writer.wait_closed(), 0.5)
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader, number: int) -> Seen:
        request_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = request_line.split(" ")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, colon, value in pairs if colon}
        name = unquote(path.partition("?")[0].removeprefix("/"))
        seen = Seen(time.monotonic(), name, method, path, headers, b"", number)
        with self._changed:
            self.requests.append(seen)
            self._changed.notify_all()
        return seen

    async def _answer(self, connection: Connection, seen: Seen) -> bool:
        """Answer one request; whether the connection can take another."""
        with self._changed:
            file = self._files.get(seen.id)
            plays = self._scripts.get(seen.id, [])
            play = plays.pop(0) if plays else self._then.get(seen.id, honest)
        if file is None:
            play = status(404, b"no such file") if play is honest else play
        elif file.expires_at is not None and self._clock() >= file.expires_at:
            play = status(file.gone, b"expired")
        return bool(await play(Turn(connection, seen, file or File(b""))))
