"""A body on its way to a download's sink: counted, decoded if it must be, gathered into blocks."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Protocol

from notifier.transport.carrier import in_words
from notifier.transport.errors import Kind, TransportError
from notifier.transport.heads import Head

_BLOCK = 512 * 1024
"""Bytes that go to the sink at once, to the byte: file systems are slower with blocks that begin within a page. libcurl
gives them in pieces of 16 KiB or less, and to write each by itself would cost more than to receive it."""


class Sink(Protocol):
    """Where the bytes of one download go. Of `Transport.fetch`, `write` is called in the caller's thread; else both are
    called in the transport's thread, which does nothing else meanwhile.

    An OSError from either method ends the download with Kind.SINK; any other exception is a mistake, and ends it too.
    Neither is called any more once the download is over.
    """

    def begin(self, head: Head) -> str | None:
        """The answer is a 2xx: return None to have its body, or why it is not wanted (for people, without a URL).

        Called at most once in a download, before any `write`. From `head.offset` on, nothing that the sink has of an
        earlier download holds good: a server that cannot go on where it was asked to begins at 0 again.
        """

    def write(self, data: bytes) -> None:
        """Take the next bytes, all of them. What came before a failure is written too, so that it can be resumed."""


class Intake:
    """What one sink is given. Every method raises TransportError for what ends the download."""

    __slots__ = ("_gunzip", "_head", "_held", "_max_size", "_pieces", "_received", "_sink", "_size")

    def __init__(self, sink: Sink, head: Head, max_size: int) -> None:
        self._sink = sink
        self._head = head
        self._max_size = max_size
        self._gunzip = Gunzip() if head.encoding else None
        self._received = 0
        """Bytes of a compressed body."""
        self._size = head.offset
        """Bytes of the file that the sink has, with those it had before."""
        self._pieces: list[bytes] = []
        self._held = 0
        self._limit(head.total or 0)
        try:
            unwanted = sink.begin(head)
        except OSError as error:
            raise cannot_be_written(error) from error
        if unwanted is not None:
            raise TransportError(Kind.UNWANTED, f"unwanted: {unwanted}")

    def take(self, data: bytes) -> None:
        """Take the next bytes from the wire."""
        if self._gunzip is None:
            self._gather(data)
            return
        self._received += len(data)
        self._limit(self._received)  # it could go on for ever and come to nothing
        for piece in self._gunzip.decode(data):
            self._gather(piece)

    def flush(self) -> None:
        """Give the sink what was gathered."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        self._size += len(data)
        self._limit(self._size)
        if self._head.total is not None and self._size > self._head.total:
            raise TransportError(Kind.MALFORMED, "not HTTP: more bytes than the file has")
        if data:
            try:
                self._sink.write(data)
            except OSError as error:
                raise cannot_be_written(error) from error

    def finish(self) -> None:
        """Flush; the body has come to its end, by its framing. Whether that is the end of the file is told here."""
        self.flush()
        if self._head.total is not None and self._size < self._head.total:
            raise TransportError(Kind.BROKEN, f"truncated: {self._head.total - self._size} bytes are missing")
        if self._gunzip is not None and not self._gunzip.whole:
            raise TransportError(Kind.BROKEN, "truncated: what is compressed has no end")

    def _gather(self, data: bytes) -> None:
        room = _BLOCK - self._held
        if len(data) < room:
            self._pieces.append(data)
            self._held += len(data)
            return
        self._pieces.append(data[:room])
        self.flush()
        self._pieces.append(data[room:])
        self._held = len(data) - room

    def _limit(self, size: int) -> None:
        if size > self._max_size:
            raise TransportError(Kind.TOO_LARGE, f"too large: a file of over {in_words(self._max_size)}")


class Gunzip:
    """Decodes gzip and knows where it ends, which libcurl does not tell: a file cut short would pass for whole."""

    __slots__ = ("_member", "_started")

    def __init__(self) -> None:
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._started = False
        """Anything came at all: nothing at all is whole, too."""

    @property
    def whole(self) -> bool:
        """Whether what came so far ends where it should, checksum included."""
        return self._member.eof or not self._started

    def decode(self, data: bytes) -> Iterator[bytes]:
        """What the bytes mean, in pieces of bounded length. Raises TransportError if they mean nothing."""
        try:
            while data:
                if self._member.eof:  # a file may be several that follow each other (RFC 1952, 2.2)
                    self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
                self._started = True
                piece = self._member.decompress(data, _BLOCK)
                if piece:
                    yield piece
                data = self._member.unconsumed_tail or self._member.unused_data
        except zlib.error:
            raise TransportError(Kind.MALFORMED, "bad compression: not gzip") from None


def cannot_be_written(error: OSError) -> TransportError:
    """The error for an OSError of a sink's."""
    return TransportError(Kind.SINK, f"cannot be written: {error.strerror or type(error).__name__}")
