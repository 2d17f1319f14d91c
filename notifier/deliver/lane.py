"""One lane: a thread that sends what waits for one address, and marks it sent only after the channel said yes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from notifier.deliver.plan import Form, Parcel, next_parcel, probe_wait
from notifier.errors import DeliveryError, StoreError
from notifier.logs import event
from notifier.model import Address, Channel, Clock, Delivery, Message, Notice

logger = logging.getLogger(__name__)

WINDOW = 200
"""Waiting deliveries that are looked at together."""
STORE_RETRY = 1.0
"""Seconds between attempts to reach a store that cannot be written."""


class Outbox(Protocol):
    """What a lane asks of the store. Any of these may raise StoreError."""

    def waiting(self, address: Address, *, limit: int, now: float) -> list[Delivery]:
        """The oldest deliveries that wait for this address, in order."""

    def mark_sent(self, ids: Sequence[int], wall: float) -> None:
        """The channel took them, and works."""

    def mark_failed(self, ids: Sequence[int], *, due_at: float, reason: str) -> None:
        """One more attempt failed; the next is due then."""

    def mark_given_up(self, ids: Sequence[int], *, wall: float, reason: str, attempted: bool) -> None:
        """No attempt will follow; `attempted` counts one more, the last."""

    def make_due(self, address: Address, now: float) -> None:
        """Whatever waits for the address is due now."""

    def note_failing(self, address: Address, since: float | None) -> None:
        """Since when the address takes nothing, for `status` and for the next start."""


class Words(Protocol):
    """What a lane asks of the message stage."""

    def write(
        self, notices: Sequence[Notice], *, title: str | None, body: str | None, limit: int, now: float
    ) -> Message:
        """The notices of one prediction as one message."""

    def digest(self, notices: Sequence[Notice], *, limit: int, now: float) -> tuple[Message, int]:
        """As many notices as fit, and how many that are."""

    def plain(self, notice: Notice) -> Message:
        """The short form that nothing should object to."""


class Incidents(Protocol):
    """Where a lane reports that its channel is in trouble, or works again."""

    def channel_fails(self, address: Address, since: float, reason: str, held: int) -> None:
        """The channel has failed for its `incident_after`; called once per spell."""

    def channel_works(self, address: Address) -> None:
        """The first success after `channel_fails`."""


class Pacer:
    """Spaces the messages of one channel, over all its recipients. Thread-safe."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._next = 0.0
        self._lock = threading.Lock()

    def reserve(self, now: float) -> float:
        """Take the next place in the line; how many seconds to wait for it."""
        with self._lock:
            start = max(now, self._next)
            self._next = start + 1.0 / self.rate
            return start - now


