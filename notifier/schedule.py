"""What is due when: intervals, phases, back-off and account budgets; APScheduler fires the one job that drains it.

The table lives on the monotonic clock, so that budgets, back-off, fairness and clock steps are one mechanism. A job
per watch would cost several times the CPU of the row, and would go silent when the wall clock steps back.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from apscheduler.executors.debug import DebugExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from notifier.model import Api, Event, FailedPoll, Failure, Key, Observation, Rules, State

LONGEST_BACKOFF = 300.0
"""Seconds between polls that fail, at most, unless the interval is longer: outputs live only an hour."""
LOST_INTERVAL = 3600.0
"""Seconds between polls of a prediction that the API does not know."""
LONGEST_WORD = 3600.0
"""The API's own word on when to ask again is believed up to this many seconds."""
FIRST_PROBE, LONGEST_PROBE = 30.0, 300.0
"""Seconds between the polls that probe an account in trouble: the first wait, and the longest."""
GATHER = 0.02
"""The job sleeps at least this long, so that rows which fall due together are taken together (a fifth of the CPU)."""
BURST = 0.05
"""Polls may start this many seconds ahead of an account's even pace, to make up for the job's own lateness."""
AT_ONCE = 10
"""So many new watches of an account are first polled at once; the others are spread over their interval."""
PORTION = 1000
"""So many rows are added before whoever takes what is due gets a turn."""
GOLDEN = (math.sqrt(5) - 1) / 2
LONGEST_SLEEP = 3600.0


def wait_after(
    seen: Observation | FailedPoll, after: State, rules: Rules, chance: Callable[[], float] = random.random
) -> float | None:
    """Seconds from the start of this poll to the start of the next one; None: as the interval says.

    Failures back off exponentially with full jitter. `chance` answers with a number in [0, 1).
    """
    if Event.LOST in after.troubles:
        return LOST_INTERVAL
    if isinstance(seen, Observation) or seen.failure is Failure.THROTTLED:
        return None
    growth = 2.0 ** min(after.failures + after.not_found, 30)
    longest = max(LONGEST_BACKOFF, rules.interval)
    return max(rules.interval, min(longest, rules.interval * growth) * chance())


def hold_after(seen: FailedPoll, throttled: int, chance: Callable[[], float] = random.random) -> float:
    """Seconds for which a 429 holds its account: the API's word, else a growing, jittered wait of our own."""
    if seen.retry_after is not None:
        return min(max(seen.retry_after, 1.0), LONGEST_WORD)
    return min(LONGEST_BACKOFF, 5.0 * 2.0 ** min(throttled, 10)) * (0.5 + chance() / 2)


@dataclass(slots=True, eq=False)
class _Row:
    key: Key
    interval: float
    due: float
    started: float
    """When its last poll started; of a row that was never polled, an interval before it is due."""
    word: float = 0.0
    """The API's own word: not before. It is never due sooner."""
    flying: bool = False
    dropped: bool = False


@dataclass(slots=True, eq=False)
class _Account:
    rate: float
    concurrency: int
    rows: dict[Key, _Row] = field(default_factory=dict)
    heap: list[tuple[float, int, _Row]] = field(default_factory=list)
    """Waiting rows by their due time; an entry whose row moved on is stale and skipped."""
    flying: int = 0
    dropped: int = 0
    """Rows that only wait for their last poll to land."""
    gone: bool = False
    """Not configured any more, and only kept until its last poll lands: two polls of one watch at once must not come
    of removing an account and adding it again."""
    asked: float = 0.0
    """Polls per second that the rows' intervals add up to."""
    next_start: float = 0.0
    held_until: float = 0.0
    probing: bool = False
    probe_at: float = 0.0
    probe_wait: float = FIRST_PROBE

    def stretch(self) -> float:
        """By how much every interval is stretched, so that the sum of all keeps to the rate."""
        return max(1.0, self.asked / self.rate)

    def first(self) -> _Row | None:
        while self.heap:
            due, _, row = self.heap[0]
            if not row.flying and not row.dropped and row.due == due:
                return row
            heapq.heappop(self.heap)
        return None

    def next_start_at(self) -> float:
        """When the next poll may start; infinity while nothing but an answer can change that."""
        row = self.first()
        if row is None or self.flying >= self.concurrency:
            return math.inf
        earliest = max(self.next_start - BURST, self.held_until)
        if self.probing:
            return math.inf if self.flying else max(self.probe_at, row.word, earliest)
        return max(row.due, earliest)

    def push(self, row: _Row, number: int) -> None:
        """Let a row wait; of rows due at the same moment the one with the lower number comes first."""
        heapq.heappush(self.heap, (row.due, number, row))

    def drop(self, row: _Row) -> None:
        """Let a row go, or have it go when its poll lands."""
        row.dropped = True
        self.asked -= 1.0 / row.interval
        if row.flying:
            self.dropped += 1
        else:
            del self.rows[row.key]

    def leave(self, now: float) -> None:
        """The account is configured no more: nothing of it stays but the polls in flight."""
        for row in [row for row in self.rows.values() if not row.dropped]:
            self.drop(row)
        self.gone, self.probing = True, False
        self.next_start = self.held_until = now


