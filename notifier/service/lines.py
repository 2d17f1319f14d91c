"""The lines of the log about polls: one for each, loud only where there is news."""

from __future__ import annotations

import logging

from notifier.decide import Decision
from notifier.logs import event
from notifier.model import FailedPoll, Observation, State, Watch

logger = logging.getLogger(__name__)


def log_decision(watch: Watch, before: State, seen: Observation | FailedPoll, decision: Decision) -> None:
    """Say what a poll has shown of a watch, and why it is told or not: news at the level info, the rest at debug."""
    api, prediction_id = watch.key
    notice = decision.notice
    if notice is not None:
        event(logger, logging.INFO, notice.event.value, api=api, id=prediction_id, before=notice.before,
              status=notice.status, notice=notice.notice, why=decision.why)  # fmt: skip
    elif isinstance(seen, FailedPoll):
        # A failure that repeats is logged when it changes, not each time; a whole account's was logged as such.
        news = seen.reason != before.failure and decision.after.failure == seen.reason
        level = logging.INFO if news else logging.DEBUG
        event(logger, level, "poll failed", api=api, id=prediction_id, reason=seen.reason, why=decision.why)
    else:
        level = logging.INFO if decision.record or "not believed" in decision.why else logging.DEBUG
        event(logger, level, "polled", api=api, id=prediction_id, status=seen.status, why=decision.why)
    if isinstance(seen, Observation) and seen.remark:
        event(logger, logging.WARNING, "odd answer", api=api, id=prediction_id, remark=seen.remark)
