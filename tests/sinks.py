"""Where the tests' downloads go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests

from notifier.transport import Answer, Guard, Head, Limits, Transport, TransportError

MIB = 2**20
ANYWHERE = Guard(allow_private=True)
"""The tests' servers are all on loopback."""


class MemorySink:
    """A sink as it should be: it begins where it is told to. `held` is what it has of an earlier download."""

    def __init__(self, held: bytes = b"", judge: Callable[[Head], str | None] = lambda head: None) -> None:
        self._data = bytearray(held)
        self.heads: list[Head] = []
        self.blocks: list[int] = []
        self._judge = judge

    @property
    def data(self) -> bytes:
        """What it has."""
        return bytes(self._data)

    @property
    def head(self) -> Head:
        """Of the one answer that was taken or refused."""
        (head,) = self.heads
        return head

    def begin(self, head: Head) -> str | None:
        """Judge, and forget what does not hold good any more."""
        self.heads.append(head)
        refusal = self._judge(head)
        if refusal is None:
            assert head.offset <= len(self._data)
            del self._data[head.offset :]
        return refusal

    def write(self, data: bytes) -> None:
        """Keep it."""
        assert data, "an empty block is no news"
        self.blocks.append(len(data))
        self._data += data


def get(url: str, **headers: str) -> requests.PreparedRequest:
    """A request; underscores in the headers' names stand for hyphens."""
    return requests.Request("GET", url, {name.replace("_", "-"): value for name, value in headers.items()}).prepare()


def limits(**changes: Any) -> Limits:
    """Ample ones, with changes."""
    return Limits(**{"max_size": 64 * MIB, "timeout": 60.0, "stall": 30.0, **changes})


def fetch(
    transport: Transport, url: str, sink: Any, guard: Guard = ANYWHERE, within: Limits | None = None, **headers: Any
) -> Answer:
    """Download, and wait."""
    return transport.fetch(get(url, **headers), sink=sink, guard=guard, limits=within or limits())


def whole(answer: Answer) -> requests.Response:
    """The answer of a download that brought the file."""
    assert isinstance(answer, requests.Response), answer
    assert answer.ok, answer
    assert answer.content == b""
    return answer


def failed(answer: Answer) -> TransportError:
    """What went wrong."""
    assert isinstance(answer, TransportError), answer
    assert answer.reason.isprintable()
    return answer