class DueTable:
    """Every watch that is still polled, and when; also which polls are in flight. Safe to use from any thread.

    `wake` is called, outside the lock, when something falls due earlier than `seconds_until_due` last said.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.wake: Callable[[], None] = lambda: None
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._accounts: dict[str, _Account] = {}
        self._sequence = itertools.count()
        self._planned = math.inf

    def configure(self, apis: Mapping[str, Api]) -> None:
        """Take over the accounts' rates and concurrencies; rows of accounts that are gone are gone with them."""
        with self._lock:
            now = self._monotonic()
            for name in self._accounts.keys() - apis.keys():
                self._accounts[name].leave(now)
                self._forget_if_over(name)
            for name, api in apis.items():
                account = self._accounts.setdefault(name, _Account(api.rate, api.concurrency))
                account.rate, account.concurrency, account.gone = api.rate, api.concurrency, False
                # It may come from a slower pace.
                account.next_start = min(account.next_start, now + BURST + 1.0 / api.rate)
        self._wake_if_earlier()

    def add(self, watches: Iterable[tuple[Key, float]]) -> None:
        """Add (key, interval) rows: of each account the first few are due at once, the others spread over their
        interval. A row that is there stays as it is.
        """
        remaining, added = iter(watches), Counter[str]()
        while portion := list(itertools.islice(remaining, PORTION)):
            with self._lock:
                for key, interval in portion:
                    self._add(key, interval, added)
            self._wake_if_earlier()

    def _add(self, key: Key, interval: float, added: Counter[str]) -> None:
        account = self._accounts[key.api]
        known = account.rows.get(key)
        if known is None:
            now, index = self._monotonic(), added[key.api]
            due = now if index < AT_ONCE else now + interval * (index * GOLDEN % 1.0)
            account.rows[key] = row = _Row(key, interval, due, started=due - interval)
            account.push(row, next(self._sequence))
        elif known.dropped:  # its poll is still in flight from before it was dropped
            known.dropped, known.interval = False, interval
            account.dropped -= 1
        else:
            return
        account.asked += 1.0 / interval
        added[key.api] += 1

    def drop(self, keys: Iterable[Key]) -> None:
        """Poll these no more. A poll in flight goes on; whoever takes its answer calls `land` as always."""
        with self._lock:
            for key in keys:
                account = self._accounts.get(key.api)
                row = account.rows.get(key) if account else None
                if account is not None and row is not None and not row.dropped:
                    account.drop(row)

    def set_interval(self, key: Key, interval: float) -> None:
        """Change a row's interval; it is due no later than the new interval after its last start, save for the API's
        own word. The same interval again changes nothing.
        """
        with self._lock:
            account = self._accounts[key.api]
            row = account.rows.get(key)
            if row is None or row.dropped or row.interval == interval:
                return
            account.asked += 1.0 / interval - 1.0 / row.interval
            row.interval = interval
            if not row.flying:
                now = self._monotonic()
                row.due = min(row.due, max(now, row.started + interval * account.stretch(), row.word))
                account.push(row, next(self._sequence))
        self._wake_if_earlier()

    def take(self) -> list[Key]:
        """The watches to be polled now; they are in flight until `land` is called for each."""
        taken: list[Key] = []
        with self._lock:
            now = self._monotonic()
            for account in self._accounts.values():
                while account.next_start_at() <= now:
                    row = account.first()
                    if row is None:
                        break
                    heapq.heappop(account.heap)
                    self._start(account, row, now)
                    taken.append(row.key)
        return taken

    @staticmethod
    def _start(account: _Account, row: _Row, now: float) -> None:
        row.flying = True
        account.flying += 1
        account.next_start = max(account.next_start, now) + 1.0 / account.rate
        if account.probing:
            account.probe_at = now + account.probe_wait
            account.probe_wait = min(LONGEST_PROBE, account.probe_wait * 2)
        # A start that is only a little late keeps its phase, so that lateness does not add up.
        late = now - row.due
        row.started = row.due if 0.0 <= late <= min(1.0, row.interval / 10) else now

    def land(self, key: Key, wait: float | None, not_before: float = 0.0) -> None:
        """A poll has ended: the next one is due `wait` seconds (None: the interval) after this one's start.

        It is never due sooner than the interval, nor than `not_before` seconds from now.
        """
        with self._lock:
            account = self._accounts.get(key.api)
            row = account.rows.get(key) if account else None
            if account is None or row is None or not row.flying:
                return
            row.flying = False
            account.flying -= 1
            if row.dropped:
                account.dropped -= 1
                del account.rows[key]
                self._forget_if_over(key.api)
            else:
                now = self._monotonic()
                row.word = now + not_before
                row.due = max(row.started + max(wait or 0.0, row.interval * account.stretch()), row.word)
                account.push(row, next(self._sequence))
        self._wake_if_earlier()

    def _forget_if_over(self, api: str) -> None:
        if self._accounts[api].gone and not self._accounts[api].rows:
            del self._accounts[api]

    def ask_another(self, key: Key) -> None:
        """Make the watch of the same account that is next anyway, but for `key`, due at once (or as soon as the API's
        own word allows).
        """
        with self._lock:
            account = self._accounts[key.api]
            first = row = account.first()
            if first is not None and first.key == key:
                heapq.heappop(account.heap)
                row = account.first()
                account.push(first, next(self._sequence))
            if row is not None and (due := max(self._monotonic(), row.word)) < row.due:
                row.due = due
                account.push(row, next(self._sequence))
        self._wake_if_earlier()

    def hold(self, api: str, seconds: float) -> None:
        """Start no poll of this account for so many seconds; a longer hold stands."""
        with self._lock:
            account = self._accounts[api]
            account.held_until = max(account.held_until, self._monotonic() + seconds)

    def probe(self, api: str, first_wait: float = FIRST_PROBE) -> None:
        """Only probe this account from now on: one poll at a time, after `first_wait` seconds, then ever less often."""
        with self._lock:
            account = self._accounts[api]
            account.probing = True
            account.probe_at = self._monotonic() + first_wait
            account.probe_wait = FIRST_PROBE * 2 if first_wait else FIRST_PROBE
        self._wake_if_earlier()

    def all_due(self, api: str) -> None:
        """The account is well again: every watch of it is due, in the old order, spread by its rate; no hold stands,
        nor any word about a single watch.
        """
        with self._lock:
            account = self._accounts[api]
            account.probing = False
            now = self._monotonic()
            account.held_until = now
            waiting = sorted((row for row in account.rows.values() if not row.flying), key=lambda row: row.due)
            account.heap.clear()
            for row in waiting:
                row.due, row.word = min(row.due, now), 0.0
                account.push(row, next(self._sequence))
        self._wake_if_earlier()

    def watches(self, api: str) -> int:
        """How many watches of the account are still polled."""
        with self._lock:
            account = self._accounts.get(api)
            return 0 if account is None else len(account.rows) - account.dropped

    def seconds_to(self, key: Key) -> float | None:
        """Seconds until the watch is due (0 while its poll is in flight); None when it is not polled."""
        with self._lock:
            account = self._accounts.get(key.api)
            row = account.rows.get(key) if account else None
            if row is None or row.dropped:
                return None
            return 0.0 if row.flying else max(0.0, row.due - self._monotonic())

    def seconds_until_due(self) -> float:
        """Seconds until `take` has something to give, at most an hour; promises to call `wake` if that changes."""
        with self._lock:
            now = self._monotonic()
            self._planned = min(self._next_start_at(), now + LONGEST_SLEEP)
            return max(0.0, self._planned - now)

    def _next_start_at(self) -> float:
        return min((account.next_start_at() for account in self._accounts.values()), default=math.inf)

    def _wake_if_earlier(self) -> None:
        with self._lock:
            due = max(self._next_start_at(), self._monotonic())
            earlier = due < self._planned - GATHER
            if earlier:
                self._planned = due
        if earlier:
            self.wake()


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

    def stop(self) -> None:
        """Start no more polls; returns when the job is not running."""
        self._table.wake = lambda: None
        self._scheduler.shutdown(wait=True)

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
