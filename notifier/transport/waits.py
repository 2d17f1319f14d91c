"""Retry-After: how long a server asks to be left alone."""

from __future__ import annotations

import re
from email.utils import mktime_tz, parsedate_tz

_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?")


def seconds_in(text: str) -> float | None:
    """A number of seconds, as headers have them; None for anything else."""
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds from `now` (Unix seconds) until when `Retry-After` asks one to wait, which is a number or a date (RFC
    9110, 10.2.3); None without one that can be read.
    """
    if value is None:
        return None
    seconds = seconds_in(value)
    if seconds is not None:
        return seconds
    if not value.isascii() or len(value) > 64:
        return None
    try:
        fields = parsedate_tz(value)
        return None if fields is None else max(0.0, mktime_tz(fields) - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
