"""Who hears of what, as the configuration says. Opens nothing and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from notifier.decide import passes
from notifier.model import Address, Config, Incident, IncidentKind, Notice, Watch


class Audience:
    """Everyone that can be told something: the addresses of the configured channels."""

    def __init__(self, config: Config, addresses: Mapping[str, tuple[Address, ...]]) -> None:
        self._config, self._addresses = config, addresses

    def of_notice(self, watch: Watch, notice: Notice, also: Iterable[Address] = ()) -> tuple[Address, ...]:
        """Both event lists must let it through; `also` hear of it if they can still be told anything."""
        names = (
            name
            for name in watch.rules.channels
            if passes(watch.rules.events, notice) and passes(self._config.channels[name].events, notice)
        )
        reachable = frozenset(self._of(self._addresses))
        return tuple(dict.fromkeys((*self._of(names), *(address for address in also if address in reachable))))

    def of_incident(self, incident: Incident) -> tuple[Address, ...]:
        """The operators. A channel in trouble does not hear of its own trouble: the others do, be they operators or,
        where it was the only one, not.
        """
        return self._besides(_channel_of(incident.subject) if incident.kind is IncidentKind.CHANNEL else None)

    def operators(self) -> tuple[Address, ...]:
        """Who hears of what concerns nobody else."""
        return self._besides(None)

    def of_given_up(self, channel: str, *, works: bool) -> tuple[Address, ...]:
        """Who hears that a channel never took a notice: whoever hears of its trouble; where there is nobody else, the
        channel itself if it works.
        """
        return self._besides(channel) or (self._of([channel]) if works else ())

    def knows(self, kind: IncidentKind, subject: str) -> bool:
        """Whether what an incident is about is still configured."""
        if kind is IncidentKind.API:
            return subject in self._config.apis
        if kind is IncidentKind.CHANNEL:
            return any(subject_of(address) == subject for address in self._of(self._addresses))
        if kind is IncidentKind.OUTPUTS:
            return self._config.outputs is not None and self._config.outputs.directory == subject
        return True

    def _besides(self, failing: str | None) -> tuple[Address, ...]:
        operators = self._of(name for name in self._config.operators if name != failing)
        return operators or self._of(name for name in self._config.channels if name != failing)

    def _of(self, channels: Iterable[str]) -> tuple[Address, ...]:
        return tuple(address for name in channels for address in self._addresses.get(name, ()))


def subject_of(address: Address) -> str:
    """What an incident of a channel is about, one of its addresses: `team`, or `mail o…l@example.com~5f3c9a01`."""
    return f"{address.channel} {address.recipient}".rstrip()


def _channel_of(subject: str) -> str:
    """The channel in a `subject_of`."""
    return subject.split(" ", 1)[0]
