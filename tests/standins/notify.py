"""systemd's end of sd_notify(3): a real datagram socket."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Self


class NotifySocket:
    """What the daemon tells systemd. Its address is a path, or a name after an `@`; a context manager."""

    def __init__(self, address: str) -> None:
        self.environment = {"NOTIFY_SOCKET": address}
        self.told: list[str] = []
        """Every datagram so far."""
        self._heard = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def hear(self, seconds: float = 0.0) -> list[str]:
        """What nobody has waited for yet, and what comes within so many seconds."""
        self._receive(time.monotonic() + seconds, lambda: False)
        heard, self._heard = self.told[self._heard :], len(self.told)
        return heard

    def wait_for(self, text: str, count: int = 1, seconds: float = 20.0) -> None:
        """Wait until so many more datagrams have begun with the text; what came behind them is left to be heard."""
        for number in range(count):
            self._receive(time.monotonic() + seconds, lambda: self._next(text) is not None)
            found = self._next(text)
            assert found is not None, f"{text} was told {number} times, not {count}: {self.told}"
            self._heard = found + 1

    def _next(self, text: str) -> int | None:
        places = range(self._heard, len(self.told))
        return next((place for place in places if self.told[place].startswith(text)), None)

    def _receive(self, deadline: float, enough: Callable[[], bool]) -> None:
        while not enough():
            self._socket.settimeout(max(0.0, deadline - time.monotonic()))
            try:
                self.told.append(self._socket.recv(65536).decode())
            except (BlockingIOError, TimeoutError):
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
