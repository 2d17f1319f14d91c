"""When a file is tried again, and when it is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import requests

from notifier.model import File, Key
from notifier.outputs.retries import GONE_TRIES, PLACE_WAIT, WAITS, Failure, failure_of, next_attempt_at
from notifier.transport import Kind, TransportError

NOW = 1_000_000.0
FILE = File(Key("here", "x"), 0, "https://a.example/a.png", expires_at=NOW + 3600)


def file(**changes: Any) -> File:
    return replace(FILE, **changes)


def wait(of: File, failure: Failure, chance: float = 0.5) -> float | None:
    due_at = next_attempt_at(of, failure, NOW, lambda: chance)
    return None if due_at is None else due_at - NOW


def response(code: int, reason: str = "", **headers: str) -> requests.Response:
    answer = requests.Response()
    answer.status_code, answer.reason = code, reason
    answer.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return answer


@pytest.mark.parametrize("attempts", range(8))
def test_waits_grow_and_the_last_one_repeats(attempts: int) -> None:
    expected = WAITS[min(attempts, len(WAITS) - 1)]
    assert wait(file(attempts=attempts), Failure("HTTP 503")) == pytest.approx(expected)
    assert wait(file(attempts=attempts), Failure("HTTP 503"), 0.0) == pytest.approx(0.8 * expected)
    assert wait(file(attempts=attempts), Failure("HTTP 503"), 1.0) == pytest.approx(1.2 * expected)


def test_the_hosts_own_word_is_kept_to() -> None:
    assert wait(FILE, Failure("HTTP 429", retry_after=100.0)) == 100.0
    assert wait(FILE, Failure("HTTP 429", retry_after=1.0)) == pytest.approx(WAITS[0])
    assert wait(file(expires_at=None), Failure("HTTP 429", retry_after=1e9)) == 3600.0


def test_the_last_attempt_is_made_when_the_file_expires() -> None:
    assert wait(file(expires_at=NOW + 2), Failure("HTTP 503")) == 2.0
    assert wait(file(expires_at=NOW + 2), Failure("HTTP 503", retry_after=60.0)) == 2.0
    assert wait(file(expires_at=NOW), Failure("HTTP 503")) is None
    assert wait(file(expires_at=NOW - 7200), Failure("HTTP 503")) is None
    assert wait(file(expires_at=None, attempts=1000), Failure("it is empty")) is not None


def test_what_will_not_help_is_not_tried_again() -> None:
    assert wait(FILE, Failure("refused", final=True)) is None
    for attempts in range(GONE_TRIES - 1):
        assert wait(file(attempts=attempts), Failure("HTTP 404", gone=True)) is not None
    assert wait(file(attempts=GONE_TRIES - 1), Failure("HTTP 404", gone=True)) is None


def test_what_the_place_did_not_take_is_tried_every_minute_until_it_expires() -> None:
    assert wait(file(attempts=1000), Failure("full", of_place=True)) == PLACE_WAIT
    assert wait(file(expires_at=None), Failure("full", of_place=True)) == PLACE_WAIT
    assert wait(file(expires_at=NOW), Failure("full", of_place=True)) is None


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (response(404, "Not Found"), Failure("HTTP 404 Not Found", gone=True)),
        (response(403), Failure("HTTP 403", gone=True)),
        (response(410, "Gone\x1b[2J"), Failure("HTTP 410 Gone[2J", gone=True)),
        (response(503, "Busy", Retry_After="17"), Failure("HTTP 503 Busy", retry_after=17.0)),
        (response(429, Retry_After="soon"), Failure("HTTP 429")),
        (response(206), Failure("HTTP 206")),
        (TransportError(Kind.TIMEOUT, "time-out"), Failure("time-out")),
        (TransportError(Kind.BROKEN, "truncated"), Failure("truncated")),
        (TransportError(Kind.REFUSED, "not there"), Failure("not there", final=True)),
        (TransportError(Kind.TOO_LARGE, "too large"), Failure("too large", final=True)),
        (TransportError(Kind.REQUEST, "cannot be sent"), Failure("cannot be sent", final=True)),
    ],
)
def test_what_an_answer_means(answer: requests.Response | TransportError, failure: Failure) -> None:
    assert failure_of(answer, 1_700_000_000.0) == failure
