"""The sockets of one download: each address is looked at before anything is sent to it."""

from __future__ import annotations

import os
import socket
from typing import Protocol

import pycurl

from notifier.transport.guard import Guard


class _Address(Protocol):
    """What pycurl says of the address that libcurl is about to connect to."""

    family: int
    socktype: int
    protocol: int
    addr: tuple[str, int] | tuple[str, int, int, int]


class GuardedSockets:
    """Opens what libcurl connects, unless the guard refuses the address: there is no later look-up that could differ.

    With `host` None it opens anything: the addresses are those of a proxy, which the machine's owner has chosen.
    """

    __slots__ = ("_guard", "_host", "_opened", "_refusal", "_socket", "fault")

    def __init__(self, handle: pycurl.Curl, guard: Guard, host: str | None) -> None:
        self._guard = guard
        self._host = host
        self._opened = False
        self._refusal: str | None = None
        self._socket: socket.socket | None = None
        self.fault: Exception | None = None
        """An exception in a callback, which pycurl would only print."""
        handle.setopt(pycurl.OPENSOCKETFUNCTION, self._open)
        handle.setopt(pycurl.SOCKOPTFUNCTION, self._opened_copy)

    @property
    def refusal(self) -> str | None:
        """Why not a single address could be tried; None if one was, or if there was none."""
        return None if self._opened else self._refusal

    def close(self) -> None:
        """Close what is ours; the connection is libcurl's."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self, _purpose: int, address: _Address) -> socket.socket | int:
        try:
            self.close()
            if self._host is not None:
                refusal = self._guard.refuses_address(self._host, address.addr[0])
                if refusal is not None:
                    self._refusal = self._refusal or refusal
                    return pycurl.SOCKET_BAD  # libcurl goes on to the host's next address
            self._socket = socket.socket(address.family, address.socktype, address.protocol)
            self._opened = True
        except OSError:  # no more files, or no IPv6 here: libcurl says that it could not connect
            return pycurl.SOCKET_BAD
        except Exception as error:  # noqa: BLE001 - see `fault`
            self.fault = error
            return pycurl.SOCKET_BAD
        return self._socket

    def _opened_copy(self, descriptor: int, _purpose: int) -> int:
        """The socket is pycurl's to copy for libcurl, as one that child processes would inherit."""
        try:
            self.close()
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - it has no name
        except Exception as error:  # noqa: BLE001 - see `fault`
            self.fault = error
            return pycurl.SOCKOPT_ERROR
        return pycurl.SOCKOPT_OK
