"""Values for people: durations, moments and numbers as a message writes them."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import humanize


class Metrics(dict[str, float]):
    """The metrics by name; as a string, the first few for people: `predict time 3.2 s, image count 4`."""

    def __str__(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {_metric(name, self[name])}" for name in list(self)[:5])


def duration(seconds: float) -> str:
    """`3.2 seconds`, `2 minutes and 3 seconds`, `1 day and 4 hours`: as exact as its size deserves; never negative."""
    seconds = max(0.0, seconds)
    if not math.isfinite(seconds) or seconds > 1e10:
        return "ages"
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + (" second" if seconds == 1 else " seconds")
    unit, step = ("seconds", 1) if seconds < 3600 else ("minutes", 60) if seconds < 86400 else ("hours", 3600)
    return humanize.precisedelta(round(seconds / step) * step, minimum_unit=unit, format="%0.0f")


def moment(unix: float) -> str | None:
    """`2026-11-22 14:05 UTC`; None for a time no calendar has."""
    try:
        return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, OSError, ValueError):
        return None


def until(expires: float | None, now: float) -> str | None:
    """`2026-11-22 14:05 UTC (in 58 minutes)`, or how long ago that was."""
    at = None if expires is None else moment(expires)
    if expires is None or at is None:
        return None
    left = expires - now
    away = humanize.naturaldelta(abs(left))
    return f"{at} (in {away})" if left >= 0 else f"{at} ({away} ago)"


def file_size(size: int) -> str:
    """`12.4 MB`, in powers of a thousand."""
    return humanize.naturalsize(max(0, min(size, 2**63)))


def _metric(name: str, value: float) -> str:
    if name.endswith("_time") or name.startswith("time_"):
        return f"{value:.3g} s" if value < 100 else f"{value:,.0f} s"
    return humanize.intcomma(value, ndigits=None if value == int(value) else 2).removesuffix(".0")
