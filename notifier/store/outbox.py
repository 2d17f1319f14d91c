"""Notices and their deliveries: written with what they tell of, marked, put back, listed, and in the end forgotten.

Each function works within a transaction that the caller holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from notifier.model import Address, Delivery, DeliveryState, Event, Key
from notifier.store import rows, sqlite
from notifier.store.tables import channels, deliveries, notices

AT_ONCE = 500
"""How many values one IN list gets: old SQLites take no more than 999."""

_WAITING = deliveries.c.state == DeliveryState.WAITING.value
_GIVEN_UP = deliveries.c.state == DeliveryState.GIVEN_UP.value

_OLDEST_WAITING = (
    select(
        deliveries.c.id.label("delivery"),
        *(deliveries.c[name] for name in ("channel", "recipient", "attempts", "created_at", "due_at", "last_error")),
        *(notices.c[name] for name in rows.NOTICE_COLUMNS),
    )
    .join_from(deliveries, notices)
    .where(_WAITING, deliveries.c.channel == bindparam("channel"), deliveries.c.recipient == bindparam("recipient"))
    .order_by(deliveries.c.id)
    .limit(bindparam("limit"))
)

_ADD_NOTICE = insert(notices)
_ADD_DELIVERY = insert(deliveries)

_THIS_ONE = deliveries.c.id == bindparam("which")
_SENT = (
    update(deliveries)
    .where(_THIS_ONE)
    .values(state=DeliveryState.SENT.value, attempts=deliveries.c.attempts + 1, ended_at=bindparam("moment"))
)
_FAILED = (
    update(deliveries)
    .where(_THIS_ONE)
    .values(attempts=deliveries.c.attempts + 1, due_at=bindparam("moment"), last_error=bindparam("reason"))
)
_GIVE_UP = (
    update(deliveries)
    .where(_THIS_ONE)
    .values(
        state=DeliveryState.GIVEN_UP.value,
        attempts=deliveries.c.attempts + bindparam("tried"),
        ended_at=bindparam("moment"),
        last_error=bindparam("reason"),
    )
)
_PUT_BACK = (
    update(deliveries)
    .where(_THIS_ONE)
    .values(
        state=DeliveryState.WAITING.value,
        attempts=0,
        created_at=bindparam("moment"),
        due_at=bindparam("moment"),
        ended_at=None,
    )
)
_NOTE_SENT = sqlite.upsert(channels, ["last_sent", "failing_since"])
_NOTE_FAILING = sqlite.upsert(channels, ["failing_since"])


# --- writing ---------------------------------------------------------------------------------------------------------


def add(
    connection: Connection, owed: Iterable[rows.Owed], now: float, held: Iterable[Mapping[str, float]] = repeat({})
) -> list[Delivery]:
    """Write notices and one delivery for each of their addresses, due now or when `held` says, which has for each
    notice the channels that are to wait. Returns the deliveries in that order.

    The numbers are counted here, under the write lock, so that all rows go to the database in two statements.
    """
    number = connection.scalar(select(func.max(notices.c.number))) or 0
    delivery_id = connection.scalar(select(func.max(deliveries.c.id))) or 0
    notice_rows: list[tuple[Any, ...]] = []
    delivery_rows: list[tuple[Any, ...]] = []
    added: list[Delivery] = []
    for (notice, addresses), until in zip(owed, held, strict=False):
        number += 1
        notice_rows.append(rows.notice_values(number, notice))
        for address in addresses:
            delivery_id += 1
            due_at = until.get(address.channel, now)
            added.append(Delivery(delivery_id, notice, address, attempts=0, created_at=now, due_at=due_at))
            delivery_rows.append(rows.delivery_values(number, added[-1]))
    sqlite.execute_many(connection, _ADD_NOTICE, rows.NOTICE_PARAMETERS, notice_rows)
    sqlite.execute_many(connection, _ADD_DELIVERY, rows.DELIVERY_PARAMETERS, delivery_rows)
    return added


def mark_sent(connection: Connection, ids: Sequence[int], moment: float) -> None:
    """One message told these deliveries of one address; which therefore works."""
    connection.execute(_SENT, [{"which": one, "moment": moment} for one in ids])
    query = select(deliveries.c.channel, deliveries.c.recipient).where(deliveries.c.id == ids[0])
    if address := connection.execute(query).first():
        connection.execute(
            _NOTE_SENT,
            {"channel": address[0], "recipient": address[1], "last_sent": moment, "failing_since": None},
        )


def mark_failed(connection: Connection, ids: Sequence[int], due_at: float, reason: str) -> None:
    """One attempt at these deliveries failed."""
    values = {"moment": due_at, "reason": rows.storable(reason)}
    connection.execute(_FAILED, [{"which": one, **values} for one in ids])


def mark_given_up(connection: Connection, ids: Iterable[int], moment: float, reason: str, *, attempted: bool) -> None:
    """These deliveries are not tried any more."""
    values = {"moment": moment, "reason": rows.storable(reason), "tried": int(attempted)}
    connection.execute(_GIVE_UP, [{"which": one, **values} for one in ids])


def make_due(connection: Connection, address: Address, now: float) -> None:
    """What waits for this address need not wait any longer."""
    connection.execute(update(deliveries).where(_for(address), deliveries.c.due_at > now).values(due_at=now))


def readdress(
    connection: Connection, old: Address, addresses: Sequence[Address], moment: float, now: float
) -> tuple[int, int]:
    """Let what waits for a recipient that is gone wait for those of the channel that are not owed it yet; give up what
    all of them have. Returns how many were passed on and how many given up.
    """
    connection.execute(delete(channels).where(channels.c.channel == old.channel, channels.c.recipient == old.recipient))
    query = select(deliveries.c.id, deliveries.c.notice_number).where(_for(old)).order_by(deliveries.c.id)
    passed_on, given_up = 0, []
    for one, number in connection.execute(query).all():
        owed = select(deliveries.c.recipient).where(
            deliveries.c.notice_number == number, deliveries.c.channel == old.channel
        )
        have = set(connection.scalars(owed))
        left = [address.recipient for address in addresses if address.recipient not in have]
        if not left:
            given_up.append(one)
            continue
        passed_on += 1
        anew = {"attempts": 0, "created_at": now, "due_at": now, "last_error": None}
        connection.execute(update(deliveries).where(deliveries.c.id == one).values(recipient=left[0], **anew))
        for recipient in left[1:]:
            row = {"notice_number": number, "channel": old.channel, "recipient": recipient, "state": "waiting", **anew}
            connection.execute(insert(deliveries).values(row))
    if given_up:
        mark_given_up(connection, given_up, moment, RECIPIENT_GONE, attempted=False)
    return passed_on, len(given_up)


def put_back(connection: Connection, ids: Collection[int] | None, now: float) -> rows.Resent:
    """Let given-up deliveries wait again, as if they were new; all of them without `ids`."""
    if ids is None:
        found = list(connection.scalars(select(deliveries.c.id).where(_GIVEN_UP).order_by(deliveries.c.id)))
        resent = rows.Resent(tuple(found))
    else:
        wanted = sorted(set(ids))
        states: dict[int, str] = {}
        for start in range(0, len(wanted), AT_ONCE):
            query = select(deliveries.c.id, deliveries.c.state).where(
                deliveries.c.id.in_(wanted[start : start + AT_ONCE])
            )
            states.update((delivery, state) for delivery, state in connection.execute(query))
        resent = rows.Resent(
            put_back=tuple(one for one in wanted if states.get(one) == DeliveryState.GIVEN_UP),
            unknown=tuple(one for one in wanted if one not in states),
            not_given_up=tuple(one for one in wanted if states.get(one, "given_up") != DeliveryState.GIVEN_UP),
        )
    if resent.put_back:
        connection.execute(_PUT_BACK, [{"which": one, "moment": now} for one in resent.put_back])
    return resent


RECIPIENT_GONE = "its recipient is no longer on the channel, and the others have it"


def note_failing(connection: Connection, address: Address, since: float | None) -> None:
    """Since when the address takes nothing; None when it works."""
    connection.execute(
        _NOTE_FAILING, {"channel": address.channel, "recipient": address.recipient, "failing_since": since}
    )


def _for(address: Address) -> Any:
    return _WAITING & (deliveries.c.channel == address.channel) & (deliveries.c.recipient == address.recipient)


# --- reading ---------------------------------------------------------------------------------------------------------


def waiting(connection: Connection, address: Address, limit: int) -> tuple[list[Delivery], dict[int, str]]:
    """The oldest deliveries that wait for an address, and of those rows that cannot be read, why."""
    readable: list[Delivery] = []
    broken: dict[int, str] = {}
    for row in connection.execute(_OLDEST_WAITING, {**address._asdict(), "limit": limit}):
        try:
            readable.append(rows.delivery_of(row._asdict()))
        except (ValueError, TypeError) as error:
            broken[row.delivery] = f"the notice's row in the store is damaged: {error}"
    return readable, broken


def waiting_addresses(connection: Connection) -> dict[Address, int]:
    """For whom anything waits, and how many."""
    query = (
        select(deliveries.c.channel, deliveries.c.recipient, func.count())
        .where(_WAITING)
        .group_by(deliveries.c.channel, deliveries.c.recipient)
    )
    return {Address(channel, recipient): count for channel, recipient, count in connection.execute(query)}


def addresses_told(connection: Connection, key: Key, events: Collection[Event], since: float) -> list[Address]:
    """Who was to hear of one of the events of a prediction from `since` on, whatever event the notice is called by."""
    query = (
        select(deliveries.c.channel, deliveries.c.recipient, notices.c.event, notices.c.facts)
        .join_from(deliveries, notices)
        .where(notices.c.api == key.api, notices.c.id == key.id, deliveries.c.created_at >= since)
        .order_by(deliveries.c.channel, deliveries.c.recipient)
    )
    told = (
        Address(channel, recipient)
        for channel, recipient, event, facts in connection.execute(query)
        if event in events or not rows.names_in(facts).isdisjoint(events)
    )
    return list(dict.fromkeys(told))


def health(connection: Connection) -> dict[Address, rows.Health]:
    """How each address fares that ever took or refused a message."""
    query = select(channels.c.channel, channels.c.recipient, channels.c.last_sent, channels.c.failing_since)
    return {
        Address(channel, recipient): rows.Health(last_sent, failing_since)
        for channel, recipient, last_sent, failing_since in connection.execute(query)
    }


def channels_overview(connection: Connection) -> list[rows.ChannelRow]:
    """Every channel that has deliveries waiting or given up, or ever took or refused a message, by name."""
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    query = (
        select(deliveries.c.channel, deliveries.c.state, func.count())
        .where(deliveries.c.state.in_([DeliveryState.WAITING.value, DeliveryState.GIVEN_UP.value]))
        .group_by(deliveries.c.state, deliveries.c.channel)
    )
    for channel, state, count in connection.execute(query):
        counts[channel][state] = count
    failed = select(func.min(deliveries.c.id)).where(_WAITING, deliveries.c.last_error.is_not(None))
    oldest = deliveries.c.id.in_(failed.group_by(deliveries.c.channel))
    reasons = select(deliveries.c.channel, deliveries.c.last_error).where(oldest)
    errors = {row.channel: row.last_error for row in connection.execute(reasons)}
    fares: dict[str, rows.Health] = {}
    last = func.max(channels.c.last_sent)
    first = func.min(channels.c.failing_since)
    for channel, last_sent, failing_since in connection.execute(
        select(channels.c.channel, last, first).group_by(channels.c.channel)
    ):
        fares[channel] = rows.Health(last_sent, failing_since)
    return [
        rows.ChannelRow(
            name=name,
            waiting=counts[name].get(DeliveryState.WAITING, 0),
            given_up=counts[name].get(DeliveryState.GIVEN_UP, 0),
            last_sent=fares.get(name, rows.Health()).last_sent,
            failing_since=fares.get(name, rows.Health()).failing_since,
            last_error=errors.get(name),
        )
        for name in sorted(counts.keys() | fares.keys())
    ]


def history(connection: Connection, prediction_id: str | None, limit: int | None) -> list[rows.HistoryRow]:
    """The newest notices (all without a limit), of one prediction or of all, oldest first."""
    newest = select(notices).order_by(notices.c.number.desc()).limit(limit)
    if prediction_id is not None:
        newest = newest.where(notices.c.id == prediction_id)
    told: dict[int, list[rows.DeliveryRow]] = defaultdict(list)
    mine = select(deliveries).where(deliveries.c.notice_number.in_(select(newest.subquery().c.number)))
    for row in connection.execute(mine.order_by(deliveries.c.id)):
        told[row.notice_number].append(
            rows.DeliveryRow(
                id=row.id,
                address=Address(row.channel, row.recipient),
                state=DeliveryState(row.state),
                attempts=row.attempts,
                last_error=row.last_error,
            )
        )
    return [
        rows.HistoryRow(
            notice=row.notice,
            event=row.event,
            time=row.time,
            key=None if row.id is None else Key(row.api, row.id),
            name=row.name,
            before=row.before,
            status=row.status,
            error=row.error,
            why=row.why,
            detail=rows.detail_in(row.facts),
            deliveries=tuple(told[row.number]),
        )
        for row in reversed(connection.execute(newest).all())
    ]
