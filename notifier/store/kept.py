"""The files of outputs: noted with what they belong to, taken up, marked, listed, and in the end forgotten.

Each function works within a transaction that the caller holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, case, func, literal_column, select, update

from notifier.model import Address, DeliveryState, File, FileState, Key
from notifier.store import rows, sqlite
from notifier.store.tables import deliveries, files, notices
from notifier.store.watches import by_api

_WAITING = files.c.state == FileState.WAITING.value
_THIS_ONE = (
    (files.c.api == bindparam("which_api")) & (files.c.id == bindparam("which_id"))
    & (files.c.number == bindparam("which_number"))
)  # fmt: skip
_NOTE = sqlite.upsert(
    files, ["url", "expires_at"], where=files.c.state == literal_column(f"'{FileState.WAITING.value}'")
)
_KEEP = sqlite.upsert(files, [name for name in rows.FILE_COLUMNS if name not in rows.FILE_KEY])
_NOTE_BEGUN = (
    update(files).where(_THIS_ONE, _WAITING).values(validator=bindparam("tag"), content_type=bindparam("type"))
)
_FAILED = (
    update(files)
    .where(_THIS_ONE, _WAITING)
    .values(
        attempts=files.c.attempts + bindparam("tried"),
        due_at=bindparam("moment"),
        last_error=bindparam("reason"),
        validator=bindparam("tag"),
        content_type=bindparam("type"),
    )
)
_URL = case((files.c.url.startswith("data:"), None), else_=files.c.url).label("url")
"""Where a link leads; not the megabytes of a `data:` URI."""
_BRIEF = select(*(_URL if name == "url" else files.c[name] for name in rows.FILE_COLUMNS))
_ORDER = (files.c.api, files.c.id, files.c.number)


def note(connection: Connection, owed: Iterable[File]) -> None:
    """Write files that are to be fetched; of those that are known and still waiting, the URL and its end."""
    sqlite.execute_many(connection, _NOTE, rows.FILE_COLUMNS, map(rows.file_values, owed))


def keep(connection: Connection, file: File) -> None:
    """Write all of a file, whatever was known of it."""
    sqlite.execute_many(connection, _KEEP, rows.FILE_COLUMNS, [rows.file_values(file)])


def note_begun(connection: Connection, file: File) -> None:
    """With what the rest of the file is asked for, should this be the last that is written of it."""
    connection.execute(_NOTE_BEGUN, {**_which(file), **_head_of(file)})


def mark_failed(connection: Connection, file: File, *, due_at: float, reason: str, counts: bool) -> None:
    """An attempt failed; `counts` is whether it was one at all."""
    values = {"tried": int(counts), "moment": due_at, "reason": rows.storable(reason)}
    connection.execute(_FAILED, {**_which(file), **_head_of(file), **values})


def mark_told(connection: Connection, key: Key) -> None:
    """Of the prediction's lost files, all were told."""
    lost = files.c.state == FileState.LOST.value
    connection.execute(update(files).where(files.c.api == key.api, files.c.id == key.id, lost).values(told=True))


def due(connection: Connection, now: float, limit: int, besides: Iterable[str] = ()) -> list[File]:
    """Those that have waited longest of what is due now, without their URLs, and without those of some hosts."""
    others = [~each for host in besides for each in _is_of(host)]
    query = _BRIEF.where(_WAITING, files.c.due_at <= now, *others).order_by(files.c.due_at, *_ORDER).limit(limit)
    return [rows.file_of(row) for row in connection.execute(query)]


def _is_of(host: str) -> Iterator[ColumnElement[bool]]:
    """What is true of the sources that are at a host, whose name is as `urlsplit` gives it; LIKE minds no capitals."""
    if host == "data:":
        yield files.c.source.startswith(host, autoescape=True)
        return
    for scheme in ("http", "https"):
        start = f"{scheme}://[{host}]" if ":" in host else f"{scheme}://{host}"
        yield func.lower(files.c.source) == start
        yield files.c.source.startswith(f"{start}/", autoescape=True)
        yield files.c.source.startswith(f"{start}:", autoescape=True)


def next_due_at(connection: Connection, now: float) -> float | None:
    """When the next one will be due that is not yet."""
    found: float | None = connection.scalar(select(func.min(files.c.due_at)).where(_WAITING, files.c.due_at > now))
    return found


def waiting_file(connection: Connection, file: File) -> File | None:
    """All of a file that is to be fetched, its URL too; None if it need not be any more."""
    query = select(*(files.c[name] for name in rows.FILE_COLUMNS)).where(_THIS_ONE, _WAITING)
    row = connection.execute(query, _which(file)).first()
    return None if row is None else rows.file_of(row)


def of(connection: Connection, keys: Collection[Key] | None) -> dict[Key, tuple[File, ...]]:
    """All files of these predictions, or of all, by their numbers; without the `data:` URIs."""
    if keys is None:
        return _by_key(connection.execute(_BRIEF.order_by(*_ORDER)))
    found: dict[Key, tuple[File, ...]] = {}
    for api, ids in by_api(keys):
        query = _BRIEF.where(files.c.api == api, files.c.id.in_(ids)).order_by(*_ORDER)
        found.update(_by_key(connection.execute(query)))
    return found


def of_prediction(connection: Connection, prediction_id: str) -> dict[Key, tuple[File, ...]]:
    """All files of a prediction, on any account."""
    return _by_key(connection.execute(_BRIEF.where(files.c.id == prediction_id).order_by(*_ORDER)))


def counts(connection: Connection) -> dict[FileState, int]:
    """How many files there are in each state."""
    query = select(files.c.state, func.count()).group_by(files.c.state)
    return {FileState(state): count for state, count in connection.execute(query)}


def past(connection: Connection, before: float, limit: int, offset: int) -> list[File]:
    """Some that were saved before that time, oldest first."""
    query = _BRIEF.where(files.c.state == FileState.SAVED.value, files.c.ended_at < before)
    return [
        rows.file_of(row)
        for row in connection.execute(query.order_by(files.c.ended_at, *_ORDER).limit(limit).offset(offset))
    ]


def release(connection: Connection, key: Key, now: float) -> list[Address]:
    """What was held back for the sake of a prediction's files is due now. Returns whose it is."""
    mine = select(notices.c.number).where(notices.c.id == key.id, notices.c.api == key.api)
    held = (
        (deliveries.c.state == DeliveryState.WAITING.value)
        & (deliveries.c.attempts == 0)
        & (deliveries.c.due_at > now)
        & deliveries.c.notice_number.in_(mine)
    )
    whose = select(deliveries.c.channel, deliveries.c.recipient).where(held).distinct()
    released = [Address(*row) for row in connection.execute(whose)]
    if released:
        connection.execute(update(deliveries).where(held).values(due_at=now))
    return released


def _by_key(found: Iterable[Sequence[Any]]) -> dict[Key, tuple[File, ...]]:
    by_key: dict[Key, list[File]] = defaultdict(list)
    for file in map(rows.file_of, found):
        by_key[file.key].append(file)
    return {key: tuple(each) for key, each in by_key.items()}


def _which(file: File) -> dict[str, Any]:
    return {"which_api": file.key.api, "which_id": file.key.id, "which_number": file.number}


def _head_of(file: File) -> dict[str, Any]:
    return {"tag": rows.storable(file.validator), "type": rows.storable(file.content_type)}
