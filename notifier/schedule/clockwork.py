"""APScheduler's part: one job that sleeps until the due table has something to give, and hands it on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from apscheduler.executors.debug import DebugExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from notifier.model import Key
from notifier.schedule.table import GATHER, DueTable


class _DueTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler 3 ships no types
    """Fires when the table says so. Must answer later than the `now` it is given: APScheduler asks until it does."""

    def __init__(self, table: DueTable) -> None:
        self._table = table

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:  # noqa: ARG002
        return now + timedelta(seconds=max(GATHER, self._table.seconds_until_due()))


class PollScheduler:
    """One APScheduler job that hands each watch that falls due to `start_poll`, in the scheduler's own thread.

    `start_poll` must not wait for anything.
    """

    _JOB = "drain the due table"

    def __init__(self, table: DueTable, start_poll: Callable[[Key], None]) -> None:
        self._table = table
        self._start_poll = start_poll
        self._scheduler = BackgroundScheduler(timezone=UTC, executors={"default": DebugExecutor()}, daemon=True)

    def start(self) -> None:
        """Start APScheduler's thread and the first polls."""
        # Without these two, a run that is late, because the machine slept or was busy, would be dropped.
        self._scheduler.add_job(
            self._drain, _DueTrigger(self._table), id=self._JOB, misfire_grace_time=None, coalesce=True
        )
        self._table.wake = self.wake
        self._scheduler.start()

    def stop(self, patience: float) -> bool:
        """Start no more polls; whether the job has come to rest within so many seconds."""
        self._table.wake = lambda: None
        # It waits for the job, which may be stuck, without a limit of its own.
        ending = threading.Thread(target=self._scheduler.shutdown, name="end of the scheduler", daemon=True)
        ending.start()
        ending.join(patience)
        return not ending.is_alive()

    @property
    def alive(self) -> bool:
        """Whether APScheduler's thread runs."""
        return bool(self._scheduler.running and self._scheduler._thread.is_alive())

    def wake(self) -> None:
        """Look at the table again now: something is due earlier, or the wall clock was stepped."""
        # The job runs now and then asks the table how long to sleep. A time that was worked out here could be out of
        # date when APScheduler takes it, and would then undo what another thread has woken it for meanwhile.
        with suppress(JobLookupError):  # stopped meanwhile
            self._scheduler.modify_job(self._JOB, next_run_time=datetime.now(UTC))

    def _drain(self) -> None:
        for key in self._table.take():
            self._start_poll(key)
