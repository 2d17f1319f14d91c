"""What lanes report: counted here, and told to whom it concerns by the keeper."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from notifier.deliver import Outcome
from notifier.model import Address, Clock, Delivery, Incident, IncidentKind
from notifier.service.audience import subject_of
from notifier.service.keeper import Keeper


class Reports:
    """Takes the reports of all lanes, each in its own thread: see `deliver.Incidents`."""

    keeper: Keeper
    """To be set before the first lane is started; it needs the lanes itself."""

    def __init__(self, clock: Clock, count: Callable[[str, Outcome, int], None]) -> None:
        """`count` gets the channel, and what came of how many deliveries."""
        self._clock = clock
        self.delivered = count

    def channel_fails(self, address: Address, since: float, reason: str, held: int) -> None:
        """A channel has failed for its `incident_after`, or its address is gone: the others hear of it."""
        incident = Incident(IncidentKind.CHANNEL, subject_of(address), since=since, detail=reason, count=held)
        self.keeper.post(lambda: self.keeper.begin_incident(incident))

    def gave_up(self, address: Address, deliveries: Sequence[Delivery], reason: str, *, works: bool) -> None:
        """What will not be tried any more is told to somebody."""
        self.keeper.post(lambda: self.keeper.tell_given_up(address, deliveries, reason, works=works))

    def gave_up_meanwhile(self, address: Address, deliveries: Sequence[Delivery], reason: str, *, told: int) -> None:
        """At the latest when the channel works again."""
        self.keeper.post(lambda: self.keeper.tell_given_up_meanwhile(address, deliveries, reason, told=told))

    def channel_works(self, address: Address) -> None:
        """It works again."""
        self.keeper.post(lambda: self.keeper.end_incident(IncidentKind.CHANNEL, subject_of(address)))
