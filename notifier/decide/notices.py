"""Notices: their ids, which event lists let them through, and those of incidents."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Set as AbstractSet

from notifier.model import ALL_EVENTS, Event, Incident, IncidentKind, Notice

INCIDENT_NAMES = {
    IncidentKind.API: "account",
    IncidentKind.CHANNEL: "channel",
    IncidentKind.CONFIG: "configuration",
    IncidentKind.STORE: "store",
}


def notice_id(*parts: object) -> str:
    """Ten characters of base32 that the same parts always give.

    A change that was decided but not recorded before a crash gets the same id when it is decided again. Fifty bits:
    among 100,000 kept notices two share an id with a probability of 1 in 200,000.
    """
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return base64.b32encode(digest).decode("ascii").lower()[:10]


def passes(events: AbstractSet[str], notice: Notice) -> bool:
    """Whether an event list lets a notice through. Incidents and tests pass every list."""
    return not notice.names or ALL_EVENTS in events or not notice.names.isdisjoint(events)


def incident_notice(incident: Incident, wall: float) -> Notice:
    """The notice that tells operators of an incident's beginning."""
    return Notice(
        notice=notice_id("incident", incident.kind, incident.subject, incident.since),
        event=Event.INCIDENT,
        time=wall,
        name=f"{INCIDENT_NAMES[incident.kind]} {incident.subject}",
        detail=incident.detail,
        count=incident.count or None,
        why=f"incident began: {incident.detail}",
    )


def incident_over_notice(incident: Incident, now: float, wall: float) -> Notice:
    """The notice that tells operators of an incident's end, with how long it took."""
    return Notice(
        notice=notice_id("incident over", incident.kind, incident.subject, incident.since),
        event=Event.INCIDENT_OVER,
        time=wall,
        name=f"{INCIDENT_NAMES[incident.kind]} {incident.subject}",
        detail=incident.detail,
        since=max(0.0, now - incident.since),
        count=incident.count or None,
        why="incident ended",
    )
