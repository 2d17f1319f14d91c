"""How long to wait after a poll: pure questions with answers in seconds."""

from __future__ import annotations

import random
from collections.abc import Callable

from notifier.model import Event, FailedPoll, Failure, Observation, Rules, State

LONGEST_BACKOFF = 300.0
"""Seconds between polls that fail, at most, unless the interval is longer: outputs live only an hour."""
LOST_INTERVAL = 3600.0
"""Seconds between polls of a prediction that the API does not know."""
LONGEST_WORD = 3600.0
"""The API's own word on when to ask again is believed up to this many seconds."""


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
