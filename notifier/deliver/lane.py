"""One lane: a thread that sends what waits for one address, and marks it sent only after the channel said yes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from notifier.deliver.needs import Files, Incidents, NoFiles, Outbox, Words
from notifier.deliver.pacer import Pacer
from notifier.deliver.plan import (
    MOST_REFUSED,
    SURELY_GONE,
    Form,
    Parcel,
    is_another_to_probe,
    is_message_at_fault,
    next_parcel,
    probe_wait,
)
from notifier.errors import DeliveryError, PlaceError, StoreError
from notifier.logs import event, mistake
from notifier.model import Address, Attachment, Channel, Clock, Delivery, File, FileState, Message

logger = logging.getLogger(__name__)

WINDOW = 200
"""Waiting deliveries that are looked at together."""
STORE_RETRY = 1.0
"""Seconds between attempts to reach a store that cannot be written."""
SHORTEST_PAUSE = 0.001
"""Seconds before a message's turn that are not waited for: the next one's turn makes up for them."""
LEAST_TRIED = 3600.0
"""Seconds, at most, that a channel is tried after a start before anything is given up for its age."""
MISTAKE_RETRY = 60.0
"""Seconds until a look that a mistake of ours has ended is tried again, unless there is news before."""
WITHOUT_FILES = 3
"""Every so many attempts at a message go without its files, in case it is only for them that it is not taken."""


class _Settings(NamedTuple):
    """What may change under a running lane: replaced as a whole, so that no message goes by half of a change."""

    channel: Channel
    pacer: Pacer
    send: Callable[[Message], None]
    limit: int


class Lane:
    """Sends to one address. Everything but `wake`, `configure`, `stop` and `join` runs in the lane's own thread.

    What became of an attempt is `_owed` to the store until it is written, and nothing is sent before that: else, while
    nothing can be recorded, messages would go out that go out again after a restart.
    """

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
        files: Files | None = None,
        failing_since: float | None = None,
        incident_open: bool = False,
    ) -> None:
        self.address = address
        self._newest = self._settings = _Settings(channel, pacer, send, limit)
        self._outbox, self._words, self._incidents, self._clock = outbox, words, incidents, clock
        self._files = files or NoFiles()
        self._owed: list[Callable[[], None]] = []
        self._failing_since = failing_since
        """Since when the channel has taken nothing that it was given."""
        self._tried_since: float | None = None
        """The same, but not before this start: whatever is older may be the daemon's own absence."""
        self._incident_open = incident_open
        self._report_again = False
        """Whether an incident that was reported is to be reported once more: it may have been taken for another's."""
        self._reason = ""
        """Of the last failed attempt, until one succeeds."""
        self._gone = 0
        """Attempts in a row whose answer was that the address is gone."""
        self._gave_up: list[Delivery] = []
        """What was given up and is still to be reported."""
        self._gave_up_meanwhile: list[Delivery] = []
        """What was given up since the channel has taken nothing: its first were reported, the rest when it works."""
        self._gave_up_told = 0
        """How many of them were reported."""
        self._failures = 0
        """Attempts in a row that failed by the channel's fault: while there are any, it is only probed."""
        self._another = False
        """Whether the next probe is not the oldest delivery's, which has just failed."""
        self._probe_at = 0.0
        self._successes = 0
        # The memory of single messages, each for as long as its delivery waits.
        self._first_failed: dict[int, int] = {}
        """How many successes there had been when a message first failed."""
        self._refused: set[int] = set()
        """Messages refused for their content, since the channel took one or failed otherwise."""
        self._plain: set[int] = set()
        self._bare: set[int] = set()
        """Messages that their files may have kept from arriving: they go without."""
        self._unread: set[tuple[int, File]] = set()
        """Files of messages that were not to be had, and which the log has named."""
        self._singly_up_to = 0
        """The last delivery of a digest that was refused: one of them is at fault, and found by sending each alone."""
        self._busy_since: float | None = None
        """When (steady) the look that is being taken began."""
        self._turn_at: float | None = None
        """When the next message may be sent, while it is waited for."""
        if failing_since is not None:
            self._begin_anew()
        self._news = threading.Event()
        self._orders = threading.Event()
        """Set for what cannot wait, unlike `_news`, for a message's turn to come."""
        self._again = threading.Event()
        self._stopping = threading.Event()
        self._about = {"channel": address.channel, "recipient": address.recipient or None}
        """What each line of the log names."""
        self._thread = threading.Thread(target=self._run, name=f"lane {address.channel}", daemon=True)
        self._before: Lane | None = None

    # --- for any thread ----------------------------------------------------------------------------------------------

    def configure(self, channel: Channel, pacer: Pacer, send: Callable[[Message], None], limit: int) -> None:
        """Go by these settings from the next message on. A channel that was changed is tried anew, at once."""
        self._newest = _Settings(channel, pacer, send, limit)
        self._order()

    def start(self, after: Lane | None = None) -> None:
        """Start sending, once another lane of the same address has ended if there is one."""
        self._before = after
        self._thread.start()

    def wake(self) -> None:
        """Something new waits."""
        self._news.set()

    def try_again(self) -> None:
        """Probe the channel at once, if it fails."""
        self._again.set()
        self._order()

    def stop(self) -> None:
        """Take no further delivery; the one being sent is finished."""
        self._stopping.set()
        self._order()

    def busy_for(self, now: float) -> float:
        """Seconds for which the lane has been at one message: 0 between them, for ever if its thread has died."""
        busy_since = self._busy_since
        if busy_since is None:
            return 0.0
        return now - busy_since if self._thread.is_alive() else float("inf")

    def join(self, timeout: float | None) -> bool:
        """Wait at most so many seconds for the delivery in flight; whether the lane has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _order(self) -> None:
        self._orders.set()
        self._news.set()

    # --- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if self._before is not None:
            self._before.join(None)
            self._before = None
        complaint = ""
        while True:
            # Cleared before anything is looked at, so that whatever is set from here on ends the wait below.
            self._news.clear()
            self._orders.clear()
            if self._stopping.is_set():
                break
            self._busy_since = self._clock.steady()
            try:
                wait = self.step()
                complaint = ""
            except StoreError as error:
                level = logging.DEBUG if str(error) == complaint else logging.WARNING
                complaint = str(error)
                self._log(level, "store out of reach", reason=error)
                wait = STORE_RETRY
            except Exception:  # noqa: BLE001 - a mistake of ours in one look must not end the lane
                mistake(logger, "a channel is looked at again", **self._about)
                wait = MISTAKE_RETRY
            self._busy_since = None
            # News of more that waits does not bring a message's turn nearer, and reading it each time costs.
            (self._news if self._turn_at is None else self._orders).wait(wait)
        self._finish()

    def _finish(self) -> None:
        try:
            self._record()
        except StoreError as error:
            self._log(logging.ERROR, "not recorded what became of a message: it may be repeated", reason=error)

    def step(self) -> float | None:
        """Send one parcel, if one is due. How many seconds to wait before the next look; None: until woken."""
        self._take_up_settings()
        self._record()
        self._report_given_up()
        now = self._clock.steady()
        waiting = self._outbox.waiting(self.address, limit=WINDOW, now=now)
        self._forget_all_but(waiting)
        self._report_if_failing_long(now, waiting)
        parcel = next_parcel(
            waiting,
            now=now,
            digest_over=self._digest_over(waiting),
            failures=self._failures,
            probe_at=self._probe_at,
            another=self._another,
            plain=self._plain,
            singly=any(delivery.id <= self._singly_up_to and delivery.due_at <= now for delivery in waiting),
            refusing=len(self._refused) > MOST_REFUSED,
        )
        if not isinstance(parcel, Parcel):
            self._turn_at = None
            return None if parcel is None else max(0.0, min(parcel, self._incident_at()) - now)
        if self._turn_at is None:
            # Another probe shares the oldest's turn: the later, the likelier it finds the channel back, and overtakes.
            self._turn_at = now if self._another else now + self._settings.pacer.reserve(now)
        if self._turn_at - now > SHORTEST_PAUSE:
            return max(0.0, min(self._turn_at, self._incident_at()) - now)
        self._turn_at = None
        if not self._stopping.is_set():
            self._deliver(parcel, waiting)
            self._record()
        return 0.0

    def _take_up_settings(self) -> None:
        before, self._settings = self._settings, self._newest
        if self._settings.channel.rate != before.channel.rate:
            self._turn_at = None
        if self._settings.channel != before.channel:
            self._begin_anew()
        if self._again.is_set():
            self._again.clear()
            if self._failing_since is not None:
                self._begin_anew()
                self._report_again, self._reason = self._incident_open, ""

    def _begin_anew(self) -> None:
        """At a new start and after a change, which may have mended it, a channel that fails is probed at once, and then
        by the list from its start; no message is held to have been refused.
        """
        self._failures = 0 if self._failing_since is None else 1
        self._gone = 0
        self._another, self._probe_at = False, 0.0
        self._singly_up_to = 0
        for memory in (self._first_failed, self._refused, self._plain, self._bare):
            memory.clear()
        self._owed.append(lambda: self._outbox.make_due(self.address, self._clock.steady()))

    def _record(self) -> None:
        """Write what is owed to the store, in order; raises StoreError, and what is left is still owed."""
        while self._owed:
            self._owed[0]()
            del self._owed[0]

    def _forget_all_but(self, waiting: Sequence[Delivery]) -> None:
        ids = {delivery.id for delivery in waiting}
        self._first_failed = {each: then for each, then in self._first_failed.items() if each in ids}
        self._refused &= ids
        self._plain &= ids
        self._bare &= ids
        self._unread = {each for each in self._unread if each[0] in ids}

    def _digest_over(self, waiting: Sequence[Delivery]) -> int:
        """More than the window may have to wait for a digest: then they are counted."""
        digest_over = self._settings.channel.digest_over
        if len(waiting) == WINDOW and digest_over >= WINDOW and self._held() > digest_over:
            return 1
        return digest_over

    def _held(self) -> int:
        return self._outbox.waiting_addresses().get(self.address, 0)

    def _log(self, level: int, what: str, **facts: object) -> None:
        event(logger, level, what, **self._about, **facts)

    # --- one parcel --------------------------------------------------------------------------------------------------

    def _deliver(self, parcel: Parcel, waiting: Sequence[Delivery]) -> None:
        told, with_files = parcel.deliveries, False
        try:
            message, count = self._write(parcel)
            told, with_files = told[:count], bool(message.attachments)
            self._settings.send(message)
        except DeliveryError as error:
            self._failed(parcel.form, told, error, waiting, with_files=with_files)
        except Exception as error:  # noqa: BLE001 - a mistake of ours in one message is that message's trouble
            mistake(logger, "a message is not sent", **self._about, notice=told[0].notice.notice)
            reason = f"mistake in the program: {type(error).__name__}"
            refusal = DeliveryError(reason, content=True)
            self._failed(parcel.form, told, refusal, waiting, with_files=with_files)
        else:
            self._passed(told)

    def _write(self, parcel: Parcel) -> tuple[Message, int]:
        """The words, and how many of the parcel's deliveries, from the first, are told in them."""
        notices = [delivery.notice for delivery in parcel.deliveries]
        wall = self._clock.wall()
        if parcel.form is Form.DIGEST:
            return self._words.digest(notices, limit=self._settings.limit, now=wall)
        if parcel.form is Form.PLAIN:
            return self._words.plain(notices[0]), 1
        channel, _, _, limit = self._settings
        message, count = self._words.join(notices, title=channel.title, body=channel.body, limit=limit, now=wall)
        head = parcel.deliveries[0]
        if channel.attach and head.id not in self._bare and (head.attempts + 1) % WITHOUT_FILES:
            message = replace(message, attachments=tuple(self._attachments(parcel.deliveries[:count])))
        return message, count

    def _attachments(self, told: Sequence[Delivery]) -> Iterator[Attachment]:
        """The kept files of what is told, in order, each once: as many as fit into one message."""
        room = self._settings.channel.attach_max
        kept = {(file.key, file.number): file for delivery in told for file in delivery.notice.files}
        for file in kept.values():
            if file.state is not FileState.SAVED or not file.size or file.size > room:
                continue
            content = self._content(told[0], file, room)
            if content:
                room -= len(content)
                yield Attachment(file.name or str(file.number), file.content_type, content)

    def _content(self, head: Delivery, file: File, room: int) -> bytes | None:
        try:
            content, reason = self._files.read(file, max_size=room), "it is not there as it was saved"
        except PlaceError as error:
            content, reason = None, str(error)
        if content is None:
            level = logging.DEBUG if (head.id, file) in self._unread else logging.WARNING
            self._unread.add((head.id, file))
            self._log(level, "file not attached", notice=head.notice.notice, file=file.name, reason=reason)
        return content

    def _passed(self, told: Sequence[Delivery]) -> None:
        self._owed.append(partial(self._outbox.mark_sent, _ids(told), self._clock.wall()))
        self._log(logging.INFO, "sent", notices=",".join(delivery.notice.notice for delivery in told))
        if self._failures:
            self._log(logging.INFO, "channel works again")
            self._owed.append(partial(self._outbox.make_due, self.address, self._clock.steady()))
        self._incidents.delivered(self.address.channel, "sent", len(told))
        self._successes += 1
        if self._gave_up_meanwhile:
            self._incidents.gave_up_meanwhile(
                self.address, self._gave_up_meanwhile, self._reason, told=self._gave_up_told
            )
        self._failures, self._failing_since, self._reason, self._gone = 0, None, "", 0
        self._tried_since = None
        self._another, self._gave_up_meanwhile = False, []
        self._refused.clear()
        self._report_again = False
        if self._incident_open:
            self._incident_open = False
            self._incidents.channel_works(self.address)

    def _failed(
        self,
        form: Form,
        told: Sequence[Delivery],
        error: DeliveryError,
        waiting: Sequence[Delivery],
        *,
        with_files: bool,
    ) -> None:
        head = told[0]
        self._gone = self._gone + 1 if error.gone else 0
        reason = error.in_full
        level = logging.WARNING if reason != self._reason else logging.DEBUG
        self._log(level, "not delivered", notice=head.notice.notice, attempts=head.attempts + 1, reason=reason)
        self._reason = reason
        self._incidents.delivered(self.address.channel, "failed", len(told))
        if form is Form.DIGEST and error.content:
            self._singly_up_to = told[-1].id
            self._owe_failed(told, self._clock.steady(), reason)
            return
        if with_files and (error.content or error.maybe_arrived):
            self._bare.add(head.id)
            if error.content and error.retry_after is None:  # what was refused may be the files: the words go at once
                self._owe_failed(told, self._clock.steady(), reason)
                return
        if error.content:
            self._refused.add(head.id)
        else:
            self._refused.clear()
        others_pass = form is not Form.DIGEST and self._successes > self._first_failed.setdefault(
            head.id, self._successes
        )
        at_fault = is_message_at_fault(
            error, others_pass=others_pass, failing=self._failures > 0, refused=len(self._refused)
        )
        if (at_fault and others_pass) or (error.content and head.attempts > 0):
            self._plain.add(head.id)
        was_another, self._another = self._another, False
        if not at_fault:
            self._channel_failed(told, error, reason, waiting, oldest=not was_another)
        elif others_pass and form is Form.PLAIN:
            self._give_up([head], reason, attempted=True)
        else:
            self._message_failed(told, error, reason, others_pass=others_pass)

    def _message_failed(
        self, told: Sequence[Delivery], error: DeliveryError, reason: str, *, others_pass: bool
    ) -> None:
        """It waits by itself, and the others go on; in its plain form it need not wait."""
        now = self._clock.steady()
        wait = probe_wait(told[0].attempts + 1, self._settings.channel.retry_after, error.retry_after)
        self._owe_failed(told, now if error.content and others_pass else now + wait, reason)
        if not others_pass:
            self._note_failing(now)
        # On its first attempt nothing is too old: it may have waited for the daemon.
        self._give_up_older(now, [each for each in told if each.attempts], reason)

    def _channel_failed(
        self, told: Sequence[Delivery], error: DeliveryError, reason: str, waiting: Sequence[Delivery], *, oldest: bool
    ) -> None:
        now = self._clock.steady()
        if oldest:
            self._failures += 1
            self._another = is_another_to_probe(waiting, told, error, failures=self._failures, now=now)
        wait = probe_wait(self._failures, self._settings.channel.retry_after, error.retry_after)
        self._probe_at = now if self._another else now + wait
        self._owe_failed(told, self._probe_at, reason)
        since, tried_since = self._note_failing(now)
        patience = self._settings.channel.give_up_after
        if now - since >= patience and now - tried_since >= min(patience, LEAST_TRIED):
            while self._give_up_older(now, waiting, reason):
                self._record()
                waiting = self._outbox.waiting(self.address, limit=WINDOW, now=now)

    def _owe_failed(self, told: Sequence[Delivery], due_at: float, reason: str) -> None:
        self._owed.append(partial(self._outbox.mark_failed, _ids(told), due_at=due_at, reason=reason))

    def _note_failing(self, now: float) -> tuple[float, float]:
        """Since when the channel fails, and since when that in this run."""
        self._tried_since = now if self._tried_since is None else self._tried_since
        if self._failing_since is None:
            self._failing_since = now
            self._owed.append(partial(self._outbox.note_failing, self.address, now))
        return self._failing_since, self._tried_since

    def _give_up_older(self, now: float, deliveries: Sequence[Delivery], reason: str) -> bool:
        """Give up those that have waited for `give_up_after`; whether there were any."""
        patience = self._settings.channel.give_up_after
        too_old = [delivery for delivery in deliveries if now - delivery.created_at >= patience]
        if too_old:
            self._give_up(too_old, reason, attempted=False)  # what was tried just now is counted already
        return bool(too_old)

    def _give_up(self, deliveries: Sequence[Delivery], reason: str, *, attempted: bool) -> None:
        wall = self._clock.wall()
        self._owed.append(
            partial(self._outbox.mark_given_up, _ids(deliveries), wall=wall, reason=reason, attempted=attempted)
        )
        ids = ",".join(delivery.notice.notice for delivery in deliveries)
        self._log(logging.ERROR, "given up", deliveries=len(deliveries), notices=ids, reason=reason)
        self._incidents.delivered(self.address.channel, "given_up", len(deliveries))
        # An incident or a test is not: else two channels that fail would tell of each other for ever.
        self._gave_up += [delivery for delivery in deliveries if delivery.notice.key is not None]

    def _report_given_up(self) -> None:
        """Let somebody know, after it was recorded. In an outage once: they follow one by one, as each gets too old."""
        gave_up, self._gave_up = self._gave_up, []
        works = self._failing_since is None
        if gave_up and not self._gave_up_meanwhile:
            self._incidents.gave_up(self.address, gave_up, self._reason, works=works)
            self._gave_up_told = len(gave_up)
        if not works:
            self._gave_up_meanwhile += gave_up

    # --- the channel's incident --------------------------------------------------------------------------------------

    def _incident_at(self) -> float:
        # At a new start that the channel failed before is known, but not yet that it still does.
        if self._failing_since is None or not self._reason:
            return float("inf")
        if self._gone == SURELY_GONE:
            return self._failing_since
        is_known = self._incident_open and not self._report_again
        return float("inf") if is_known else self._failing_since + self._settings.channel.incident_after

    def _report_if_failing_long(self, now: float, waiting: Sequence[Delivery]) -> None:
        if self._failing_since is not None and waiting and now >= self._incident_at():
            held = self._held()
            self._incident_open, self._report_again = True, False
            self._gone += self._gone == SURELY_GONE  # reported now
            self._incidents.channel_fails(self.address, self._failing_since, self._reason, held)


def _ids(deliveries: Sequence[Delivery]) -> list[int]:
    return [delivery.id for delivery in deliveries]
