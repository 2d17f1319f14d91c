"""What to send next to one address, and when to try again: pure questions about the rows that wait."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from notifier.model import Delivery

OLDEST_PROBES = 3
"""So many probes in a row are the oldest delivery's; the next one is another's, in case only the oldest is refused."""


class Form(StrEnum):
    """How the words of a parcel are written."""

    WHOLE = "whole"
    """The notices of one prediction, in order."""
    DIGEST = "digest"
    """A list of many predictions' notices, as many as fit."""
    PLAIN = "plain"
    """One notice in a short form that nothing should object to."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """Deliveries that go out as one message."""

    deliveries: tuple[Delivery, ...]
    form: Form


def next_parcel(
    waiting: Sequence[Delivery],
    *,
    now: float,
    digest_over: int,
    failures: int = 0,
    probe_at: float = 0.0,
    plain: AbstractSet[int] = frozenset(),
    singly: bool = False,
    refusing: bool = False,
) -> Parcel | float | None:
    """The parcel to send now, the time at which to ask again, or None while nothing waits.

    `waiting` is in the order of the deliveries' ids. `failures` are the address' failed attempts in a row: while there
    are any, nothing is sent before `probe_at`, and then one group only. `plain` holds the deliveries to be written in
    the plain form; `singly` forbids a digest. `refusing` is whether the last failure spoke of its message: then each
    probe is another's, because any of them may pass.
    """
    if not waiting:
        return None
    groups = _by_prediction(waiting)
    if failures:
        if now < probe_at:
            return probe_at
        another = failures if refusing else int(failures % (OLDEST_PROBES + 1) == OLDEST_PROBES)
        return _whole(groups[another % len(groups)], plain)
    # A later notice of a prediction waits for the earlier one: the oldest decides for its group.
    due = [group for group in groups if group[0].due_at <= now]
    if not due:
        return min(group[0].due_at for group in groups)
    for_digest = [delivery for group in due for delivery in group if group[0].id not in plain]
    if len(for_digest) > digest_over and not singly:
        return Parcel(tuple(sorted(for_digest, key=lambda delivery: delivery.id)), Form.DIGEST)
    return _whole(due[0], plain)


def _by_prediction(waiting: Sequence[Delivery]) -> list[list[Delivery]]:
    groups: dict[object, list[Delivery]] = {}
    for delivery in waiting:
        groups.setdefault(delivery.notice.key or delivery.notice.notice, []).append(delivery)
    return list(groups.values())


def _whole(group: list[Delivery], plain: AbstractSet[int]) -> Parcel:
    if group[0].id in plain:
        return Parcel((group[0],), Form.PLAIN)
    return Parcel(tuple(group), Form.WHOLE)


def probe_wait(
    failures: int,
    waits: Sequence[float],
    retry_after: float | None = None,
    chance: Callable[[], float] = random.random,
) -> float:
    """Seconds until the next attempt after so many failed ones: from the list, its last one repeating, 20 % jitter.

    The channel's own word is kept to when it is longer, up to an hour.
    """
    wait = waits[min(failures, len(waits)) - 1] * (0.8 + 0.4 * chance())
    return max(wait, min(retry_after or 0.0, 3600.0))
