"""What the saver needs of the stages around it: where files are noted, who fetches them, who hears what came of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import requests

from notifier.model import Address, Delivery, File, Key, Notice, Secret
from notifier.transport import Answer, Guard, Limits, Sink

Owed = tuple[Notice, tuple[Address, ...]]
"""A notice and everyone who is to hear of it."""

TokenFor = Callable[[Key, str], Secret | None]
"""The token to fetch a file with: that of the prediction's account if the URL is of the very origin of its API."""


class Shelf(Protocol):
    """What the saver asks of the store. Any of these may raise StoreError, and then has done nothing. Times are
    steady.
    """

    def due_files(self, now: float, limit: int, besides: Collection[str] = ()) -> list[File]:
        """Those that are to be fetched now, the one that has waited longest first, without their URLs; none of these
        hosts (in lower case; `data:` is those that are here already).
        """

    def next_file_at(self, now: float) -> float | None:
        """When the next one will be due that is not yet."""

    def waiting_file(self, file: File) -> File | None:
        """All of a file; None if it is not to be fetched any more."""

    def note_file_begun(self, file: File) -> None:
        """The file is on its way, with its validator and content type."""

    def mark_file_failed(self, file: File, *, due_at: float, reason: str, counts: bool) -> None:
        """An attempt failed; the next is due then. `counts` is whether it was one at the file itself."""

    def end_file(
        self, file: File, tell: Callable[[Sequence[File]], Sequence[Owed]], now: float
    ) -> tuple[list[Delivery], list[Address]]:
        """Note that a file is over, with what `tell` says is owed for it. Returns the new deliveries, and for whom
        something is due that was held back for the file.
        """

    def old_files(self, before: float, limit: int, offset: int) -> list[File]:
        """Some of those that were saved before that time, oldest first, after the first `offset`."""


class Downloads(Protocol):
    """What the saver asks of the transport."""

    def fetch(self, request: requests.PreparedRequest, *, sink: Sink, guard: Guard, limits: Limits) -> Answer:
        """Give a file to the sink, and wait for what comes of it."""

    def close(self) -> None:
        """Abandon what is under way: `fetch` returns at once, and calls no sink any more."""


class Reports(Protocol):
    """Where the saver reports what comes of files. Called from its own threads."""

    def begun(self, file: File) -> None:
        """The file is on its way, and can be gone on with another time: to be noted, whenever that is convenient."""

    def owed(self, files: Sequence[File]) -> Sequence[Owed]:
        """What is to be told now that one of a prediction's files is over; called within the store's transaction."""

    def over(self, file: File, deliveries: Sequence[Delivery], released: Sequence[Address]) -> None:
        """The file is over, and that was recorded: with new deliveries, and with some that need not wait any longer."""

    def place_fails(self, since: float, reason: str) -> None:
        """Files cannot be kept (since then, steady), for want of room or otherwise; or the reason has changed."""

    def place_works(self) -> None:
        """They can again."""
