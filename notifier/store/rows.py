"""The values that stages hand to the store and get from it, and how the model's values become rows and come back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from sys import intern
from typing import Any

from notifier.model import Address, Delivery, DeliveryState, Event, File, FileState, Key, Notice, State

Owed = tuple[Notice, tuple[Address, ...]]
"""A notice and everyone who is to hear of it; with no address it is only kept for `history`."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one watch, and the notices that are owed for it."""

    key: Key
    state: State
    notices: tuple[Owed, ...] = ()
    files: tuple[File, ...] = ()
    """Those of its output that are to be fetched."""
    held: Mapping[str, float] = field(default_factory=dict)
    """Channels whose deliveries of these notices are not due at once, but then (steady)."""


@dataclass(frozen=True, slots=True)
class Polled:
    """That a watch was polled and nothing changed that is worth a notice. The times are wall time."""

    key: Key
    state: State
    last_polled: float | None
    next_poll: float | None


@dataclass(frozen=True, slots=True)
class WatchRow:
    """What is known of a watch, for `status`. The times are wall time; `removed_at` is None while it is listed."""

    key: Key
    state: State
    last_polled: float | None
    next_poll: float | None
    removed_at: float | None


@dataclass(frozen=True, slots=True)
class Health:
    """How an address fares: when it last took a message, and since when it takes none."""

    last_sent: float | None = None
    failing_since: float | None = None


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """A channel that has deliveries or ever took one, for `status`; over all its recipients."""

    name: str
    waiting: int
    given_up: int
    last_sent: float | None
    failing_since: float | None
    last_error: str | None
    """Why what has waited longest has not been delivered."""


@dataclass(frozen=True, slots=True)
class AccountRow:
    """How busy an account was when it was last noted."""

    name: str
    asked: float
    """Polls per second that the intervals of its watches add up to."""
    allowed: float
    """Polls per second that could start."""
    latency: float | None
    """Seconds that a poll took, on average; None before the first."""


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """What became of one delivery, for `history`."""

    id: int
    address: Address
    state: DeliveryState
    attempts: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One notice and what became of it, for `history`. `key` is None for an incident."""

    notice: str
    event: str
    time: float
    key: Key | None
    name: str
    before: str | None
    status: str | None
    error: str | None
    why: str
    detail: str | None
    deliveries: tuple[DeliveryRow, ...]


@dataclass(frozen=True, slots=True)
class Resent:
    """What became of the ids given to `Store.resend`."""

    put_back: tuple[int, ...]
    unknown: tuple[int, ...] = ()
    not_given_up: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows were past their time."""

    deliveries: int
    notices: int
    watches: int
    files: int = 0


# --- State -----------------------------------------------------------------------------------------------------------

STATE_COLUMNS = tuple(field.name for field in fields(State))
WATCH_PARAMETERS = ("api", "id", *STATE_COLUMNS)

POLL_COLUMNS = ("failures", "failing_since", "failure", "not_found", "not_found_since", "last_polled", "next_poll")
"""What `Store.touch` writes: of a State, the part that a poll may change without a notice."""


def storable(text: str | None) -> str | None:
    """The text without lone surrogates: a YAML file can smuggle one in, SQLite takes none, and one row that cannot be
    written must not hold up the others.
    """
    return text if text is None or text.isascii() else text.encode("utf-8", "replace").decode()


def _packed(words: tuple[str, ...]) -> str | None:
    return json.dumps(words) if words else None


def _unpacked(text: str | None) -> tuple[str, ...]:
    """Raises ValueError for anything but a list of texts."""
    if text is None:
        return ()
    words = json.loads(text)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"not a list of texts: {text[:40]!r}")
    return tuple(words)


def watch_values(key: Key, state: State) -> tuple[Any, ...]:
    """The row of a watch: its WATCH_PARAMETERS."""
    return (
        key.api,
        key.id,
        state.watched_since,
        storable(state.status),
        state.status_since,
        state.final_at,
        storable(state.error),
        state.has_output,
        _packed(state.output),
        state.done,
        state.let_go,
        state.failures,
        state.failing_since,
        storable(state.failure),
        state.not_found,
        state.not_found_since,
        _packed(state.troubles),
        state.trouble_since,
        _packed(state.unknown),
        state.notices,
    )


def poll_values(polled: Polled) -> tuple[Any, ...]:
    """The POLL_COLUMNS of a watch, and its key."""
    state = polled.state
    return (
        state.failures,
        state.failing_since,
        storable(state.failure),
        state.not_found,
        state.not_found_since,
        polled.last_polled,
        polled.next_poll,
        *polled.key,
    )


def key_of(row: Sequence[Any]) -> Key:
    """The key in a row that starts with api and id."""
    return Key(intern(row[0]), row[1])


