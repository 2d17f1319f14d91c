"""The ledger: what the keeper still has to write, in order, and kept until it is written. For the keeper's thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from notifier.deliver import Lanes
from notifier.errors import StoreWriteError
from notifier.logs import event
from notifier.model import Address, Clock, Delivery, Incident, IncidentKind, Key, State
from notifier.store import AccountRow, Change, Polled, Store

logger = logging.getLogger(__name__)

POLLS_EVERY = 10.0
"""Seconds between the bulk writes of when each watch was last polled."""
WRITES_AT_LEAST_EVERY = 60.0
"""Seconds after which something is written in any case: that the store cannot be written is to be known before there is
news."""
RETRY = 1.0
"""Seconds between attempts to write what could not be written."""

Write = Callable[[float], Iterable[Delivery]]
"""A transaction that is owed to the store; gets the steady time and returns the new deliveries."""


class Ledger:
    """Collects what is to be written; `commit` writes it and wakes the lanes. Nothing is told before it is recorded."""

    def __init__(self, store: Store, lanes: Lanes, clock: Clock, fetch: Callable[[], None]) -> None:
        """`fetch` is called when there are new files to be fetched."""
        self._store, self._lanes, self._clock, self._fetch = store, lanes, clock, fetch
        self._changes: list[Change] = []
        self._writes: list[Write] = []
        self._polls: dict[Key, float] = {}
        self._next_polls = 0.0
        self._next_write = time.monotonic() + WRITES_AT_LEAST_EVERY
        self._complaint = ""
        """Why nothing can be written, as the store said last."""
        self.trouble: Incident | None = None
        """That, and since when, nothing can be written."""

    def change(self, change: Change) -> None:
        """Have a state and its notices recorded, all changes there are in one transaction."""
        self._changes.append(change)

    def owe(self, write: Write) -> None:
        """Have another transaction made, after the changes."""
        self._writes.append(write)

    def polled(self, key: Key) -> None:
        """Note that a watch was polled now; written now and then, in bulk."""
        self._polls[key] = self._clock.wall()

    def patience(self) -> float:
        """Seconds until something is to be written again."""
        if self._changes or self._writes:
            return RETRY
        return max(0.0, (self._next_polls if self._polls else self._next_write) - time.monotonic())

    def owed_to(self, key: Key, events: Collection[str]) -> list[Address]:
        """Who is to hear of one of these events of a prediction, as far as that is not recorded yet."""
        return [
            address
            for change in self._changes
            if change.key == key
            for notice, addresses in change.notices
            if not notice.names.isdisjoint(events)
            for address in addresses
        ]

    def commit(self) -> None:
        """Write what is owed. What cannot be written now is kept, told to nobody, and written by a later call.

        `trouble` says how that went. Raises StoreError when the store is damaged, not merely full or locked.
        """
        try:
            while self._changes or self._writes:
                self._write_next()
                if not self._changes and not self._writes:
                    self.trouble = None
        except StoreWriteError as error:
            self._note_trouble(error)

    def close(self) -> None:
        """Say what ends with this process: none of it was told, and what is still so is seen by the next polls."""
        if self._changes or self._writes:
            event(logger, logging.ERROR, "not recorded before the end: it is seen anew by the next polls",
                  changes=len(self._changes), others=len(self._writes) or None)  # fmt: skip

    def _note_trouble(self, error: StoreWriteError) -> None:
        if self.trouble is None or self._complaint != str(error):
            event(logger, logging.ERROR, "store cannot be written", reason=error)
        self._complaint = str(error)
        if self.trouble is None:
            since = self._clock.steady()
            self.trouble = Incident(IncidentKind.STORE, self._store.path.name, since=since, detail=str(error))

    def _write_next(self) -> None:
        now = self._clock.steady()
        if self._changes:
            deliveries: Iterable[Delivery] = self._store.record(self._changes, now)
            if any(change.files for change in self._changes):
                self._fetch()  # before anything is told
            self._changes = []
        else:
            deliveries = self._writes[0](now)
            del self._writes[0]
        self._lanes.wake({delivery.address for delivery in deliveries})

    def are_polls_due(self) -> bool:
        """Whether it is time for `write_polls`: not while what matters more cannot be written."""
        return not self._changes and not self._writes and self.patience() == 0.0

    def write_polls(
        self,
        states: Mapping[Key, State],
        seconds_to: Callable[[Key], float | None],
        accounts: Iterable[AccountRow] = (),
    ) -> None:
        """Write when the watches were polled, how their polls fail, when they are due next; how busy accounts are."""
        self._next_polls = time.monotonic() + POLLS_EVERY
        self._next_write = time.monotonic() + WRITES_AT_LEAST_EVERY
        wall = self._clock.wall()
        rows = []
        for key, last_polled in self._polls.items():
            seconds = seconds_to(key)
            if key in states:
                rows.append(Polled(key, states[key], last_polled, None if seconds is None else wall + seconds))
        try:
            self._store.touch(rows, accounts)
        except StoreWriteError as error:
            self._note_trouble(error)
            self._next_write = self._next_polls
            return
        self._polls.clear()
        if not self._changes and not self._writes:
            self.trouble = None
