"""The heartbeat: once a second, on the monotonic clock, a look at everything that nobody else looks at."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from notifier.logs import mistake

logger = logging.getLogger(__name__)

BEAT = 1.0
"""Seconds."""

Task = tuple[int, Callable[[], None]]
"""Every so many beats, this call."""


class Heartbeat:
    """A thread that makes each of its calls every so many beats. A call that raises is logged, and made again."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = tasks
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Start beating."""
        self._thread.start()

    def stop(self, patience: float) -> bool:
        """Stop after the call that is being made; whether it has ended within so many seconds. No other follows it."""
        self._stopping.set()
        if self._thread is not threading.current_thread() and self._thread.ident is not None:
            self._thread.join(patience)
        return not self._thread.is_alive()

    def _run(self) -> None:
        beat = 0
        while not self._stopping.wait(BEAT):
            beat += 1
            for every, call in self._tasks:
                if beat % every == 0 and not self._stopping.is_set():
                    self._make(call)

    @staticmethod
    def _make(call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:  # noqa: BLE001 - a mistake in one task must not end the others
            mistake(logger, "a regular task failed")
