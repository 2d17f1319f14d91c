"""The API of the benchmarks, and the far end of their channel: processes that answer at once or later, and stamp it.

A lean server on epoll, several processes on one port. Each writes a record of every request into memory that it shares
with whoever measures: whose it was, when it came, when it was answered. The stamps are of the monotonic clock, which is
the same in all processes of a machine.

What a prediction's answer says needs no word between the processes: after the moment that `begin_changes` sets, the
predictions change their status one after the other, evenly, and which one when is arithmetic.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import mmap
import multiprocessing
import os
import random
import re
import select
import socket
import ssl
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from tests.bench.measure import processor

SUFFIX = "ufawqhfynnddngldkgt"
_NUMBER = re.compile(rb"([0-9]{7})" + SUFFIX.encode())
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.I)
_HEAD = struct.Struct("<qd")
"""How many records there are; the moment of the first change, or 0."""
_RECORD = struct.Struct("<q?dd")
_MOST = 3_000_000
_STRIDE = 7919
"""Coprime to any number of watches: neighbours in the list do not change one after the other."""
CHANGE_EVERY = 0.06
"""Seconds between two changes: a thousand a minute."""


def name_of(number: int) -> str:
    """The id of a prediction, as long as genuine ones are."""
    return f"{number:07}{SUFFIX}"


def changes_at(number: int, watches: int, first: float) -> float:
    """When this prediction changes, if the first of so many does at `first`."""
    return first + (number * _STRIDE % watches) * CHANGE_EVERY


class Stamp(NamedTuple):
    """One request. `answered` is 0 while it waits, and infinity if whoever asked went away."""

    number: int
    changed: bool
    """Whether the answer had the new status."""
    arrived: float
    answered: float


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a server answers."""

    delay: tuple[float, float] = (0.0, 0.0)
    certificate: str | None = None
    watches: int = 1
    """How many predictions there are, which is how long it takes until all have changed."""


class Api:
    """Running servers on one port; a context manager."""

    def __init__(self, folder: Path, behaviour: Behaviour | None = None, *, processes: int = 2) -> None:
        self._behaviour = behaviour or Behaviour()
        with socket.create_server(("127.0.0.1", 0), reuse_port=True) as listener:
            self.port: int = listener.getsockname()[1]
            context = multiprocessing.get_context("spawn")
            paths = [folder / f"stamps-{self.port}-{each}" for each in range(processes)]
            for path in paths:
                with path.open("wb") as file:
                    file.truncate(_HEAD.size + _MOST * _RECORD.size)
            self._maps = [_shared(path) for path in paths]
            self._processes = [
                context.Process(target=_serve, args=(self.port, path, self._behaviour), daemon=True) for path in paths
            ]
            for process in self._processes:
                process.start()
            self._paths = paths
            self._wait_until_open()
        scheme = "http" if self._behaviour.certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.port}"

    def _wait_until_open(self) -> None:
        """The listening sockets of all processes, beside the one that holds the port."""
        here = f"{socket.inet_aton('127.0.0.1')[::-1].hex().upper()}:{self.port:04X}"
        while Path("/proc/net/tcp").read_text().count(f"{here} 00000000:0000 0A") <= len(self._processes):
            time.sleep(0.05)

    def begin_changes(self, first: float) -> None:
        """Let the predictions change from this moment on."""
        for each in self._maps:
            _HEAD.pack_into(each, 0, _HEAD.unpack_from(each)[0], first)

    def count(self) -> int:
        """Requests so far."""
        return sum(_HEAD.unpack_from(each)[0] for each in self._maps)

    def stamps(self, since: float = 0.0) -> list[Stamp]:
        """All of them, or those that came since a moment, in the order in which they came."""
        found: list[Stamp] = []
        for each in self._maps:
            end = _HEAD.size + _HEAD.unpack_from(each)[0] * _RECORD.size
            every = (Stamp(*record) for record in _RECORD.iter_unpack(each[_HEAD.size : end]))
            found += [stamp for stamp in every if stamp.arrived >= since]
        return sorted(found, key=lambda stamp: stamp.arrived)

    def processor(self) -> float:
        """Seconds of processor time so far, all processes."""
        return sum(processor(process.pid or 0) for process in self._processes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        for each in self._maps:
            each.close()
        for path in self._paths:
            path.unlink()


def _shared(path: Path) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)


# --- a server's process ------------------------------------------------------------------------------------------


