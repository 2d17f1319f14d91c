"""How the daemon shows itself to whoever looks after it over http: `/metrics`, `/healthz` and `/api/status`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from notifier import data
from notifier.errors import StoreError
from notifier.model import Config, IncidentKind
from notifier.monitoring import (
    CONTENT_TYPE,
    OK,
    UNAVAILABLE,
    AccountNow,
    Answer,
    Metrics,
    Now,
    OutboxNow,
    Pages,
    Site,
    as_json,
)
from notifier.schedule import DueTable
from notifier.service.keeper import Keeper
from notifier.store import Store

KEEP = 1.0
"""Seconds for which a status is given again, or ten times as long as it took to make it."""
AT_ONCE = 2
"""Who may wait for a status at once: the other threads are for who asks whether the daemon is well."""


class Oversight:
    """Answers from what the parts know, and changes nothing. `tend` and `stop` are for one thread at a time."""

    def __init__(
        self,
        *,
        metrics: Metrics,
        keeper: Keeper,
        table: DueTable,
        store: Store,
        config: Callable[[], Config],
        problems: Callable[[], Sequence[str]],
    ) -> None:
        """`config` gives the configuration in force, `problems` why the daemon is not healthy."""
        self._metrics, self._keeper, self._table, self._store = metrics, keeper, table, store
        self._config, self._problems = config, problems
        self._pages = Pages(
            {"/metrics": self._answer_metrics, "/healthz": self._answer_health, "/api/status": self._answer_status}
        )
        self._site = Site(self._pages)
        self._waiting = threading.BoundedSemaphore(AT_ONCE)
        self._making = threading.Lock()
        self._status: Answer | None = None
        self._status_until = 0.0

    def tend(self) -> None:
        """Be where the configuration in force says, or nowhere; to be called every second."""
        http = self._config().http
        if http is not None:
            self._pages.hosts = http.hosts
        if time.monotonic() >= self._status_until:
            self._status = None  # of 100,000 watches it is tens of megabytes
        self._site.tend(None if http is None else (http.host, http.port))

    def stop(self) -> bool:
        """Be nowhere; whether nothing of it is at work any more."""
        return self._site.stop()

    # --- the pages: called by several threads at once ----------------------------------------------------------------

    def _answer_health(self) -> Answer:
        problems = self._problems()
        return as_json(UNAVAILABLE if problems else OK, {"healthy": not problems, "problems": list(problems)})

    def _answer_metrics(self) -> Answer:
        return Answer(OK, CONTENT_TYPE, self._metrics.exposition(self._now()))

    def _answer_status(self) -> Answer:
        if not self._waiting.acquire(blocking=False):
            busy = as_json(UNAVAILABLE, {"error": "too many ask for this at once"})
            return busy._replace(headers=(("Retry-After", "1"),))
        try:
            with self._making:
                status = self._status
                if status is None or time.monotonic() >= self._status_until:
                    begin = time.monotonic()
                    self._status = status = as_json(OK, data.status_in(self._store, self._config()))
                    end = time.monotonic()
                    self._status_until = end + max(KEEP, 10 * (end - begin))
                return status
        finally:
            self._waiting.release()

    # --- the state of things -----------------------------------------------------------------------------------------

    def _now(self) -> Now:
        config = self._config()
        accounts = {}
        for name in config.apis:
            load = self._table.load(name)
            if load is not None:
                accounts[name] = AccountNow(self._table.watches(name), load.in_flight, load.asked, load.allowed)
        kinds = [incident.kind for incident in self._keeper.incidents]
        if self._keeper.store_trouble is not None:  # it becomes one when it can be recorded: when it is over
            kinds.append(IncidentKind.STORE)
        return Now(self._keeper.states(), accounts, self._outbox(config), kinds, healthy=not self._problems())

    def _outbox(self, config: Config) -> OutboxNow | None:
        """Of all channels that are configured, and of removed ones for which something waits."""
        try:
            rows = {row.name: row for row in self._store.channels_overview()}
        except StoreError:  # whoever needs the store says so; the other metrics are wanted all the more
            return None
        names = [*config.channels, *(name for name in rows if name not in config.channels)]
        return OutboxNow(
            waiting={name: rows[name].waiting if name in rows else 0 for name in names},
            given_up={name: rows[name].given_up if name in rows else 0 for name in names},
        )
