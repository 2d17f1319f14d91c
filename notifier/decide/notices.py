"""Notices: their ids, which event lists let them through, and those of incidents."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from notifier.model import ALL_EVENTS, Delivery, Event, Incident, IncidentKind, Notice

INCIDENT_NAMES = {
    IncidentKind.API: "account",
    IncidentKind.CHANNEL: "channel",
    IncidentKind.CONFIG: "configuration",
    IncidentKind.STORE: "store",
    IncidentKind.NETWORK: "network of",
    IncidentKind.OUTPUTS: "outputs in",
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
        name=_name(incident.kind, incident.subject),
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
        name=_name(incident.kind, incident.subject),
        detail=incident.detail,
        since=max(0.0, now - incident.since),
        count=incident.count or None,
        why="incident ended",
    )


def given_up_notice(subject: str, deliveries: Sequence[Delivery], reason: str, wall: float) -> Notice:
    """The notice that tells, instead of them, of deliveries that a channel never took. No incident: it has no end."""
    ids = " ".join(str(delivery.id) for delivery in deliveries)
    first = deliveries[0].notice
    who = "an incident"
    if first.key is not None:
        named = first.name and first.name != first.key.id
        who = f"{first.name} ({first.key.id})" if named else first.key.id
    told = " → ".join(filter(None, (first.before, first.status))) if first.event is Event.STATUS else first.event.value
    if len(deliveries) == 1:
        what, it, again = f"The notice {first.notice} about {who}, {told}, was given up", "it", f"notifier resend {ids}"
    else:
        what, it = f"{len(deliveries)} notices, the first of them about {who}, {told}, were given up", "them"
        again = f"notifier resend {ids}" if len(deliveries) <= 5 else "notifier resend --all"
    return Notice(
        notice=notice_id("given up", subject, ids, wall),
        event=Event.GIVEN_UP,
        time=wall,
        name=_name(IncidentKind.CHANNEL, subject),
        detail=f"{what}: {reason}. To have {it} sent after all: {again}",
        why=f"given up: {reason}",
    )


def _name(kind: IncidentKind, subject: str) -> str:
    """`channel mail (o…l@example.com)`: the subject without the digits that tell recipients apart."""
    who = re.sub(r" (.+)~[0-9a-f]{8}$", r" (\1)", subject)
    return f"{INCIDENT_NAMES[kind]} {who}"
