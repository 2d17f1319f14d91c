"""What to send next to one address, when to try again, and whose fault a failure is: pure questions with answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from notifier.errors import DeliveryError
from notifier.model import Delivery

OLDEST_PROBES = 3
"""So many probes in a row are the oldest delivery's; right after the last one follows another's, in case only the
oldest is refused. Right after, so that when the channel works again the oldest is first."""
MOST_REFUSED = 5
"""While no other passes, so many messages may be refused for what is in them, each by its own fault; one more, and it
is the channel that takes nothing."""
SURELY_GONE = 2
"""So many answers in a row that the address is gone are believed: a service that is being mended says so once as well.
Then it is an incident at once, because no waiting brings the address back."""
LONGEST_WORD = 3600.0
"""Seconds up to which a channel's own word on when to try again is kept to."""


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
    another: bool = False,
    refusing: bool = False,
) -> Parcel | float | None:
    """The parcel to send now, the time at which to ask again, or None while nothing waits.

    `waiting` is in the order of the deliveries' ids. `failures` are the address' failed attempts in a row: while there
    are any, nothing is sent before `probe_at`, and then one group only: the oldest, or `another`. `plain` holds the
    deliveries to be written in the plain form; `singly` forbids a digest. `refusing` is whether the channel fails by
    refusing one message after the other for its content: then each probe is another's, because any of them may pass.
    """
    if not waiting:
        return None
    if failures and now < probe_at:
        return probe_at
    groups = _by_prediction(waiting)
    # A later notice of a prediction waits for the earlier one: the oldest decides for its group.
    due = [group for group in groups if group[0].due_at <= now]
    if not due:
        return min(group[0].due_at for group in groups)
    if failures:
        return _whole(due[failures % len(due)] if refusing else _prober(due, failures, another=another), plain)
    for_digest = [delivery for group in due for delivery in group if group[0].id not in plain]
    if len(for_digest) > digest_over and not singly:
        return Parcel(tuple(sorted(for_digest, key=lambda delivery: delivery.id)), Form.DIGEST)
    return _whole(due[0], plain)


def _by_prediction(waiting: Sequence[Delivery]) -> list[list[Delivery]]:
    groups: dict[object, list[Delivery]] = {}
    for delivery in waiting:
        groups.setdefault(delivery.notice.key or delivery.notice.notice, []).append(delivery)
    return list(groups.values())


def _prober(due: list[list[Delivery]], failures: int, *, another: bool) -> list[Delivery]:
    """The oldest; or one of the others, each time the next one."""
    if not another or len(due) == 1:
        return due[0]
    return due[1 + (failures // OLDEST_PROBES - 1) % (len(due) - 1)]


def _whole(group: list[Delivery], plain: AbstractSet[int]) -> Parcel:
    if group[0].id in plain:
        return Parcel((group[0],), Form.PLAIN)
    return Parcel(tuple(group), Form.WHOLE)


def is_another_to_probe(
    waiting: Sequence[Delivery], tried: Sequence[Delivery], error: DeliveryError, *, failures: int, now: float
) -> bool:
    """Whether, after so many failures, only what was tried may be refused, and there is another to show it.

    What the channel says of itself, when to come back and that it is gone, is not about what was tried.
    """
    if failures % OLDEST_PROBES or error.gone or error.content or error.retry_after is not None:
        return False
    return any(delivery.due_at <= now and delivery not in tried for delivery in waiting)


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
    return max(wait, min(retry_after or 0.0, LONGEST_WORD))


def is_message_at_fault(error: DeliveryError, *, others_pass: bool, failing: bool, refused: int) -> bool:
    """Whether a failed attempt is the message's own trouble, and the others go on, or the channel's.

    `others_pass`: the channel has taken another since this one first failed. `failing`: it is known to take nothing at
    the moment. `refused`: how many different messages, this one included, were refused for their content since the
    channel took one, or failed otherwise.
    """
    if error.gone:
        return False
    if error.content:
        return others_pass or refused <= MOST_REFUSED
    # Whoever says when to come back (too many requests) does not speak about the message.
    return others_pass and not failing and error.retry_after is None