def state_of(row: Sequence[Any], now: float) -> State:
    """The State in a row of api, id and STATE_COLUMNS; times later than `now` become `now`.

    Raises ValueError or TypeError for a row that is damaged.
    """
    (
        _,
        _,
        watched_since,
        status,
        status_since,
        final_at,
        error,
        has_output,
        output,
        done,
        let_go,
        failures,
        failing_since,
        failure,
        not_found,
        not_found_since,
        troubles,
        trouble_since,
        unknown,
        notices,
    ) = row
    return State(
        watched_since=min(watched_since, now),
        status=None if status is None else intern(status),
        status_since=_past(status_since, now),
        final_at=_past(final_at, now),
        error=error,
        has_output=has_output,
        output=_unpacked(output),
        done=done,
        let_go=let_go,
        failures=failures,
        failing_since=_past(failing_since, now),
        failure=failure,
        not_found=not_found,
        not_found_since=_past(not_found_since, now),
        troubles=_unpacked(troubles),
        trouble_since=_past(trouble_since, now),
        unknown=_unpacked(unknown),
        notices=notices,
    )


def _past(moment: float | None, now: float) -> float | None:
    return now if moment is not None and moment > now else moment


# --- File ------------------------------------------------------------------------------------------------------------

FILE_KEY = ("api", "id", "number")
FILE_COLUMNS = ("api", "id", *(field.name for field in fields(File) if field.name != "key"))


def file_values(file: File) -> tuple[Any, ...]:
    """The row of a file: its FILE_COLUMNS."""
    values = (getattr(file, name) for name in FILE_COLUMNS[2:])
    return (*file.key, *(storable(value) if isinstance(value, str) else value for value in values))


def file_of(row: Sequence[Any]) -> File:
    """The File in a row of FILE_COLUMNS."""
    facts = dict(zip(FILE_COLUMNS[2:], row[2:], strict=True))
    return File(key_of(row), **{**facts, "state": FileState(facts["state"])})


# --- Notice ----------------------------------------------------------------------------------------------------------

NOTICE_COLUMNS = ("notice", "event", "time", "api", "id", "name", "before", "status", "error", "why", "facts")
NOTICE_PARAMETERS = ("number", *NOTICE_COLUMNS)

_FACTS: Mapping[str, Any] = {
    field.name: field.default_factory() if field.default_factory is not MISSING else field.default
    for field in fields(Notice)
    if field.name not in {*NOTICE_COLUMNS, "key", "files"}
}
"""The fields of a Notice that have no column, and what each is by default."""

_FROM_LIST: Mapping[str, Callable[[list[Any]], Any]] = {"names": frozenset}
"""What a list in the facts becomes, where that is not a tuple."""


def notice_values(number: int, notice: Notice) -> tuple[Any, ...]:
    """The row of a notice: its NOTICE_PARAMETERS."""
    facts = {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, default in _FACTS.items()
        if (value := getattr(notice, name)) != default
    }
    return (
        number,
        notice.notice,
        notice.event,
        notice.time,
        notice.key.api if notice.key else None,
        notice.key.id if notice.key else None,
        storable(notice.name),
        storable(notice.before),
        storable(notice.status),
        storable(notice.error),
        storable(notice.why),
        json.dumps(facts, separators=(",", ":")),
    )


DELIVERY_PARAMETERS = ("id", "notice_number", "channel", "recipient", "state", "attempts", "created_at", "due_at")


def delivery_values(number: int, delivery: Delivery) -> tuple[Any, ...]:
    """The row of a new delivery of the notice with this number: its DELIVERY_PARAMETERS."""
    return (
        delivery.id,
        number,
        *delivery.address,
        DeliveryState.WAITING,
        delivery.attempts,
        delivery.created_at,
        delivery.due_at,
    )


def notice_of(values: Mapping[str, Any]) -> Notice:
    """The Notice in a row's NOTICE_COLUMNS. Raises ValueError or TypeError for a row that is damaged."""
    facts = json.loads(values["facts"])
    if not isinstance(facts, dict):
        raise TypeError("the facts are not an object")
    return Notice(
        notice=values["notice"],
        event=Event(values["event"]),
        time=values["time"],
        key=None if values["id"] is None else Key(values["api"], values["id"]),
        name=values["name"],
        before=values["before"],
        status=values["status"],
        error=values["error"],
        why=values["why"],
        **{name: _frozen(name, value) for name, value in facts.items() if name in _FACTS},
    )


def names_in(facts: str) -> frozenset[str]:
    """The event-list words of the notice with these facts; none for a row that is damaged."""
    try:
        return frozenset(json.loads(facts).get("names", ()))
    except (ValueError, TypeError, AttributeError):
        return frozenset()


def detail_in(facts: str) -> str | None:
    """What more the notice with these facts says; None where that is nothing, or for a row that is damaged."""
    try:
        detail = json.loads(facts).get("detail")
    except (ValueError, AttributeError):
        return None
    return detail if isinstance(detail, str) else None


def _frozen(name: str, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if name in _FROM_LIST:
        return _FROM_LIST[name](value)
    return tuple(tuple(item) if isinstance(item, list) else item for item in value)


def delivery_of(values: Mapping[str, Any]) -> Delivery:
    """The Delivery in a row of deliveries and its notice. Raises ValueError or TypeError for a row that is damaged."""
    return Delivery(
        id=values["delivery"],
        notice=notice_of(values),
        address=Address(values["channel"], values["recipient"]),
        attempts=values["attempts"],
        created_at=values["created_at"],
        due_at=values["due_at"],
        last_error=values["last_error"],
    )