def _body(number: int, status: str) -> bytes:
    name = name_of(number)
    return json.dumps(
        {
            "id": name,
            "model": "black-forest-labs/flux-schnell",
            "version": "5599ed30703defd1d160a25a63321b4dec97101d98b4674bcc56e41f62f35637",
            "input": {"prompt": "A lighthouse at dusk, long exposure, 35mm", "num_outputs": 1, "seed": 42},
            "logs": "",
            "output": None,
            "error": None,
            "data_removed": False,
            "status": status,
            "created_at": "2026-01-05T10:21:07.042Z",
            "started_at": None,
            "completed_at": None,
            "urls": {
                "get": f"https://api.replicate.com/v1/predictions/{name}",
                "cancel": f"https://api.replicate.com/v1/predictions/{name}/cancel",
            },
            "metrics": {},
        }
    ).encode()


def _answer(body: bytes) -> bytes:
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-store\r\nServer: bench\r\n"
        b"Date: Mon, 05 Jan 2026 10:21:09 GMT\r\nContent-Length: %d\r\n\r\n"
    )
    return head % len(body) + body


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    asked: bytes = b""
    open: bool = True
    ending: bool = False
    """Whoever asked wants the connection closed after the answer."""


@dataclass(order=True, slots=True)
class _Owed:
    due: float
    number: int
    place: int = field(compare=False)
    """Of its record."""
    connection: _Connection = field(compare=False)
    message: bool = field(compare=False)
    """It is a message to a channel, which is only taken."""


class _Server:
    def __init__(self, port: int, path: Path, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._shared = _shared(path)
        self._records = 0
        self._listener = socket.create_server(("127.0.0.1", port), reuse_port=True, backlog=4096)
        self._listener.setblocking(False)
        self._context: ssl.SSLContext | None = None
        if behaviour.certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(behaviour.certificate)
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._connections: dict[int, _Connection] = {}
        self._owed: list[_Owed] = []
        self._bodies = {status: _answer(_body(0, status)) for status in ("starting", "processing")}

    def run(self) -> None:
        while True:
            wait = max(0.0, self._owed[0].due - time.monotonic()) if self._owed else None
            for descriptor, _ in self._epoll.poll(wait):
                connection = self._connections.get(descriptor)
                if connection is None:
                    self._accept()
                else:
                    self._read(connection)
            now = time.monotonic()
            while self._owed and self._owed[0].due <= now:
                self._pay(heapq.heappop(self._owed))

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                plain, _ = self._listener.accept()
                plain.setblocking(False)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._context is not None:
                    plain = self._context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
                self._connections[plain.fileno()] = _Connection(plain)
                self._epoll.register(plain, select.EPOLLIN)

    def _read(self, connection: _Connection) -> None:
        try:
            while True:
                data = connection.socket.recv(65536)
                if not data:
                    self._close(connection)
                    return
                connection.asked += data
                if self._context is None:
                    break
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError:  # reset, or no TLS
            self._close(connection)
            return
        head, end, rest = connection.asked.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if end and len(rest) >= (int(length[1]) if length else 0):
            self._take(connection)

    def _take(self, connection: _Connection) -> None:
        now = time.monotonic()
        found = _NUMBER.search(connection.asked)
        number = int(found[1]) if found else -1
        place = _HEAD.size + self._records * _RECORD.size
        _RECORD.pack_into(self._shared, place, number, False, now, 0.0)
        self._records += 1
        self._shared[:8] = struct.pack("<q", self._records)
        connection.ending = b"onnection: close" in connection.asked
        owed = _Owed(now, number, place, connection, connection.asked.startswith(b"POST"))
        connection.asked = b""
        if self._behaviour.delay[1]:
            owed.due += random.uniform(*self._behaviour.delay)
            heapq.heappush(self._owed, owed)
        else:
            self._pay(owed)

    def _pay(self, owed: _Owed) -> None:
        connection = owed.connection
        first = _HEAD.unpack_from(self._shared)[1]
        now = time.monotonic()
        changed = bool(first) and now >= changes_at(owed.number, self._behaviour.watches, first)
        if owed.message:
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        else:
            template = self._bodies["processing" if changed else "starting"]
            answer = template.replace(name_of(0).encode(), name_of(owed.number).encode())
        if connection.open:
            connection.socket.send(answer)
        stamp = now if connection.open else float("inf")
        before = _RECORD.unpack_from(self._shared, owed.place)
        _RECORD.pack_into(self._shared, owed.place, owed.number, changed, before[2], stamp)
        if connection.ending and connection.open:
            self._close(connection)

    def _close(self, connection: _Connection) -> None:
        connection.open = False
        del self._connections[connection.socket.fileno()]
        connection.socket.close()


def _serve(port: int, path: Path, behaviour: Behaviour) -> None:
    # A genuine API is on another machine: what eats up this one must not make it slow.
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    _Server(port, path, behaviour).run()
