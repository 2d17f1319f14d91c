"""The prediction API as its clients see it: a real HTTP/1.1 server on loopback that answers by script.

    with ApiStandIn() as api:
        api.script("x", [plain("x", "starting"), problem(500, "Oops"), hang, plain("x", "succeeded", output="hi")])

Each poll of an id is given the next answer of its script, the last one over and over. Ids nobody scripted are unknown.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import unquote

import requests
import trustme
from requests.structures import CaseInsensitiveDict

from tests.standins.endings import end_connections

PATH = "/replicate/v1"


@dataclass(frozen=True)
class Seen:
    """One request. Names of headers are in lower case; `time` is on the monotonic clock."""

    time: float
    id: str
    """The prediction's id; empty for a path that is none."""
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int
    """The how manieth connection it came over, counted from 1."""


class Connection:
    """What a misbehaviour can do with the connection. It is closed afterwards, unless the misbehaviour returns True."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def write(self, data: bytes) -> None:
        """Send some bytes."""
        self._writer.write(data)
        await self._writer.drain()

    async def gone(self) -> None:
        """Wait until the client has gone."""
        while await self._reader.read(65536):
            pass

    def sever(self) -> None:
        """End the connection in good order, without the goodbye that TLS has of its own."""
        self._writer.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """End the connection without a word: what was not sent yet never is."""
        plain_socket = self._writer.get_extra_info("socket")
        plain_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Misbehaviour = Callable[[Connection, bytes], Awaitable[bool | None]]
"""Plays an answer in its own manner; it is given the connection and the whole answer in bytes."""


@dataclass(frozen=True)
class Answer:
    """What to answer one request with. A `body` that is not bytes is sent as JSON."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    play: Misbehaviour | None = None
    delay: float = 0.0
    """Seconds before it is sent."""
    held: bool = False
    """Sent only after `ApiStandIn.release()`."""
    closes: bool = False
    """The connection is closed after it, without a word about that in the headers."""

    def with_(self, **changes: Any) -> Answer:
        """The same with other settings: `plain("x", "starting").with_(held=True)`."""
        return replace(self, **changes)

    def content(self) -> bytes:
        """The body's bytes."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    def raw(self) -> bytes:
        """All bytes of it."""
        body = self.content()
        kind = "text/html" if body is self.body else "application/json"
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), **self.headers}
        try:
            reason = HTTPStatus(self.status).phrase
        except ValueError:
            reason = ""
        lines = [f"HTTP/1.1 {self.status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def as_response(answer: Answer) -> requests.Response:
    """The answer as requests would give it, without a network in between."""
    response = requests.Response()
    response.status_code = answer.status
    response.headers = CaseInsensitiveDict(answer.headers)
    response._content = answer.content()
    return response


# --- well-behaved answers ----------------------------------------------------------------------------------------


def plain(prediction_id: str, status: str, **fields: Any) -> Answer:
    """A prediction as Replicate's API gives it."""
    return Answer(body=prediction(prediction_id, status, **fields))


def prediction(prediction_id: str, status: str, **fields: Any) -> dict[str, Any]:
    """The prediction object, with all its keys; `fields` add to it or stand in for them."""
    return {
        "id": prediction_id,
        "model": "black-forest-labs/flux-schnell",
        "version": "hidden",
        "status": status,
        "input": {"prompt": "a cat"},
        "output": None,
        "error": None,
        "logs": "",
        "metrics": {},
        "created_at": "2026-03-12T11:27:18.258Z",
        "data_removed": False,
        "urls": {
            "get": f"https://api.replicate.com/v1/predictions/{prediction_id}",
            "web": f"https://replicate.com/p/{prediction_id}",
        },
        **fields,
    }


def wrapped(prediction_id: str, outer_status: str, inner: Any = None, **fields: Any) -> Answer:
    """A task as CometAPI's gateway gives it (new-api's task DTO); `fields` are of the task around `inner`."""
    task = {
        "task_id": prediction_id,
        "platform": "replicate",
        "action": "generate",
        "status": outer_status,
        "fail_reason": "",
        "submit_time": 1773314838,
        "start_time": 0,
        "finish_time": 0,
        "progress": "",
        "data": inner,
        **fields,
    }
    return Answer(body={"code": "success", "message": "", "data": task})


def problem(status: int, title: str | None = None, detail: str | None = None, **headers: str) -> Answer:
    """An error of Replicate's (RFC 7807). Underscores in the headers' names stand for hyphens."""
    body = {"title": title, "detail": detail, "status": status}
    return Answer(
        status,
        {key: value for key, value in body.items() if value is not None},
        {
            "Content-Type": "application/problem+json",
            **{key.replace("_", "-"): value for key, value in headers.items()},
        },
    )


def comet_error(status: int, message: str, code: Any = "", **fields: Any) -> Answer:
    """An error of CometAPI's; with status 200 it is one that hides in a success."""
    error = {"message": message, "type": "comet_api_error", "param": "", "code": code, **fields}
    return Answer(status, {"error": error})


# --- misbehaviours -----------------------------------------------------------------------------------------------


async def _hang(connection: Connection, raw: bytes) -> None:
    await connection.gone()


async def _hang_in_headers(connection: Connection, raw: bytes) -> None:
    await connection.write(raw[:25])
    await connection.gone()


async def _hang_in_body(connection: Connection, raw: bytes) -> None:
    await connection.write(raw[:-5])
    await connection.gone()


