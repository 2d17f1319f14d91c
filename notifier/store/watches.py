"""What is known of each watch: read, written and aged, each within a transaction that the caller holds."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from notifier.logs import event
from notifier.model import Key, State
from notifier.store import rows, sqlite
from notifier.store.tables import watches

logger = logging.getLogger(__name__)

AT_ONCE = 500
"""How many values one IN list gets: old SQLites take no more than 999."""

_UPSERT = sqlite.upsert(watches, rows.STATE_COLUMNS)
_KNOWN = select(watches.c.api, watches.c.id, *(watches.c[name] for name in rows.STATE_COLUMNS))
_KEY = ("which_api", "which_id")
_THIS_ONE = (watches.c.api == bindparam("which_api")) & (watches.c.id == bindparam("which_id"))
_TOUCH = update(watches).where(_THIS_ONE).values({name: bindparam(name) for name in rows.POLL_COLUMNS})
_SET_REMOVED = update(watches).where(_THIS_ONE).values(removed_at=bindparam("removed_at"))


def save(connection: Connection, states: Iterable[tuple[Key, State]]) -> None:
    """Write what is known; of a watch given twice, the last counts."""
    # In the order of the primary key, so that each page is visited once.
    ordered = sorted(states, key=itemgetter(0))
    sqlite.execute_many(
        connection, _UPSERT, rows.WATCH_PARAMETERS, (rows.watch_values(key, state) for key, state in ordered)
    )


def touch(connection: Connection, polled: Iterable[rows.Polled]) -> None:
    """Write when each was polled and how its polls fail. What is not known yet stays unknown."""
    ordered = sorted(polled, key=attrgetter("key"))
    sqlite.execute_many(connection, _TOUCH, (*rows.POLL_COLUMNS, *_KEY), map(rows.poll_values, ordered))


def load(connection: Connection, now: float, keys: Collection[Key] | None) -> dict[Key, State]:
    """What is known of `keys`, or of all that stand in the list. A damaged row is left out, and logged."""
    if keys is None:
        found = connection.execute(_KNOWN.where(watches.c.removed_at.is_(None)))
        return dict(_states(found, now))
    known: dict[Key, State] = {}
    for api, ids in by_api(keys):
        found = connection.execute(_KNOWN.where(watches.c.api == api, watches.c.id.in_(ids)))
        known.update(_states(found, now))
    return known


def _states(found: Iterable[Sequence[Any]], now: float) -> Iterator[tuple[Key, State]]:
    for row in found:
        key = rows.key_of(row)
        try:
            yield key, rows.state_of(row, now)
        except (ValueError, TypeError) as error:
            _left_out(key, error)


def _left_out(key: Key, error: Exception) -> None:
    event(logger, logging.WARNING, "damaged in the store, left out", api=key.api, id=key.id, reason=error)


def keep_listed(connection: Connection, keys: Collection[Key], now: float) -> list[Key]:
    """Mark the known watches that are not in `keys` as removed, and those in it as listed. Returns who came back."""
    query = select(watches.c.api, watches.c.id).where(watches.c.removed_at.is_(None))
    listed = {rows.key_of(row) for row in connection.execute(query)}
    wanted = keys if isinstance(keys, (set, frozenset, dict)) else set(keys)
    _set_removed(connection, [key for key in listed if key not in wanted], now)
    return bring_back(connection, [key for key in wanted if key not in listed])


def remove(connection: Connection, keys: Collection[Key], now: float) -> None:
    """Mark watches as removed from the list."""
    _set_removed(connection, keys, now)


def bring_back(connection: Connection, keys: Collection[Key]) -> list[Key]:
    """Mark those of the keys that had been removed as listed again. Returns which."""
    back: list[Key] = []
    for api, ids in by_api(keys):
        query = select(watches.c.api, watches.c.id).where(
            watches.c.api == api, watches.c.id.in_(ids), watches.c.removed_at.is_not(None)
        )
        back += [rows.key_of(row) for row in connection.execute(query)]
    _set_removed(connection, back, None)
    return back


def _set_removed(connection: Connection, keys: Collection[Key], moment: float | None) -> None:
    sqlite.execute_many(connection, _SET_REMOVED, ("removed_at", *_KEY), ((moment, *key) for key in sorted(keys)))


def by_api(keys: Collection[Key]) -> Iterator[tuple[str, Sequence[str]]]:
    """The ids of each account, in portions for one IN list each."""
    ids: dict[str, list[str]] = {}
    for key in keys:
        ids.setdefault(key.api, []).append(key.id)
    for api, all_ids in ids.items():
        for start in range(0, len(all_ids), AT_ONCE):
            yield api, all_ids[start : start + AT_ONCE]


def overview(connection: Connection) -> list[rows.WatchRow]:
    """Every known watch, by account and id."""
    found = connection.execute(
        _KNOWN.add_columns(watches.c.last_polled, watches.c.next_poll, watches.c.removed_at).order_by(
            watches.c.api, watches.c.id
        )
    )
    overview: list[rows.WatchRow] = []
    for *known, last_polled, next_poll, removed_at in found:
        key = rows.key_of(known)
        try:
            state = rows.state_of(known, float("inf"))
        except (ValueError, TypeError) as error:
            _left_out(key, error)
            continue
        overview.append(rows.WatchRow(key, state, last_polled, next_poll, removed_at))
    return overview
