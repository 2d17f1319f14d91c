"""A lane to be driven step by step: real store, real words; only the wire is a double, and time is passed in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from notifier import message
from notifier.deliver import Lane, Outbox, Pacer
from notifier.errors import DeliveryError, StoreWriteError
from notifier.model import Address, Channel, Clock, Delivery, Event, Key, Message, Notice, Secret, State
from notifier.store import Change, HistoryRow, Store

TEAM = Address("team", "")
START = 1_800_000_000.0
HOUR, DAY = 3600.0, 86400.0
UNPACED = 1e12
WALL_STEP = 7200.0
"""What the wall clock was stepped by since the start, so that a test notices when it is used for the steady one."""
DOWN = DeliveryError("HTTP 503")
REFUSED = DeliveryError("HTTP 400: invalid_payload", content=True)
GONE = DeliveryError("HTTP 404: no_service", gone=True)
SILENT = DeliveryError("no answer within 60 s", maybe_arrived=True)


class Wire:
    """Our seam to the channel: answers as scripted, then by rule, whose default is to take everything."""

    def __init__(self, time: Callable[[], float]) -> None:
        self.script: list[Exception | None] = []
        self.rule: Callable[[Message], Exception | None] = lambda words: None
        self.tried: list[tuple[float, Message]] = []
        self.sent: list[Message] = []
        self._time = time

    def send(self, words: Message) -> None:
        """Take a message, or raise."""
        self.tried.append((self._time() - START, words))
        answer = self.script.pop(0) if self.script else self.rule(words)
        if answer is not None:
            raise answer
        self.sent.append(words)

    def titles(self) -> list[str]:
        """What arrived."""
        return [words.title for words in self.sent]

    def attempts(self) -> list[str]:
        """Which prediction each attempt was about, by its title."""
        return [words.title.removeprefix("❌ ").partition(":")[0] for _, words in self.tried]


class Reports:
    """Where the lane reports that its channel is in trouble."""

    def __init__(self) -> None:
        self.said: list[tuple[str, float | None]] = []
        self.counts: Counter[str] = Counter()

    def delivered(self, channel: str, outcome: str, count: int) -> None:
        """Count it."""
        self.counts[outcome] += count

    def channel_fails(self, address: Address, since: float, reason: str, held: int) -> None:
        """Note it, and since when."""
        self.said.append((f"{address.channel} fails: {reason}, {held} held", since))

    def gave_up_meanwhile(self, address: Address, deliveries: Sequence[Delivery], reason: str, *, told: int) -> None:
        """Note it."""
        self.said.append((f"{address.channel} gave up {len(deliveries)} meanwhile, {told} told: {reason}", None))

    def gave_up(self, address: Address, deliveries: Sequence[Delivery], reason: str, *, works: bool) -> None:
        """Note it."""
        self.said.append((f"{address.channel} never took {len(deliveries)}: {reason}", None))

    def channel_works(self, address: Address) -> None:
        """Note it."""
        self.said.append((f"{address.channel} works", None))


class Broken:
    """A store one of whose methods cannot write, while `method` names it."""

    def __init__(self, store: Store) -> None:
        self._store, self.method = store, ""

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            if name == self.method:
                raise StoreWriteError("the disk is full")
            return getattr(self._store, name)(*arguments, **named)

        return call


class Bench:
    """A lane and what it stands between."""

    def __init__(self, store: Store) -> None:
        self.now = START
        self.wall_step = 0.0
        self.clock = Clock(wall=lambda: self.now + self.wall_step, monotonic=lambda: self.now)
        self.wall_step = WALL_STEP
        self.store, self.wire, self.reports = store, Wire(lambda: self.now), Reports()
        self.broken = Broken(store)
        self.channel = Channel("team", Secret("json://x"), rate=UNPACED)
        self.pacer = Pacer(UNPACED)
        self.counter = 0
        self.lane = self.new_lane()

    def new_lane(self, address: Address = TEAM, **known: Any) -> Lane:
        """Another lane, as after a new start."""
        return Lane(
            address, self.channel, pacer=self.pacer, send=self.wire.send, limit=3000,
            outbox=cast("Outbox", self.broken), words=message, incidents=self.reports, clock=self.clock, **known,
        )  # fmt: skip

    def configure(self, **changes: Any) -> None:
        """Change the channel's settings."""
        self.channel = replace(self.channel, **changes)
        self.pacer.configure(self.channel.rate)
        self.lane.configure(self.channel, self.pacer, self.wire.send, 3000)

    def tell(self, prediction: str, status: str = "failed", before: str = "starting", to: Address = TEAM) -> str:
        """Record a notice; its id."""
        self.counter += 1
        notice = Notice(
            f"notice{self.counter:04}", Event.STATUS, self.clock.wall(), Key("api", prediction), name=prediction,
            before=before, status=status, names=frozenset({"status"}),
        )  # fmt: skip
        self.store.record([Change(Key("api", prediction), State(START, status), ((notice, (to,)),))], self.now)
        return notice.notice

    def run(self, seconds: float = 0.0, lanes: Sequence[Lane] = ()) -> None:
        """Let the lane, or several, do all there is to do for so many seconds."""
        end = self.now + seconds
        for _ in range(20_000):
            waits = [wait for lane in lanes or [self.lane] if (wait := lane.step()) is not None]
            if not waits or self.now + min(waits) > end:
                self.now = max(self.now, end)
                return
            self.now += min(waits)
        raise AssertionError("the lane does not come to rest")

    def rows(self) -> Sequence[HistoryRow]:
        """Everything told, with what became of it."""
        return self.store.history(None, 10_000)

    def states(self) -> dict[str, tuple[str, int]]:
        """What became of each prediction's last delivery, and after how many attempts."""
        return {row.key.id: (each.state.value, each.attempts)
                for row in self.rows() if row.key for each in row.deliveries}  # fmt: skip

    def last_errors(self) -> set[str | None]:
        """The reasons of the last failed attempts."""
        return {each.last_error for row in self.rows() for each in row.deliveries}

    def failing_since(self) -> float | None:
        """Since when the channel fails, as the store knows it."""
        health = self.store.channel_health().get(TEAM)
        return None if health is None else health.failing_since
