"""What a lane needs of the stages around it: where deliveries come from, how they are written, who hears of trouble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from notifier.model import Address, Delivery, File, Message, Notice

Outcome = Literal["sent", "failed", "given_up"]
"""What came of an attempt at a delivery, or of the delivery."""


class Outbox(Protocol):
    """What a lane asks of the store. Any of these may raise StoreError, and then has done nothing."""

    def waiting(self, address: Address, *, limit: int, now: float) -> list[Delivery]:
        """The oldest deliveries that wait for this address, in order."""

    def waiting_addresses(self) -> Mapping[Address, int]:
        """Who has deliveries waiting, and how many."""

    def mark_sent(self, ids: Sequence[int], wall: float) -> None:
        """The channel took them, and works."""

    def mark_failed(self, ids: Sequence[int], *, due_at: float, reason: str) -> None:
        """One more attempt failed; the next is due then."""

    def mark_given_up(self, ids: Sequence[int], *, wall: float, reason: str, attempted: bool) -> None:
        """No attempt will follow; `attempted` counts one more, the last."""

    def make_due(self, address: Address, now: float) -> None:
        """Whatever waits for the address is due now."""

    def note_failing(self, address: Address, since: float | None) -> None:
        """Since when the address takes nothing, for `status` and for the next start."""


class Words(Protocol):
    """What a lane asks of the message stage."""

    def write(
        self, notices: Sequence[Notice], *, title: str | None, body: str | None, limit: int, now: float
    ) -> Message:
        """The notices of one prediction as one message."""

    def join(
        self, notices: Sequence[Notice], *, title: str | None, body: str | None, limit: int, now: float
    ) -> tuple[Message, int]:
        """As many notices of one prediction as fit, and how many that are."""

    def digest(self, notices: Sequence[Notice], *, limit: int, now: float) -> tuple[Message, int]:
        """As many notices as fit, and how many that are."""

    def plain(self, notice: Notice) -> Message:
        """The short form that nothing should object to."""


class Files(Protocol):
    """What a lane asks of whoever keeps the files of outputs."""

    def read(self, file: File, *, max_size: int) -> bytes | None:
        """What a saved file holds; None where it is not there, or is larger. May raise PlaceError."""


class NoFiles:
    """Where none are kept."""

    def read(self, file: File, *, max_size: int) -> bytes | None:  # noqa: ARG002 - as in Files
        """Nothing."""
        return None


class Incidents(Protocol):
    """Where a lane reports what comes of deliveries, and that its channel is in trouble, or works again."""

    def delivered(self, channel: str, outcome: Outcome, count: int) -> None:
        """So many deliveries were sent or given up, or an attempt at them has failed; to be counted."""

    def channel_fails(self, address: Address, since: float, reason: str, held: int) -> None:
        """The channel has failed for its `incident_after`, or its address is gone; called once per spell, and once more
        where it turns out later that the address is gone.
        """

    def gave_up(self, address: Address, deliveries: Sequence[Delivery], reason: str, *, works: bool) -> None:
        """These deliveries will not be tried any more. Of a channel that does not work, only the first are reported."""

    def gave_up_meanwhile(self, address: Address, deliveries: Sequence[Delivery], reason: str, *, told: int) -> None:
        """The channel works again; these, all of them, were given up while it did not. The first `told` of them were
        reported by `gave_up`.
        """

    def channel_works(self, address: Address) -> None:
        """The first success after `channel_fails`."""
