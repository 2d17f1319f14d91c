"""Points in time and waits, in all the forms the API gives them; what cannot be read is None, never an error."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from notifier.transport import retry_after as header_retry_after
from notifier.transport import seconds_in

BELIEVED = 3600.0
"""No wait that the API asks for is believed to be longer, in seconds: outputs vanish an hour after completion."""

_YEAR_10000 = 253_402_300_800.0
_DURATION = (
    r"(?:[0-9]{1,6}(?:\.[0-9]{1,6})?\s?(?:ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?)(?![a-z])\s?)+"
)
_PART = re.compile(r"([0-9.]+)\s?([a-z]+)", re.I)
_PROSE = (
    # "Your rate limit resets in ~30s", "Expected available in 1 second", "Please try again in 1m30s", "Retry after 5 s"
    re.compile(rf"\b(?:available|resets?|again|retry|wait)\b[^.\n0-9]{{0,30}}(?P<wait>{_DURATION})", re.I | re.A),
    re.compile(rf"\bin (?:about |~ ?)?(?P<wait>{_DURATION})", re.I | re.A),
)
_UNITS = {"ms": 0.001, "mil": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "hou": 3600.0}


def timestamp(value: Any) -> float | None:
    """Unix seconds of an RFC 3339 text (0 to 9 fractional digits) or of a number of seconds; 0 is none.

    None also for what lies before 1970 or after the year 9999, which no calendar of ours could show.
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip().upper())
            seconds: float | None = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    else:
        seconds = finite(value)
    return seconds if seconds is not None and 0 < seconds < _YEAR_10000 else None


def finite(value: Any) -> float | None:
    """A JSON number as a float; None for anything else, and for one too large."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def retry_after(http_status: int, headers: Mapping[str, str], body: Any, now: float) -> float | None:
    """The API's own word on when to ask again, in seconds from `now` (Unix seconds); None if there is none.

    Asked in this order: Retry-After (RFC 9110, 10.2.3: seconds or a date), `retry_after` in the body, what the body
    says in prose (only where the answer is about waiting: 429 and 503), and `ratelimit-reset` on 429. Each is believed
    up to an hour; what is negative or garbage is passed over.
    """
    levels = [body, body.get("error"), body.get("detail")] if isinstance(body, dict) else []
    objects = [level for level in levels if isinstance(level, dict)]
    waits = [header_retry_after(headers.get("Retry-After"), now)]
    waits += [_seconds(value.get("retry_after")) for value in objects]
    if http_status in (429, 503):
        texts = [value.get(word) for value in objects for word in ("detail", "message", "error", "msg", "title")]
        waits += [_prose(text) for text in texts if isinstance(text, str)]
    if http_status == 429:
        waits.append(_seconds(headers.get("ratelimit-reset")))
    return next((min(wait, BELIEVED) for wait in waits if wait is not None), None)


class Budget(NamedTuple):
    """How many more requests the API grants, and for how many seconds."""

    remaining: float
    seconds: float


def budget(headers: Mapping[str, str]) -> Budget | None:
    """What `ratelimit-remaining` and `ratelimit-reset` say, which Replicate sends with each answer; None where they
    do not, or nothing that can be read. Believed up to an hour.
    """
    remaining, seconds = _seconds(headers.get("ratelimit-remaining")), _seconds(headers.get("ratelimit-reset"))
    if remaining is None or not seconds:
        return None
    return Budget(remaining, min(seconds, BELIEVED))


def _seconds(value: Any) -> float | None:
    if isinstance(value, str):
        return seconds_in(value)
    number = finite(value)
    return number if number is not None and number >= 0 else None


def _prose(text: str) -> float | None:
    text = text[:2000]
    found = next((found for pattern in _PROSE if (found := pattern.search(text))), None)
    if found is None:
        return None
    parts = _PART.findall(found["wait"].lower())
    return sum(float(number) * _unit(unit) for number, unit in parts)


def _unit(word: str) -> float:
    return _UNITS.get(word) or _UNITS[word[:3]]
