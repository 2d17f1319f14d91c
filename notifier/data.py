"""What the reading verbs and the daemon's own site show, as plain JSON values. Times are ISO 8601 in UTC."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from notifier import channels
from notifier.decide import shortfall
from notifier.model import (
    Address,
    Api,
    Config,
    FailedPoll,
    File,
    FileState,
    Incident,
    IncidentKind,
    Key,
    Observation,
    Watch,
)
from notifier.store import AccountRow, Store, WatchRow, is_running

JSON = dict[str, Any]


def moment(seconds: float | None) -> str | None:
    """Unix seconds as `2026-01-31T12:00:00Z`."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def status(config: Config) -> JSON:
    """The object of `status --json`. Raises StoreError."""
    with Store.open(config.store, create=False) as store:
        return status_in(store, config)


def status_in(store: Store, config: Config) -> JSON:
    """The same for whoever has the store open. Raises StoreError."""
    known = {row.key: row for row in store.watches_overview()}
    fares = {row.name: row for row in store.channels_overview()}
    incidents = store.open_incidents()
    busy = {row.name: row for row in store.accounts_overview()}
    counts = store.files_overview()
    files = _files_of(store, (watch.key for watch in config.watches)) if counts else {}
    rows = []
    for name in dict.fromkeys((*config.channels, *fares)):
        row = fares.get(name)
        rows.append(
            {
                "name": name,
                "waiting": row.waiting if row else 0,
                "given_up": row.given_up if row else 0,
                "last_sent": moment(row.last_sent) if row else None,
                "failing_since": moment(row.failing_since) if row else None,
                "last_error": row.last_error if row else None,
                "configured": name in config.channels,
            }
        )
    return {
        "as_of": moment(time.time()),
        "running": is_running(config.store),
        "accounts": [_account(config, api, busy.get(name)) for name, api in config.apis.items()],
        "watches": [_watch(watch, known.get(watch.key), files.get(watch.key, ())) for watch in config.watches],
        "channels": rows,
        "incidents": [
            {"kind": each.kind.value, "subject": subject(each), "since": moment(each.since), "detail": each.detail}
            for each in incidents
        ],
        "outputs": _outputs(config, counts),
    }


def _account(config: Config, api: Api, row: AccountRow | None) -> JSON:
    """How busy the daemon has last found an account; what it asks for by the list, where there was none yet."""
    latency = row.latency if row else None
    asked = row.asked if row else asked_for(config, api.name)
    return {
        "name": api.name,
        "asked": round(asked, 4),
        "allowed": round(row.allowed if row else api.rate, 4),
        "latency": None if latency is None else round(latency, 3),
        "shortfall": shortfall(asked=asked, rate=api.rate, concurrency=api.concurrency, latency=latency),
    }


def asked_for(config: Config, name: str) -> float:
    """Polls per second that an account's whole list asks for."""
    return sum(1.0 / watch.rules.interval for watch in config.watches if watch.key.api == name)


def latencies(config: Config) -> dict[str, float]:
    """How long a poll of each account takes, in seconds, as far as a daemon has noted it. Raises StoreError."""
    with Store.open(config.store, create=False) as store:
        return {row.name: row.latency for row in store.accounts_overview() if row.latency is not None}


def _outputs(config: Config, counts: Mapping[FileState, int]) -> JSON | None:
    """Where files are kept, and how many there are in all, of predictions no longer in the list too."""
    if config.outputs is None:
        return None
    shown = (FileState.WAITING, FileState.SAVED, FileState.LOST)
    return {"directory": config.outputs.directory, **{state.value: counts.get(state, 0) for state in shown}}


def _files_of(store: Store, keys: Iterable[Key]) -> Mapping[Key, tuple[File, ...]]:
    return store.files(set(keys))


def file(one: File) -> JSON:
    """A file of an output, for people and programs."""
    return {
        "number": one.number,
        "name": one.name,
        "state": one.state.value,
        "place": one.place,
        "size": one.size,
        "sha256": one.sha256,
        "content_type": one.content_type,
        "source": one.source,
        "error": one.last_error,
        "expires": moment(one.expires_at),
    }


def _watch(watch: Watch, row: WatchRow | None, files: Iterable[File]) -> JSON:
    state = row.state if row else None
    polled = row is not None and not row.state.done and not row.state.let_go
    return {
        "id": watch.key.id,
        "name": watch.name,
        "api": watch.key.api,
        "status": state.status if state else None,
        "done": bool(state and state.done),
        "error": state.error if state else None,
        "output": list(state.output) if state else [],
        "last_polled": moment(row.last_polled) if row else None,
        "failures": state.failures + state.not_found if state else 0,
        "failure": state.failure if state else None,
        "next_poll": moment(row.next_poll) if row and polled else None,
        "trouble": list(state.troubles) if state else [],
        "let_go": bool(state and state.let_go),
        "files": list(map(file, files)),
    }


def history(config: Config, prediction_id: str | None, limit: int | None) -> list[JSON]:
    """The list of `history --json`, oldest first: the newest `limit` notices, or all. Raises StoreError."""
    with Store.open(config.store, create=False) as store:
        rows = store.history(prediction_id, limit)
        files = _files_of(store, (row.key for row in rows if row.key is not None))
    return [
        {
            "notice": row.notice,
            "time": moment(row.time),
            "id": row.key.id if row.key else None,
            "api": row.key.api if row.key else None,
            "name": row.name,
            "event": row.event,
            "before": row.before,
            "after": row.status,
            "error": row.error,
            "why": row.why,
            "detail": row.detail,
            "deliveries": [
                {
                    "delivery": each.id,
                    "channel": each.address.channel,
                    "recipient": _recipient(each.address),
                    "state": each.state.value,
                    "attempts": each.attempts,
                    "last_error": each.last_error,
                }
                for each in row.deliveries
            ],
            "files": [file(one) for one in files.get(row.key, ())] if row.key else [],
        }
        for row in rows
    ]


def files(config: Config, prediction_id: str) -> list[JSON]:
    """The files of a prediction, on any account: also of one that nothing was ever told of. Raises StoreError."""
    with Store.open(config.store, create=False) as store:
        return [file(one) for files in store.files_of(prediction_id).values() for one in files]


def subject(incident: Incident) -> str:
    """What it is about; a recipient as people know it, not as the store tells two that look alike apart."""
    if incident.kind is not IncidentKind.CHANNEL:
        return incident.subject
    channel, *recipient = incident.subject.split(" ", 1)
    return " ".join((channel, *map(channels.masked, recipient)))


def _recipient(address: Address) -> str | None:
    return channels.masked(address.recipient) or None


def poll(api: str, prediction_id: str, seen: Observation | FailedPoll) -> JSON:
    """What one poll saw, for `poll --json`."""
    if isinstance(seen, FailedPoll):
        return {
            "api": api,
            "id": prediction_id,
            "failure": seen.failure.value,
            "reason": seen.reason,
            "http_status": seen.http_status,
            "retry_after": seen.retry_after,
        }
    times: Mapping[str, float | None] = {
        "created_at": seen.created_at,
        "started_at": seen.started_at,
        "completed_at": seen.completed_at,
        "deadline": seen.deadline,
    }
    return {
        "api": api,
        "id": prediction_id,
        "status": seen.status,
        "error": seen.error,
        "output": list(seen.output),
        "text": seen.text,
        "has_output": seen.has_output,
        "data_removed": seen.data_removed,
        **{name: moment(value) for name, value in times.items()},
        "metrics": dict(seen.metrics),
        "logs": seen.logs,
        "remark": seen.remark,
    }
