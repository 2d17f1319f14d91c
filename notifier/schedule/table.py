"""The due table: every watch that is still polled and when, over all accounts."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from notifier.model import Api, Key
from notifier.schedule.account import BURST, FIRST_PROBE, Account, Row

GATHER = 0.02
"""The job sleeps at least this long, so that rows which fall due together are taken together (a fifth of the CPU)."""
AT_ONCE = 10
"""So many new watches of an account are first polled at once; the others are spread over their interval."""
PORTION = 1000
"""So many rows are added before whoever takes what is due gets a turn."""
GOLDEN = (math.sqrt(5) - 1) / 2
LONGEST_SLEEP = 3600.0


class Load(NamedTuple):
    """How busy an account is."""

    asked: float
    """Polls per second that the intervals of its watches add up to."""
    allowed: float
    """Polls per second that may start at present: its rate, or what the API has left of it."""
    in_flight: int
    latency: float | None
    """Seconds that a poll takes, as a moving average; None before the first has ended."""


class DueTable:
    """Every watch that is still polled, and when; also which polls are in flight. Safe to use from any thread.

    `wake` is called, outside the lock, when something falls due earlier than `seconds_until_due` last said.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.wake: Callable[[], None] = lambda: None
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._accounts: dict[str, Account] = {}
        self._sequence = itertools.count()
        self._planned = math.inf
        self.started = 0
        """Polls that were taken, in all."""

    def configure(self, apis: Mapping[str, Api]) -> None:
        """Take over the accounts' rates and concurrencies; rows of accounts that are gone are gone with them."""
        with self._lock:
            now = self._monotonic()
            for name in self._accounts.keys() - apis.keys():
                self._accounts[name].leave(now)
                self._forget_if_over(name)
            for name, api in apis.items():
                account = self._accounts.setdefault(name, Account(api.rate, api.concurrency))
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
            account.rows[key] = row = Row(key, interval, due, started=due - interval)
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
                    account.start(row, now)
                    taken.append(row.key)
            self.started += len(taken)
        return taken

    def land(self, key: Key, wait: float | None, not_before: float = 0.0, *, answered: bool = True) -> None:
        """A poll has ended: the next one is due `wait` seconds (None: the interval) after this one's start.

        It is never due sooner than the interval, nor than `not_before` seconds from now. `answered`: whether the API
        took the question, whatever it said to it.
        """
        with self._lock:
            account = self._accounts.get(key.api)
            row = account.rows.get(key) if account else None
            if account is None or row is None or not row.flying:
                return
            now = self._monotonic()
            account.land(row, now, answered=answered)
            if row.dropped:
                account.dropped -= 1
                del account.rows[key]
                self._forget_if_over(key.api)
            else:
                row.word = now + not_before
                row.due = max(row.started + max(wait or 0.0, row.interval * account.stretch()), row.word)
                account.push(row, next(self._sequence))
        self._wake_if_earlier()

    def _forget_if_over(self, api: str) -> None:
        if self._accounts[api].gone and not self._accounts[api].rows:
            del self._accounts[api]

    def ask_another(self, key: Key, rather: Key | None = None) -> None:
        """Make another watch of the same account than `key` due at once, or as soon as the API's own word allows:
        `rather` where that waits, else the one that is next anyway.
        """
        with self._lock:
            account = self._accounts[key.api]
            row = account.rows.get(rather) if rather not in (None, key) else None
            if row is None or row.flying or row.dropped:
                first = row = account.first()
                if first is not None and first.key == key:
                    heapq.heappop(account.heap)
                    row = account.first()
                    account.push(first, next(self._sequence))
            if row is not None and (due := max(self._monotonic(), row.word)) < row.due:
                row.due = due
                account.push(row, next(self._sequence))
        self._wake_if_earlier()

    def hold(self, key: Key, seconds: float) -> None:
        """The poll of this watch met a 429: start no poll of its account for so many seconds (a longer hold stands),
        and go on more slowly then.
        """
        with self._lock:
            account = self._accounts[key.api]
            account.hold(account.rows.get(key), seconds, self._monotonic())
        self._wake_if_earlier()  # the scout that was waited for has come back with nothing

    def spread(self, api: str, remaining: float, seconds: float) -> None:
        """The API grants this account so many more requests for so many seconds: start no more, and start them
        evenly. The newest word counts.
        """
        with self._lock:
            self._accounts[api].spread(remaining, seconds, self._monotonic())
        self._wake_if_earlier()

    def probe(self, api: str, first_wait: float = FIRST_PROBE) -> None:
        """Only probe this account from now on: one poll at a time, after `first_wait` seconds, then ever less often."""
        with self._lock:
            account = self._accounts[api]
            account.probing = True
            account.probe_at = self._monotonic() + first_wait
            account.probe_wait = FIRST_PROBE * 2 if first_wait else FIRST_PROBE
        self._wake_if_earlier()

    def all_due(self, api: str, *, renewed: bool = False) -> None:
        """The account is well again: every watch of it is due, in the old order, spread by its rate; no hold stands,
        nor any word about a single watch.

        With a `renewed` token nothing the API said of a limit stands either; and where the account was well anyway,
        only those are due that wait for longer than their interval: the others keep their phase.
        """
        with self._lock:
            account = self._accounts[api]
            now = self._monotonic()
            was_well = renewed and not account.probing and account.held_until <= now
            account.probing = False
            account.held_until = now
            if renewed:
                account.pace = account.budget = math.inf
                account.scouting, account.scout = False, None
            waiting = sorted((row for row in account.rows.values() if not row.flying), key=lambda row: row.due)
            account.heap.clear()
            for row in waiting:
                if not was_well or row.due - row.started > row.interval * account.stretch() + GATHER:
                    row.due = min(row.due, now)
                row.word = 0.0
                account.push(row, next(self._sequence))
        self._wake_if_earlier()

    def watches(self, api: str) -> int:
        """How many watches of the account are still polled."""
        with self._lock:
            account = self._accounts.get(api)
            return 0 if account is None else len(account.rows) - account.dropped

    def load(self, api: str) -> Load | None:
        """How busy the account is; None where there is none of that name."""
        with self._lock:
            account = self._accounts.get(api)
            if account is None:
                return None
            return Load(max(0.0, account.asked), account.allowed(self._monotonic()), account.flying, account.latency)

    def seconds_to(self, key: Key) -> float | None:
        """Seconds until the watch is due (0 while its poll is in flight); None when it is not polled."""
        with self._lock:
            account = self._accounts.get(key.api)
            row = account.rows.get(key) if account else None
            if row is None or row.dropped:
                return None
            return 0.0 if row.flying else max(0.0, row.due - self._monotonic())

    def is_late(self) -> bool:
        """Whether a poll could have started by now: what waits for its account (its rate, its concurrency, the API's
        own word) could not.
        """
        with self._lock:
            return self._next_start_at() + GATHER < self._monotonic()

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
