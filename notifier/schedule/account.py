"""One account's watches, and when its next poll may start: by rate, concurrency, and what the API says of its limit."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

from notifier.model import Key
from notifier.schedule.waits import LONGEST_BACKOFF

FIRST_PROBE, LONGEST_PROBE = 30.0, 300.0
"""Seconds between the polls that probe an account in trouble: the first wait, and the longest."""
BURST = 0.05
"""Polls may start this many seconds ahead of an account's even pace, to make up for the job's own lateness."""
SLOWEST = 1 / 64
"""Of an account's rate, what is left of it after any number of 429."""
SCOUT_PATIENCE = 2.0
"""Seconds to wait for what the first poll after a hold brings: a refusal is quick, even where answers are slow."""
LATENCY_WEIGHT = 0.05
"""Of the newest poll in the moving average of how long polls take."""
GROWTH = 1 / 100
"""Of an account's rate, by how much each answer raises the pace that a 429 has lowered."""


@dataclass(slots=True, eq=False)
class Row:
    """A watch that is still polled."""

    key: Key
    interval: float
    due: float
    started: float
    """When its last poll started, by its phase; of a row that was never polled, an interval before it is due."""
    asked: float = -math.inf
    """When its last poll started, to the moment."""
    word: float = 0.0
    """The API's own word: not before. It is never due sooner."""
    flying: bool = False
    dropped: bool = False


@dataclass(slots=True, eq=False)
class Account:
    """Times are monotonic seconds.

    What the API says of its limit slows the whole account down, in three ways: a 429 holds it, after which it goes at
    half the pace, and first with a single scout; each answer quickens it again. `ratelimit-remaining` spreads what is
    left over the time that it must last.
    """

    rate: float
    """Polls per second at most."""
    concurrency: int
    rows: dict[Key, Row] = field(default_factory=dict)
    heap: list[tuple[float, int, Row]] = field(default_factory=list)
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
    held_at: float = -math.inf
    """When a 429 last began a hold."""
    pace: float = math.inf
    """Polls per second that 429 have left of the rate; at most the rate."""
    budget: float = math.inf
    """Polls per second that the API still grants."""
    budget_until: float = -math.inf
    scouting: bool = False
    """Since the hold no poll was answered: one goes ahead, as a full pace could only earn the next 429."""
    scout: Key | None = None
    scout_at: float = 0.0
    latency: float | None = None
    """Seconds that a poll takes, as a moving average."""
    probing: bool = False
    probe_at: float = 0.0
    probe_wait: float = FIRST_PROBE

    def allowed(self, now: float) -> float:
        """Polls per second that may start at present."""
        return min(self.rate, self.pace, self.budget if now < self.budget_until else math.inf)

    def stretch(self) -> float:
        """By how much every interval is stretched, so that the sum of all keeps to the rate.

        What the API allows at the moment is not in it: it may allow more again long before the row is due.
        """
        return max(1.0, self.asked / self.rate)

    def first(self) -> Row | None:
        """The waiting row that is due before all others."""
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
        if self.scouting and self.scout is not None:
            earliest = max(earliest, self.scout_at + SCOUT_PATIENCE)
        return max(row.due, earliest)

    def start(self, row: Row, now: float) -> None:
        """The row's poll starts."""
        row.flying = True
        self.flying += 1
        self.next_start = max(self.next_start, now) + 1.0 / self.allowed(now)
        if self.probing:
            self.probe_at = now + self.probe_wait
            self.probe_wait = min(LONGEST_PROBE, self.probe_wait * 2)
        if self.scouting and self.scout is None:
            self.scout, self.scout_at = row.key, now
        # A start that is only a little late keeps its phase, so that lateness does not add up.
        late = now - row.due
        row.asked = now
        row.started = row.due if 0.0 <= late <= min(1.0, row.interval / 10) else now

    def land(self, row: Row, now: float, *, answered: bool) -> None:
        """The row's poll has ended."""
        row.flying = False
        self.flying -= 1
        took = now - row.asked
        self.latency = took if self.latency is None else self.latency + (took - self.latency) * LATENCY_WEIGHT
        if answered and self.pace < self.rate:
            self.pace = min(self.rate, self.pace + self.rate * GROWTH)
        if answered and row.asked > self.held_at:  # whichever: where answers are slow, the scout is not waited for
            self.scouting = False
        if row.key == self.scout or not self.scouting:
            self.scout = None

    def hold(self, row: Row | None, seconds: float, now: float) -> None:
        """A poll was told to come back later, and so are all. Those that were under way with it slow nothing more."""
        self.held_until = max(self.held_until, now + seconds)
        if row is None or row.asked >= self.held_at:
            self.pace = max(min(self.rate, self.pace) / 2, self.rate * SLOWEST)
            self.held_at = now
        self.scouting, self.scout = True, None

    def spread(self, remaining: float, seconds: float, now: float) -> None:
        """So many polls are left for so many seconds."""
        # In no case for longer than a failed poll would wait: the next answer says it again, or says it as a 429.
        if remaining >= 1:
            self.budget, self.budget_until = max(remaining / seconds, 1 / LONGEST_BACKOFF), now + seconds
            self.next_start = min(self.next_start, now + 1.0 / self.allowed(now))  # it may come from a slower pace
        else:
            self.held_until = max(self.held_until, now + min(seconds, LONGEST_BACKOFF))

    def push(self, row: Row, number: int) -> None:
        """Let a row wait; of rows due at the same moment the one with the lower number comes first."""
        heapq.heappush(self.heap, (row.due, number, row))

    def drop(self, row: Row) -> None:
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
