"""Whether the polls that the watchlist asks for can be made: what `check`, `status` and the log say of an account."""

from __future__ import annotations


def shortfall(*, asked: float, rate: float, concurrency: int, latency: float | None) -> str | None:
    """How far the intervals of an account's watches stretch, and what limits them; None while all can be kept.

    `asked` is polls per second that the intervals add up to, `rate` what is allowed, `latency` how long a poll takes
    in seconds (None: not known), `concurrency` how many may be in flight at once.
    """
    by_rate = asked / rate
    in_flight = asked * (latency or 0.0)
    by_concurrency = in_flight / concurrency
    if max(by_rate, by_concurrency) <= 1.0:
        return None
    if by_rate >= by_concurrency:
        return f"more than `rate`: intervals stretch {by_rate:.3g} times"
    return (
        f"at {latency:.3g} s a poll, {in_flight:,.0f} would be in flight and `concurrency` is {concurrency:,}: "
        f"intervals stretch {by_concurrency:.3g} times"
    )
