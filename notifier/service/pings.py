"""The outside heartbeat: a dead-man's switch elsewhere is asked for while all is well, so that it tells of the end."""

from __future__ import annotations

import logging
from collections.abc import Callable

import requests

from notifier import __version__
from notifier.logs import event
from notifier.model import Heartbeat
from notifier.transport import Answer, Transport, TransportError

logger = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds for one ping in all."""
RETRY = 10.0
"""Seconds between pings while they fail."""
MAX_ANSWER = 64 * 2**10
"""Bytes: nothing in the answer matters but its status."""


class Pings:
    """Pings the address of `heartbeat`, once a period. `configure` and `beat` are for one thread each.

    What becomes of a ping is logged when it changes. The address is a secret: nothing that is logged shows it.
    """

    def __init__(self, transport: Transport, monotonic: Callable[[], float]) -> None:
        self._transport, self._monotonic = transport, monotonic
        self._settings: Heartbeat | None = None
        self._request: requests.PreparedRequest | None = None
        self._due_at = 0.0
        self._in_flight: requests.PreparedRequest | None = None
        self._failure: str | None = ""
        """Of the last ping, None when it was taken; "" before the first."""

    def configure(self, settings: Heartbeat | None) -> None:
        """Ping this address from now on, at once; the same again changes nothing."""
        if settings == self._settings:
            return
        self._settings = settings
        self._failure = ""
        self._due_at = self._monotonic()
        self._request = None
        if settings is not None:
            headers = {"User-Agent": f"prediction-notifier/{__version__}"}
            self._request = requests.Request("GET", settings.url.reveal(), headers).prepare()

    def beat(self) -> None:
        """Ping, if it is time."""
        request, now = self._request, self._monotonic()
        if self._settings is None or request is None or request is self._in_flight or now < self._due_at:
            return
        self._due_at = now + self._settings.every
        self._in_flight = request
        self._transport.submit(
            request, timeout=TIMEOUT, max_body=MAX_ANSWER, done=lambda answer: self._done(request, answer)
        )

    def _done(self, request: requests.PreparedRequest, answer: Answer) -> None:
        """In the transport's thread. What was asked of an address that is not the configured one any more is over."""
        if request is not self._request:
            return
        self._in_flight = None
        if isinstance(answer, TransportError):
            failure: str | None = answer.reason
        else:
            failure = None if 200 <= answer.status_code < 300 else f"HTTP {answer.status_code}"
        if failure is not None:
            self._due_at = min(self._due_at, self._monotonic() + RETRY)
        if failure == self._failure:
            return
        if failure is not None:
            event(logger, logging.WARNING, "outside heartbeat not taken", reason=failure)
        else:
            event(logger, logging.INFO, "outside heartbeat taken")
        self._failure = failure
