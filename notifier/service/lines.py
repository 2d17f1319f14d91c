"""The lines of the log about polls: one for each, loud only where there is news."""

from __future__ import annotations

import logging
import re

from notifier.decide import Decision
from notifier.logs import event
from notifier.model import FailedPoll, Key, Observation, State, Watch

logger = logging.getLogger(__name__)

_NUMBERED = re.compile(r"(?<!HTTP )\b[\w-]*\d[\w-]*")
"""A number, a request's id, a time: what differs between two answers that say the same."""


class PollLines:
    """Says what a poll has shown of a watch, and why it is told or not. For one thread.

    News are logged at the level info, the rest at debug. What only repeats itself is no news: a failure, a status that
    is not believed, an oddity in the answer.
    """

    def __init__(self) -> None:
        self._odd: dict[Key, tuple[str | None, str | None]] = {}
        """What was odd about the last answer: a status that was not believed, a remark."""

    def log(self, watch: Watch, before: State, seen: Observation | FailedPoll, decision: Decision) -> None:
        """Log one poll."""
        api, prediction_id = watch.key
        notice = decision.notice
        if notice is not None:
            event(logger, logging.INFO, notice.event.value, api=api, id=prediction_id, before=notice.before,
                  status=notice.status, notice=notice.notice, why=decision.why)  # fmt: skip
        elif isinstance(seen, FailedPoll):
            # A whole account's failure was logged as such, and changes nothing of the watch.
            news = decision.after.failure == seen.reason and not _is_same(seen.reason, before.failure)
            level = logging.INFO if news else logging.DEBUG
            event(logger, level, "poll failed", api=api, id=prediction_id, reason=seen.reason, why=decision.why)
        if isinstance(seen, Observation):
            self._log_answer(watch.key, before, seen, decision)

    def _log_answer(self, key: Key, before: State, seen: Observation, decision: Decision) -> None:
        disbelief = decision.why if "not believed" in decision.why else None
        known_disbelief, known_remark = self._odd.pop(key, (None, None))
        if disbelief or seen.remark:
            self._odd[key] = (disbelief, seen.remark)
        if decision.notice is None:
            news = decision.record or before.failures or (disbelief and disbelief != known_disbelief)
            level = logging.INFO if news else logging.DEBUG
            event(logger, level, "polled", api=key.api, id=key.id, status=seen.status, why=decision.why)
        if seen.remark:
            level = logging.DEBUG if _is_same(seen.remark, known_remark) else logging.WARNING
            event(logger, level, "odd answer", api=key.api, id=key.id, remark=seen.remark)

    def forget(self, key: Key) -> None:
        """It is not polled any more."""
        self._odd.pop(key, None)


def _is_same(reason: str, known: str | None) -> bool:
    return known is not None and _NUMBERED.sub("#", reason) == _NUMBERED.sub("#", known)
