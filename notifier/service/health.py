"""Whether the daemon makes progress: due polls start, answers and due deliveries are taken, the store can be written.

Two kinds of trouble are told apart. A part that is *stuck* will not go on by itself: only a new start mends it. What
*ails* the daemon keeps it from its work, but a new start would find the same: a full disk, say. Neither is what others
do to it: a slow API holds up no part, and a channel that hangs is given up after a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from notifier.deliver import Lanes
from notifier.logs import event
from notifier.schedule import DueTable
from notifier.service.keeper import Keeper
from notifier.transport import Transport

logger = logging.getLogger(__name__)

POLLS_PATIENCE = 30.0
"""Seconds in which a poll that is due must start: on a busy machine it takes one or two."""
TRANSPORT_PATIENCE = 30.0
"""Seconds in which the transport must look up."""
KEEPER_PATIENCE = 60.0
"""Seconds in which the keeper must take what is handed in: it may take over a list of 100,000 watches just now."""
DELIVERY_PATIENCE = 150.0
"""Seconds that a lane may take for one message: the send is ended after 60, and the store may let it wait."""
ASK_EVERY = 5.0
"""Seconds between two questions to a thread whether it is there."""
BEAT_PATIENCE = 90.0
"""Seconds without a look after which the heartbeat itself is stuck: it reads the configuration, which may be long."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong, in words for people; nothing of either kind: all is well."""

    stuck: tuple[str, ...] = ()
    ailing: tuple[str, ...] = ()


@dataclass(slots=True)
class _Pulse:
    """Asks a thread for a sign of life, one at a time. `ask` has the thread make a call."""

    ask: Callable[[Callable[[], None]], None]
    asked_at: float = float("-inf")
    _owed: bool = field(default=False, init=False)

    def silence(self, now: float) -> float:
        """Seconds for which the thread has owed its sign."""
        if not self._owed and now - self.asked_at >= ASK_EVERY:
            self.asked_at, self._owed = now, True
            self.ask(self._answer)
        return now - self.asked_at if self._owed else 0.0

    def _answer(self) -> None:
        self._owed = False


class Health:
    """Looks at every part, once a beat; `problems` may be asked for from any thread."""

    def __init__(
        self, *, table: DueTable, keeper: Keeper, transport: Transport, lanes: Lanes, monotonic: Callable[[], float]
    ) -> None:
        self._table, self._keeper, self._lanes, self._monotonic = table, keeper, lanes, monotonic
        self._pulses = (
            ("polls: the transport has not looked up", _Pulse(transport.call), TRANSPORT_PATIENCE),
            ("answers: the keeper has taken none", _Pulse(keeper.post), KEEPER_PATIENCE),
        )
        self._late_since: float | None = None
        self._started = 0
        self._looked_at = monotonic()
        self._verdict = Verdict()

    def look(self) -> Verdict:
        """Look at every part. What is new is logged."""
        now = self._monotonic()
        stuck = [
            *self._due_polls(now),
            *(
                f"{what} for {silence:.0f} s"
                for what, pulse, patience in self._pulses
                if (silence := pulse.silence(now)) >= patience
            ),
            *(f"deliveries: channel {name} is stuck" for name in self._lanes.stuck(DELIVERY_PATIENCE)),
        ]
        trouble = self._keeper.store_trouble
        ailing = [] if trouble is None else [f"store {trouble.subject} cannot be written: {trouble.detail}"]
        before, self._verdict = self._verdict, Verdict(tuple(stuck), tuple(ailing))
        if bool(before.stuck) != bool(stuck):
            level, what = (logging.ERROR, "no progress") if stuck else (logging.WARNING, "progress again")
            event(logger, level, what, reason="; ".join(stuck) or None)
        self._looked_at = now
        return self._verdict

    def problems(self) -> Sequence[str]:
        """Why the daemon is not healthy: as of the last look, which must not be long ago."""
        silence = self._monotonic() - self._looked_at
        beat = [f"heartbeat: none for {silence:.0f} s"] if silence >= BEAT_PATIENCE else []
        return [*beat, *self._verdict.stuck, *self._verdict.ailing]

    def _due_polls(self, now: float) -> Sequence[str]:
        started, before = self._table.started, self._started
        self._started = started
        if started != before or not self._table.is_late():
            self._late_since = None
            return []
        if self._late_since is None:
            self._late_since = now
        late = now - self._late_since
        return [f"polls: none that is due was started for {late:.0f} s"] if late >= POLLS_PATIENCE else []
