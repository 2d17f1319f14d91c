"""Open incidents, and what time does to a store: clocks that were set back, and rows that are past their time.

Each function works within a transaction that the caller holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from sqlalchemy import Connection, Table, delete, exists, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from notifier.model import FileState, Incident, IncidentKind
from notifier.store import sqlite
from notifier.store.rows import AccountRow
from notifier.store.tables import accounts, channels, deliveries, files, incidents, notices, watches

KEPT_FOR = 90 * 86400.0
"""Seconds that a delivery is kept after its end, and what is known of a watch after its removal."""

LONGEST_WAIT = 3600.0
"""Seconds that a delivery may have to wait after a start."""

_AT_ONCE = 5000
"""How many rows one transaction deletes, so that nobody waits long for the write lock."""

_NOTE_ACCOUNT = sqlite.upsert(accounts, ["asked", "allowed", "latency"])
_OPEN = sqlite.upsert(incidents, ["since", "detail", "count"])


def open_incident(connection: Connection, incident: Incident) -> None:
    """Note an incident, or the news of one that is open."""
    connection.execute(
        _OPEN,
        {
            "kind": incident.kind.value,
            "subject": incident.subject,
            "since": incident.since,
            "detail": incident.detail,
            "count": incident.count,
        },
    )


def close_incident(connection: Connection, kind: IncidentKind, subject: str) -> None:
    """Forget an incident."""
    connection.execute(delete(incidents).where(incidents.c.kind == kind.value, incidents.c.subject == subject))


def open_incidents(connection: Connection) -> list[Incident]:
    """Those that are open, oldest first."""
    query = select(incidents).order_by(incidents.c.since, incidents.c.kind, incidents.c.subject)
    return [
        Incident(IncidentKind(kind), subject, since, detail, count)
        for kind, subject, since, detail, count in connection.execute(query)
    ]


def note_accounts(connection: Connection, noted: Iterable[AccountRow]) -> None:
    """Write how busy these accounts are."""
    for row in noted:
        connection.execute(_NOTE_ACCOUNT, asdict(row))


def accounts_overview(connection: Connection) -> list[AccountRow]:
    """How busy each account was when that was last written, by name."""
    columns = (accounts.c.name, accounts.c.asked, accounts.c.allowed, accounts.c.latency)
    return [AccountRow(*row) for row in connection.execute(select(*columns).order_by(accounts.c.name))]


def pull_back(connection: Connection, now: float) -> None:
    """Undo what a clock set back while no daemon ran has done to the stored times: nothing began in the future, and
    no delivery has to wait for long.
    """
    for column, latest in (
        (deliveries.c.created_at, now),
        (deliveries.c.due_at, now + LONGEST_WAIT),
        (channels.c.failing_since, now),
        (incidents.c.since, now),
        (files.c.created_at, now),
        (files.c.due_at, now + LONGEST_WAIT),
    ):
        mine: list[ColumnElement[bool]] = [column > latest]
        if column.table in (deliveries, files):
            mine.append(column.table.c.state == "waiting")
        connection.execute(update(column.table).where(*mine).values({column.name: latest}))


def prune_deliveries(connection: Connection, now: float) -> int:
    """Delete some deliveries that ended long ago; returns how many, 0 when none is left.

    The newest row stays in any case: ids go on from it, and none may be used twice.
    """
    newest = select(func.max(deliveries.c.id)).scalar_subquery()
    return _delete_some(
        connection, deliveries, deliveries.c.id, (deliveries.c.ended_at < now - KEPT_FOR) & (deliveries.c.id < newest)
    )


def prune_notices(connection: Connection, now: float) -> int:
    """Delete some old notices that have no delivery left; returns how many."""
    told = exists().where(deliveries.c.notice_number == notices.c.number)
    return _delete_some(connection, notices, notices.c.number, (notices.c.time < now - KEPT_FOR) & ~told)


def prune_watches(connection: Connection, now: float) -> int:
    """Forget watches that left the list long ago; returns how many."""
    past = watches.c.removed_at < now - KEPT_FOR
    return connection.execute(delete(watches).where(past)).rowcount


def prune_files(connection: Connection, now: float) -> int:
    """Forget files that were lost or removed long ago; returns how many. Those that are kept stay known."""
    gone = files.c.state.in_([FileState.LOST.value, FileState.REMOVED.value])
    return connection.execute(delete(files).where(gone, files.c.ended_at < now - KEPT_FOR)).rowcount


def _delete_some(connection: Connection, table: Table, number: ColumnElement[int], past: ColumnElement[bool]) -> int:
    some = select(number).where(past).limit(_AT_ONCE)
    return connection.execute(delete(table).where(number.in_(some))).rowcount
