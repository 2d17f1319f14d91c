"""Has a sink's writes done by whoever waits for the download, while the transport already receives what comes next."""

from __future__ import annotations

from queue import Queue

from notifier.transport.carrier import Answer, our_mistake
from notifier.transport.heads import Head
from notifier.transport.intake import Sink, cannot_be_written

_BLOCKS = 8
"""Blocks that may wait to be written; with more, the transport waits."""


class Relay:
    """A Sink for the transport's thread; `wait` writes, in the thread that calls it, into the one it stands for."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._queue: Queue[bytes | Answer] = Queue(_BLOCKS)
        self._failure: Exception | None = None

    def begin(self, head: Head) -> str | None:
        """See `Sink`. Called at once: the answer is needed."""
        return self._sink.begin(head)

    def write(self, data: bytes) -> None:
        """See `Sink`. Raises what writing something earlier has raised."""
        if self._failure is not None:
            raise self._failure
        self._queue.put(data)

    def put(self, answer: Answer) -> None:
        """The download is over."""
        self._queue.put(answer)

    def wait(self) -> Answer:
        """Write all that comes, until the download is over; what came of it."""
        while isinstance(item := self._queue.get(), bytes):
            if self._failure is None:
                try:
                    self._sink.write(item)
                except Exception as error:  # noqa: BLE001 - a sink's mistake is the failure of this download alone
                    self._failure = error
        if self._failure is None:
            return item
        failure = self._failure
        told = cannot_be_written(failure) if isinstance(failure, OSError) else our_mistake(failure)
        told.__cause__ = failure
        return told
