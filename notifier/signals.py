"""The daemon's signals: held from its first moment, then waited for by a thread of their own."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def hold() -> None:
    """Let the signals wait from now on, until `listen`: what comes while the program is still loading is not lost, and
    ends or reloads nothing that has not begun. Threads that are started later inherit it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def listen(reload: Callable[[], None], stop: Callable[[], None]) -> None:
    """Have a thread take the signals, which no other gets: SIGHUP calls `reload`, the others `stop`.

    A handler would run in the main thread, at any point of it, and only once that thread wakes: while it waits for a
    lock, a signal that the kernel gives to another thread does not wake it.
    """
    hold()

    def take() -> None:
        while True:
            (reload if signal.sigwait(SIGNALS) == signal.SIGHUP else stop)()

    threading.Thread(target=take, name="signals", daemon=True).start()
