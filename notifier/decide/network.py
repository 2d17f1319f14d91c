"""Whether it is this machine that reaches nothing: then no account, watch or channel is to blame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from notifier.decide.account import AccountState
from notifier.model import Incident, IncidentKind

SUBJECT = "this machine"
SUSPECTED_FOR = 3
"""So many times its patience, at most, it waits for what the other accounts show."""


@dataclass(frozen=True, slots=True)
class NetworkDecision:
    """Whether no account is known to be reached, and what follows from it."""

    suspected: bool = False
    """Failures to reach an account speak against nobody for now."""
    began: Incident | None = None
    ask: tuple[str, ...] = ()
    """Accounts of which a watch is to be asked at once: nothing is known of them since the trouble began."""


def decide_network(
    accounts: Mapping[str, AccountState], *, patience: float, reason: str, watches: int, now: float
) -> NetworkDecision:
    """Whether nothing at all can be reached, from what is known of every account that is polled.

    Nothing having been reached for `patience` seconds, on no account, is an incident of this machine. `reason` is what
    the last poll failed with; `watches` counts all that are polled.
    """
    offline = [state.offline_since for state in accounts.values() if state.offline_since is not None]
    if not offline:
        return NetworkDecision()
    first = min(offline)
    others = {name: state for name, state in accounts.items() if state.offline_since is None}
    if any(state.reached_at > first for state in others.values()):
        return NetworkDecision()
    since = max(first, *(state.reached_at for state in accounts.values()))
    if others:
        # Who was asked and keeps silent shows nothing; then each account is told of by itself.
        return NetworkDecision(
            suspected=now - since < SUSPECTED_FOR * patience,
            ask=tuple(others) if now - since >= patience / 2 else (),
        )
    if now - since < patience:
        return NetworkDecision(suspected=True)
    incident = Incident(IncidentKind.NETWORK, SUBJECT, since=since, detail=reason, count=watches)
    return NetworkDecision(suspected=True, began=incident)