class Lane:
    """Sends to one address. Everything but `wake`, `configure`, `stop` and `join` runs in the lane's own thread."""

    def __init__(
        self,
        address: Address,
        channel: Channel,
        *,
        pacer: Pacer,
        send: Callable[[Message], None],
        limit: int,
        outbox: Outbox,
        words: Words,
        incidents: Incidents,
        clock: Clock,
        failing_since: float | None = None,
        incident_open: bool = False,
    ) -> None:
        self.address = address
        self.configure(channel, pacer, send, limit)
        self._outbox, self._words, self._incidents, self._clock = outbox, words, incidents, clock
        self._failing_since = failing_since
        self._incident_open = incident_open
        self._reason = ""
        self._failures = 0 if failing_since is None else 1
        self._probe_at = 0.0
        self._successes = 0
        self._failed_at: dict[int, int] = {}
        """How many successes there had been when a delivery first failed."""
        self._plain: set[int] = set()
        self._singly = False
        self._refused: set[int] = set()
        """Deliveries that were refused for their content since the last success."""
        self._refusing = False
        self._sent_unmarked: list[int] = []
        self._wakeup = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lane {address.channel}", daemon=True)

    def configure(self, channel: Channel, pacer: Pacer, send: Callable[[Message], None], limit: int) -> None:
        """Go by these settings from the next message on."""
        self._channel, self._pacer, self._send, self._limit = channel, pacer, send, limit

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def wake(self) -> None:
        """Something new waits."""
        self._wakeup.set()

    def stop(self) -> None:
        """Take no further delivery; the one being sent is finished."""
        self._stopping.set()
        self._wakeup.set()

    def join(self, timeout: float) -> bool:
        """Wait at most so many seconds for the delivery in flight; whether the lane has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wakeup.clear()
            try:
                wait = self.step()
            except StoreError as error:
                event(logger, logging.WARNING, "store out of reach", channel=self.address.channel, error=error)
                wait = STORE_RETRY
            except Exception:
                logger.exception("mistake in the program: channel %s is looked at again", self.address.channel)
                wait = STORE_RETRY
            if wait is None or wait > 0:
                self._wakeup.wait(wait)

    def step(self) -> float | None:
        """Send one parcel, if one is due. How many seconds to wait before the next look; None: until woken."""
        if self._sent_unmarked:
            # Sending on while "sent" cannot be recorded would repeat ever more messages after a restart.
            self._mark_sent(self._sent_unmarked)
        now = self._clock.steady()
        waiting = self._outbox.waiting(self.address, limit=WINDOW, now=now)
        self._report_if_failing_long(now, len(waiting))
        if len(waiting) <= self._channel.digest_over:
            self._singly = False
        parcel = next_parcel(
            waiting,
            now=now,
            digest_over=self._channel.digest_over,
            failures=self._failures,
            probe_at=self._probe_at,
            plain=self._plain,
            singly=self._singly,
            refusing=self._refusing,
        )
        if parcel is None:
            return None
        if isinstance(parcel, float):
            return max(0.0, min(parcel, self._incident_at()) - now)
        pause = self._pacer.reserve(now)
        if pause > 0 and self._stopping.wait(pause):
            return None
        self._deliver(parcel, waiting)
        return 0.0

    def _deliver(self, parcel: Parcel, waiting: Sequence[Delivery]) -> None:
        ids = [delivery.id for delivery in parcel.deliveries]
        try:
            message, told = self._write(parcel)
            ids = ids[:told]
            self._send(message)
        except DeliveryError as error:
            self._failed(parcel, ids, error, waiting)
            return
        except Exception as error:
            logger.exception("mistake in the program: a message could not be written or sent")
            reason = f"mistake in the program: {type(error).__name__}"
            self._failed(parcel, ids, DeliveryError(reason, content=True), waiting)
            return
        self._sent_unmarked = ids
        self._mark_sent(ids)
        event(logger, logging.INFO, "sent", channel=self.address.channel, recipient=self.address.recipient or None,
              notices=",".join(delivery.notice.notice for delivery in parcel.deliveries[: len(ids)]))  # fmt: skip

    def _write(self, parcel: Parcel) -> tuple[Message, int]:
        notices = [delivery.notice for delivery in parcel.deliveries]
        wall = self._clock.wall()
        if parcel.form is Form.DIGEST:
            return self._words.digest(notices, limit=self._limit, now=wall)
        if parcel.form is Form.PLAIN:
            return self._words.plain(notices[0]), 1
        channel = self._channel
        return self._words.write(notices, title=channel.title, body=channel.body, limit=self._limit, now=wall), len(
            notices
        )

    def _mark_sent(self, ids: list[int]) -> None:
        self._outbox.mark_sent(ids, self._clock.wall())
        self._sent_unmarked = []
        for delivery_id in ids:
            self._forget(delivery_id)
        self._successes += 1
        self._refused.clear()
        self._refusing = False
        if self._failures:
            event(logger, logging.INFO, "channel works again", channel=self.address.channel)
            self._outbox.make_due(self.address, self._clock.steady())
        self._failures, self._failing_since = 0, None
        if self._incident_open:
            self._incident_open = False
            self._incidents.channel_works(self.address)

    def _failed(self, parcel: Parcel, ids: list[int], error: DeliveryError, waiting: Sequence[Delivery]) -> None:
        now = self._clock.steady()
        head = parcel.deliveries[0]
        others_pass = self._successes > self._failed_at.setdefault(head.id, self._successes)
        reason = f"{error.reason} (it may have arrived)" if error.maybe_arrived else error.reason
        level = logging.WARNING if reason != self._reason else logging.DEBUG
        event(logger, level, "not delivered", channel=self.address.channel, notice=head.notice.notice,
              attempts=head.attempts + 1, reason=reason)  # fmt: skip
        self._reason = reason
        if parcel.form is Form.PLAIN and others_pass:
            self._give_up([head.id], reason, attempted=True)
            return
        if parcel.form is Form.WHOLE and (others_pass or (error.content and head.attempts > 0)):
            self._plain.add(head.id)
        self._singly = self._singly or (error.content and parcel.form is Form.DIGEST)
        if others_pass or (error.content and not self._refused and not self._failures):
            # The message, not the channel, is at fault: the others go on.
            wait = 0.0 if others_pass else probe_wait(head.attempts + 1, self._channel.retry_after, error.retry_after)
            self._outbox.mark_failed(ids, due_at=now + wait, reason=reason)
        else:
            # The channel is at fault too when one message after the other is refused, and none passes.
            self._refusing = error.content
            self._channel_failed(ids, error, reason, now)
        if error.content:
            self._refused.add(head.id)
        too_old = [d.id for d in waiting if now - d.created_at >= self._channel.give_up_after]
        if too_old:
            self._give_up(too_old, reason, attempted=False)  # what was tried just now is counted already

    def _channel_failed(self, ids: list[int], error: DeliveryError, reason: str, now: float) -> None:
        self._failures += 1
        if self._failing_since is None:
            self._failing_since = now
        self._probe_at = now + probe_wait(self._failures, self._channel.retry_after, error.retry_after)
        self._outbox.mark_failed(ids, due_at=self._probe_at, reason=reason)
        self._outbox.note_failing(self.address, self._failing_since)

    def _give_up(self, ids: list[int], reason: str, *, attempted: bool) -> None:
        self._outbox.mark_given_up(ids, wall=self._clock.wall(), reason=reason, attempted=attempted)
        for delivery_id in ids:
            self._forget(delivery_id)
        event(logger, logging.ERROR, "given up", channel=self.address.channel, deliveries=len(ids), reason=reason)

    def _forget(self, delivery_id: int) -> None:
        self._failed_at.pop(delivery_id, None)
        self._plain.discard(delivery_id)

    def _incident_at(self) -> float:
        if self._failing_since is None or self._incident_open:
            return float("inf")
        return self._failing_since + self._channel.incident_after

    def _report_if_failing_long(self, now: float, held: int) -> None:
        if held and self._failing_since is not None and now >= self._incident_at():
            self._incident_open = True
            self._incidents.channel_fails(self.address, self._failing_since, self._reason, held)