async def _drip(connection: Connection, raw: bytes) -> None:
    for byte in raw:
        await connection.write(bytes([byte]))
        await asyncio.sleep(0.05)


async def _reset(connection: Connection, raw: bytes) -> None:
    connection.reset()


async def _reset_in_body(connection: Connection, raw: bytes) -> None:
    await connection.write(raw[:-5])
    await asyncio.sleep(0.05)  # or the reset would overtake what was written
    connection.reset()


async def _truncate(connection: Connection, raw: bytes) -> None:
    await connection.write(raw[:-5])


def _sending(data: bytes) -> Misbehaviour:
    async def send(connection: Connection, raw: bytes) -> None:
        await connection.write(data)

    return send


hang = Answer(play=_hang)
"""Take the request and say nothing."""
hang_in_headers = Answer(play=_hang_in_headers)
hang_in_body = Answer(body=b'{"id": "x", "status": "starting"}', play=_hang_in_body)
drip = Answer(body=b'{"id": "x", "status": "starting"}', play=_drip)
"""A byte every 50 ms, all of an answer that would take some five seconds."""
reset = Answer(play=_reset)
reset_in_body = Answer(body=b'{"id": "x", "status": "starting"}', play=_reset_in_body)
truncated = Answer(body=b'{"id": "x", "status": "starting"}', play=_truncate)
"""Fewer bytes than Content-Length says, then the end."""


def sends(data: bytes) -> Answer:
    """Exactly these bytes, then the end of the connection."""
    return Answer(play=_sending(data))


# --- the server --------------------------------------------------------------------------------------------------


class ApiStandIn:
    """A running API on 127.0.0.1; a context manager, or call `close()`.

    With `authority` it speaks TLS, with a certificate of that authority for localhost and 127.0.0.1 (or for `host`, to
    be found out). With `token` it refuses every other token.
    """

    def __init__(
        self, *, authority: trustme.CA | None = None, host: str = "localhost", token: str | None = None
    ) -> None:
        self.requests: list[Seen] = []
        self.connections = 0
        self.unknown = problem(404, detail="The requested resource does not exist")
        self.token = token
        self._scripts: dict[str, list[Answer]] = {}
        self._changed = threading.Condition()
        self._tls: ssl.SSLContext | None = None
        if authority is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            names = ("localhost", "127.0.0.1") if host == "localhost" else (host,)
            authority.issue_cert(*names).configure_cert(self._tls)
            self._tls.set_alpn_protocols(["h2", "http/1.1"])  # whoever takes HTTP/2 will not be understood
        self._loop = asyncio.new_event_loop()
        self._released = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api stand-in")
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls, backlog=4096))
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def base_url(self) -> str:
        """What an account's `base_url` would be."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}{PATH}"

    def url(self, prediction_id: str) -> str:
        """The URL of a prediction."""
        return f"{self.base_url}/predictions/{prediction_id}"

    def script(self, prediction_id: str, answers: Iterable[Answer]) -> None:
        """Play these answers to the next polls of a prediction, instead of what was scripted before."""
        with self._changed:
            self._scripts[prediction_id] = list(answers)

    def release(self) -> None:
        """Send all answers that are held, and hold none any more."""
        self._loop.call_soon_threadsafe(self._released.set)

    def wait_for(
        self,
        count: int = 1,
        prediction_id: str | None = None,
        *,
        predicate: Callable[[list[Seen]], bool] | None = None,
        timeout: float = 20.0,
    ) -> list[Seen]:
        """Wait until so many requests (for that prediction) came, or until `predicate` says yes of them; return them.

        Raises TimeoutError after `timeout` seconds.
        """

        def asked() -> list[Seen]:
            return [seen for seen in self.requests if prediction_id is None or seen.id == prediction_id]

        enough = predicate or (lambda seen: len(seen) >= count)
        with self._changed:
            if not self._changed.wait_for(lambda: enough(asked()), timeout):
                raise TimeoutError(f"{len(asked())} requests came, none of them enough")
            return asked()

    def close(self) -> None:
        """Drop all connections and end the thread."""
        if not self._loop.is_closed():
            self._call(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    async def _end(self) -> None:
        self._server.close()
        await end_connections()

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
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request_line, *lines = head.split("\r\n")
        method, path, _ = request_line.split(" ")
        headers = {
            name.lower(): value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        before, _, name = path.partition(f"{PATH}/predictions/")
        seen = Seen(time.monotonic(), "" if before else unquote(name), method, path, headers, body, number)
        with self._changed:
            self.requests.append(seen)
            self._changed.notify_all()
        return seen

    async def _answer(self, connection: Connection, seen: Seen) -> bool:
        """Answer one request; whether the connection can take another."""
        answer = self._choose(seen)
        if answer.delay:
            await asyncio.sleep(answer.delay)
        if answer.held:
            await self._released.wait()
        if answer.play is not None:
            return bool(await answer.play(connection, answer.raw()))
        raw = answer.raw()
        await connection.write(raw if seen.method != "HEAD" else raw[: raw.index(b"\r\n\r\n") + 4])
        return not answer.closes

    def _choose(self, seen: Seen) -> Answer:
        if self.token is not None and seen.headers.get("authorization") != f"Bearer {self.token}":
            return problem(401, "Unauthenticated", "You did not pass a valid authentication token")
        if not seen.id:
            return Answer(404, b"<!doctype html><title>Not found</title>")
        with self._changed:
            answers = self._scripts.get(seen.id, [self.unknown])
            return answers.pop(0) if len(answers) > 1 else answers[0]
