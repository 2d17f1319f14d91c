"""What systemd is told, by sd_notify(3), and the line that `systemctl status` shows.

The protocol is one datagram of KEY=value lines to the socket that systemd names. It is spoken here because the packages
for it are no longer kept, or want libsystemd's headers where they are installed.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence

from notifier.logs import event

logger = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds that systemd gets to take a datagram: it may be busy, and the daemon has other things to do."""
NAMED = 5
"""Incidents that the line of status names; how many there are it says in any case."""
LONGEST = 1000
"""Characters of the line: systemd drops a datagram of more than 4,096 bytes, and what it showed before would stand."""


class ServiceManager:
    """Tells whoever started the daemon how it fares; says nothing where nobody asks to be told.

    Safe to use from any thread. Never raises: that systemd cannot be told is logged, once.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._is_watched = "WATCHDOG_USEC" in environ and environ.get("WATCHDOG_PID", str(os.getpid())) == str(
            os.getpid()
        )
        self._status = ""
        self._failed = False

    def ready(self) -> None:
        """The start, or a reload, is over."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """A reload begins. `ready` ends it, however it went."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end begins."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """The daemon makes progress: its watchdog need not act for another WatchdogSec=."""
        if self._is_watched:
            self._tell("WATCHDOG=1")

    def status(self, line: str) -> None:
        """What `systemctl status` shows from now on; the same again costs nothing."""
        if line != self._status:
            self._status = line
            shown = line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"
            self._tell("STATUS=" + "".join(character if character.isprintable() else " " for character in shown))

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(PATIENCE)
                sender.sendto(text.encode(errors="replace"), address)
            self._failed = False
        except OSError as error:
            level = logging.DEBUG if self._failed else logging.WARNING
            self._failed = True
            event(logger, level, "systemd cannot be told", reason=error.strerror or type(error).__name__)


def status_line(
    *,
    configuration: str | None,
    watches: int,
    polled: int,
    waiting: int,
    incidents: Sequence[str],
    ailing: Sequence[str],
) -> str:
    """How the daemon fares, in one line: what is wrong first, then the numbers.

    `configuration` says why the newest one is not in force, `polled` how many of the watches are not over yet,
    `waiting` how many messages are still to be delivered, `incidents` what the open ones are about, `ailing` what keeps
    the daemon from its work.
    """
    parts = [*ailing]
    if configuration is not None:
        parts.append(configuration)
    parts.append(f"polling {polled} of {_count(watches, 'watch', 'watches')}")
    parts.append(f"{_count(waiting, 'message', 'messages')} waiting")
    named = [*sorted(incidents)[:NAMED], *(["..."] if len(incidents) > NAMED else [])]
    told = f"{_count(len(incidents), 'incident', 'incidents')}: {', '.join(named)}"
    parts.append(told if incidents else "no incident")
    return "; ".join(parts)


def _count(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"
