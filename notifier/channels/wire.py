"""Sending one message to one target, with a deadline, and with a reason where it fails."""

from __future__ import annotations

import logging
import re
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from notifier.channels import plugins, reasons
from notifier.channels.urls import Target, mask, password, secret_parts
from notifier.errors import DeliveryError
from notifier.logs import event
from notifier.model import Address, Message

logger = logging.getLogger(__name__)

DEADLINE = 60.0
"""Seconds for one delivery in all."""
MOST_HANGING = 3
"""Deliveries to one address that may hang at once; each holds a thread."""
MOST_WITH_FILES = 4
"""Messages of one channel that may be on their way with files at once: composing a mail takes eight times their size in
memory."""
LONGEST = 160
"""Characters of a reason."""

_WORDS_TAKEN = re.compile(r"Sent .*notification")
"""How a plugin says that a text was taken: not what it says of a file."""
_hanging: defaultdict[Address, list[_Attempt]] = defaultdict(list)
_places: defaultdict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(MOST_WITH_FILES))
"""Of each channel, those that are free for messages with files."""


class _Attempt:
    """One send in a thread of its own: nothing in Apprise, requests or smtplib bounds a whole exchange, and a drip of
    single bytes keeps all their timeouts from ending it. What ends it is the end of its connection, unless it has none
    yet, but waits for a name server. A daemon thread: one that hangs keeps no process alive.
    """

    def __init__(self, target: Target, message: Message, over: Callable[[], None]) -> None:
        self.records: list[plugins.Record] = []
        self.taken = False
        self.words_taken = False
        """Whether a message with files is there but for these, by services that take files one by one."""
        self.finished = threading.Event()
        self._target = target
        self._watches_words = False
        self._broke: str | None = None
        self._connections = plugins.Connections()
        # Only the thread has the message, with its files: the attempt itself is kept for longer.
        name = f"send {target.address.channel}"
        self._thread = threading.Thread(target=self._run, args=(message, over), name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its connection still holds the thread."""
        return self._thread.is_alive()

    def abandon(self) -> None:
        """End its connections, so that it neither holds its thread nor delivers the message later."""
        self._connections.end()

    def error(self) -> DeliveryError:
        """Why the message was not taken, once finished."""
        return DeliveryError(self._broke) if self._broke else reasons.explain(self.records)

    def _run(self, message: Message, over: Callable[[], None]) -> None:
        try:
            parsed = plugins.parse(self._target.url.reveal())
            plugin = plugins.build(parsed) if parsed else None
            if plugin is None:
                self._broke = "Apprise cannot read the channel's URL"
                return
            title = message.title[: self._target.title_limit]
            # Where a plugin has several addresses, one of them says nothing for the others.
            self._watches_words = bool(message.attachments) and len(plugin) == 1
            with plugins.records(self._listen, self._connections):
                self.taken = plugins.post(plugin, title, message.body, message.attachments) or self.taken
        except Exception as error:  # noqa: BLE001 - its text may hold the URL; and no plugin may end a lane
            self._broke = f"Apprise failed ({type(error).__name__})"
        finally:
            del message
            over()
            self.finished.set()

    def _listen(self, record: plugins.Record) -> None:
        self.records.append(record)
        if self._target.masked and record.message.startswith("Sent Email to"):
            # The server said yes to the one recipient there is; how it takes our goodbye does not matter.
            self.taken = True
            self.finished.set()
        if self._watches_words and record.level == "INFO" and _WORDS_TAKEN.match(record.message):
            self.words_taken = True


def send(target: Target, message: Message, *, deadline: float = DEADLINE) -> None:
    """Give the message to the channel and return when it said yes; raises DeliveryError when it did not.

    After `deadline` seconds the attempt is abandoned, and nobody knows whether it arrived. The reason holds no part of
    the channel's URL. Any number of threads may send at once.

    The message's files go with it if the channel takes any. When it took the words and then not the files, the message
    is sent, as a repeat would only double the words. It also goes without files when as many messages of its channel as
    may carry some have been on their way for `deadline` seconds. The log says so.
    """
    hanging = [attempt for attempt in _hanging[target.address] if attempt.alive]
    _hanging[target.address] = hanging
    if len(hanging) >= MOST_HANGING:
        raise DeliveryError(f"{len(hanging)} earlier attempts still hang", maybe_arrived=True)
    place = _places[target.address.channel]
    if message.attachments and not place.acquire(timeout=deadline):
        _log_without_files(target, f"{MOST_WITH_FILES} messages with files are still on their way")
        message = replace(message, attachments=())
    over = place.release if message.attachments else _nothing
    try:
        attempt = _Attempt(target, message, over)
    except RuntimeError:
        over()
        raise DeliveryError("no thread could be started") from None
    if attempt.finished.wait(deadline) or attempt.taken:
        error = None if attempt.taken else _without_secrets(attempt.error(), target)
    else:
        attempt.abandon()
        hanging.append(attempt)
        error = DeliveryError(f"no answer within {deadline:g} s", maybe_arrived=True)
    if error and attempt.words_taken:
        _log_without_files(target, error.in_full)
    elif error:
        raise error


def _nothing() -> None:
    """What is over without having held a place."""


def _log_without_files(target: Target, reason: str) -> None:
    about = {"channel": target.address.channel, "recipient": target.address.recipient or None}
    event(logger, logging.WARNING, "sent without files", **about, reason=reason)


def _without_secrets(error: DeliveryError, target: Target) -> DeliveryError:
    reason = error.reason
    hidden = password(target.url)
    for part in secret_parts(target.url):
        # A password with an @ in it is no address, of which some could be shown.
        address = re.fullmatch(r"[^\s@:/]+@[\w.-]+", part) and part not in hidden
        reason = reason.replace(part, mask(part) if address else "***")
    return DeliveryError(
        reason if len(reason) <= LONGEST else reason[: LONGEST - 1].rstrip() + "…",
        content=error.content,
        gone=error.gone,
        maybe_arrived=error.maybe_arrived,
        retry_after=error.retry_after,
    )
