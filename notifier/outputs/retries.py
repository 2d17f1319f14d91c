"""What an attempt at a file came to, and whether and when another follows: pure questions with answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from requests import Response

from notifier.model import File
from notifier.transport import Answer, Kind, TransportError, retry_after

WAITS = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds between attempts, with 20 % jitter; the last one repeats."""
GONE_TRIES = 3
"""So many attempts at a file that its host does not have (any more): one just made may take some seconds to appear."""
PLACE_WAIT = 60.0
"""Seconds until a file is tried again that the place did not take."""
LONGEST_WORD = 3600.0
"""Seconds up to which a host's own word on when to ask again is kept to."""

_GONE = frozenset({401, 403, 404, 410, 451})
_FINAL = frozenset({Kind.REFUSED, Kind.TOO_LARGE, Kind.REQUEST})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt brought nothing. `reason` is for people: no URL, no secret."""

    reason: str
    final: bool = False
    """Another attempt will not help."""
    gone: bool = False
    """The host says that there is no such file, or not for us: more than a few attempts will not help."""
    retry_after: float | None = None
    """The host's own word on when to ask again, in seconds."""
    of_place: bool = False
    """It is the place that would not have it, not the host that would not give it."""


def failure_of(answer: Answer, now: float) -> Failure:
    """What an answer means that did not bring the file; `now` is wall time."""
    if isinstance(answer, TransportError):
        return Failure(answer.reason, final=answer.kind in _FINAL)
    code = answer.status_code
    reason = f"HTTP {code} {_words(answer)}".rstrip()
    if code in _GONE:
        return Failure(reason, gone=True)
    return Failure(reason, retry_after=retry_after(answer.headers.get("Retry-After"), now))


def _words(answer: Response) -> str:
    return "".join(character for character in answer.reason or "" if character.isprintable())[:80]


def next_attempt_at(
    file: File, failure: Failure, now: float, chance: Callable[[], float] = random.random
) -> float | None:
    """When (steady) to try a file again of which an attempt has just failed; None: it is lost.

    The last attempt is made when the file expires.
    """
    if failure.final or (failure.gone and file.attempts + 1 >= GONE_TRIES):
        return None
    if file.expires_at is not None and now >= file.expires_at:
        return None
    wait = WAITS[min(file.attempts, len(WAITS) - 1)] * (0.8 + 0.4 * chance())
    if failure.of_place:
        wait = PLACE_WAIT
    due_at = now + max(wait, min(failure.retry_after or 0.0, LONGEST_WORD))
    return due_at if file.expires_at is None else min(due_at, file.expires_at)
