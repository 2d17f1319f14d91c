"""When the next message of a channel may be sent, so that it gets no more than its `rate`."""

from __future__ import annotations

import threading


class Pacer:
    """Spaces the messages of one channel, over all its recipients. Thread-safe."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._next = 0.0
        self._lock = threading.Lock()

    def configure(self, rate: float) -> None:
        """So many messages per second from now on. Places in the line that were taken at another rate are void."""
        with self._lock:
            if rate != self._rate:
                self._rate, self._next = rate, 0.0

    def reserve(self, now: float) -> float:
        """Take the next place in the line; how many seconds to wait for it."""
        with self._lock:
            start = max(now, self._next)
            self._next = start + 1.0 / self._rate
            return start - now
