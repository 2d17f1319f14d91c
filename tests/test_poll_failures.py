"""What an answer says that is no prediction: which failure, why, and when to ask again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notifier.model import FailedPoll, Failure, Secret
from notifier.poll import read
from notifier.transport import Kind, TransportError
from tests.standins.api import Answer, as_response, comet_error, plain, prediction, problem

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT
LINK = "https://replicate.delivery/xezq/out-0.png"


def failed(answer: Answer | Any) -> FailedPoll:
    """What is read of an answer that brings no observation; of anything else, as the JSON of an HTTP 200."""
    answer = answer if isinstance(answer, Answer) else Answer(200, answer)
    result = read(as_response(answer), "x", NOW)
    assert isinstance(result, FailedPoll), result
    return result


# --- errors inside HTTP 200 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "failure", "reason"),
    [
        ({"code": "task_not_exist", "message": "task_not_exist", "data": None}, Failure.NOT_FOUND, "task_not_exist"),
        ({"code": "task_not_exist", "message": "", "data": None}, Failure.NOT_FOUND, "task_not_exist"),
        (comet_error(200, "task_not_exist"), Failure.NOT_FOUND, "task_not_exist"),
        (comet_error(200, "no such task", "task_not_exist"), Failure.NOT_FOUND, "no such task"),
        (comet_error(200, "upstream (request id: 2026)"), Failure.SERVER, "upstream (request id: 2026)"),
        (comet_error(200, "invalid token", None), Failure.SERVER, "invalid token"),
        (comet_error(200, "no", "invalid_request"), Failure.SERVER, "no"),
        ({"error": "boom"}, Failure.SERVER, "boom"),
        ({"id": "x", "error": "boom"}, Failure.SERVER, "boom"),
        ({"error": {"code": 7}}, Failure.SERVER, "7"),
        ({"code": "quota", "message": "quota is used up", "data": None}, Failure.SERVER, "quota is used up"),
        ({"code": "quota", "message": "", "data": None}, Failure.SERVER, "quota"),
        ({"code": "quota", "message": "no", "data": {"status": 5}}, Failure.SERVER, "no"),
        ({"title": "Unauthenticated", "detail": "You did not", "status": 401}, Failure.SERVER, "You did not"),
        ({"detail": "Not found", "status": 404}, Failure.SERVER, "Not found"),
        ({"status": "error", "message": "boom"}, Failure.SERVER, "boom"),
        ({"status": "failed", "msg": "boom"}, Failure.SERVER, "boom"),
        ({"description": "quota_not_enough", "type": "upstream_error", "code": 4}, Failure.SERVER, "quota_not_enough"),
        ({"header": {"message": "deep"}}, Failure.SERVER, "deep"),
    ],
)
def test_an_error_inside_a_success_is_a_failed_poll(body: Any, failure: Failure, reason: str) -> None:
    assert failed(body) == FailedPoll(failure, f"an error inside HTTP 200: {reason}", 200)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (Answer(200, b""), "an empty answer"),
        (Answer(204, b""), "an empty answer"),
        (Answer(200, b" \r\n"), "an empty answer"),
        (Answer(200, b"null"), "a JSON null instead of a prediction"),
        (Answer(200, b"[]"), "a JSON list instead of a prediction"),
        (Answer(200, b'"succeeded"'), "a JSON string instead of a prediction"),
        (Answer(200, b"5"), "a JSON number instead of a prediction"),
        (Answer(200, b"true"), "a JSON boolean instead of a prediction"),
        ([prediction("x", "succeeded")], "a JSON list instead of a prediction"),
        (Answer(200, b"<!doctype html><title>Comet &amp;\n API</title>"), "an HTML page (Comet & API)"),
        (Answer(200, b"  <html>"), "an HTML page"),
        (Answer(200, b"upstream says no"), "not JSON: upstream says no"),
        (Answer(200, b'{"id": "x", "status": "succ'), "JSON that is broken off or cannot be read"),
        (Answer(200, b'{"id": "x", "status": "succeeded"} {}'), "JSON that is broken off or cannot be read"),
        (Answer(200, b'{"id": "x", "status": "succeeded", "n": NaN}'), "JSON that is broken off or cannot be read"),
        (Answer(200, b'{"id": "x", "status": "failed", "n": -Infinity}'), "JSON that is broken off or cannot be read"),
        (Answer(200, b'{"id": "x", "status": ' + b"9" * 100_000 + b"}"), "a prediction whose status is a JSON number"),
        (Answer(200, b'{"id": "x", "n": ' + b"9" * 100_000 + b', "status": "succ'),
         "JSON that is broken off or cannot be read"),
        (Answer(200, b'{"id": "x", "n": ' + b"9" * 100_000 + b', "status": "failed", "m": NaN}'),
         "JSON that is broken off or cannot be read"),
        (Answer(200, b'{"id": "x", "status": "failed", "n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
         "JSON that is broken off or cannot be read"),
        (Answer(200, b'{"id": "x", "status": "failed", "error": "\xff"}'), "not UTF-8"),
        (Answer(200, '{"id": "x", "status": "failed"}'.encode("utf-16")), "not UTF-8"),
        (Answer(200, b'{"a": [' + b"{}," * 3_000_000 + b"{}]}"), "too large: JSON with too many values in it"),
        ({}, "JSON that is no prediction"),
        ({"id": "x"}, "JSON that is no prediction"),
        ({"id": "x", "output": LINK, "message": "?"}, "JSON that is no prediction"),
        ({"status": "odd"}, "JSON that is no prediction"),
        ({"id": "x", "status": None, "error": None}, "a prediction whose status is a JSON null"),
        ({"id": "x", "status": 3}, "a prediction whose status is a JSON number"),
        ({"id": "x", "status": ["succeeded"]}, "a prediction whose status is a JSON list"),
        ({"id": "x", "status": " \x00 "}, "a prediction whose status is blank"),
        ({"task_id": "x", "status": " "}, "a task whose status is blank"),
        ({"code": "success", "message": "", "data": None}, "JSON that is no prediction"),
        ({"code": "success", "message": "", "data": {}}, "JSON that is no prediction"),
        ({"code": "success", "message": "", "data": [prediction("x", "succeeded")]}, "JSON that is no prediction"),
        ({"code": "success", "data": {"task_id": "x", "status": 3, "data": {"status": 4}}},
         "JSON that is no prediction"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_what_is_neither_a_prediction_nor_an_error_is_malformed(body: Any, reason: str) -> None:
    failure = failed(body)
    assert (failure.failure, failure.reason) == (Failure.MALFORMED, reason)


# --- other codes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "failure", "reason"),
    [
        (problem(401, "Unauthenticated", "You did not pass a valid authentication token"), Failure.REFUSED,
         "HTTP 401 Unauthenticated: You did not pass a valid authentication token"),
        (problem(402, "Insufficient credit", "Top up"), Failure.REFUSED, "HTTP 402 Insufficient credit: Top up"),
        (problem(402), Failure.REFUSED, 'HTTP 402 Payment Required: {"status":402}'),
        (comet_error(403, "no access"), Failure.REFUSED, "HTTP 403 Forbidden: no access"),
        (comet_error(401, "task_not_exist"), Failure.REFUSED, "HTTP 401 Unauthorized: task_not_exist"),
        (problem(404, detail="No prediction matches the given query."), Failure.NOT_FOUND,
         "HTTP 404 Not Found: No prediction matches the given query."),
        (Answer(404, b"<!doctype html><title>Nothing here</title>"), Failure.NOT_FOUND,
         "HTTP 404 Not Found: an HTML page (Nothing here)"),
        (comet_error(400, "task_not_exist"), Failure.NOT_FOUND, "HTTP 400 Bad Request: task_not_exist"),
        (Answer(500, {"code": "task_not_exist", "message": "gone", "data": None}), Failure.NOT_FOUND,
         "HTTP 500 Internal Server Error: gone"),
        (problem(429, detail="Request was throttled."), Failure.THROTTLED,
         "HTTP 429 Too Many Requests: Request was throttled."),
        (problem(408), Failure.SERVER, 'HTTP 408 Request Timeout: {"status":408}'),
        (problem(409, "Conflict"), Failure.SERVER, "HTTP 409 Conflict"),
        (Answer(500), Failure.SERVER, "HTTP 500 Internal Server Error"),
        (Answer(500, b"upstream connect error"), Failure.SERVER,
         "HTTP 500 Internal Server Error: upstream connect error"),
        (comet_error(500, "bad", "invalid_request"), Failure.CLIENT, "HTTP 500 Internal Server Error: bad"),
        (comet_error(502, "bad", "invalid_request"), Failure.SERVER, "HTTP 502 Bad Gateway: bad"),
        (comet_error(503, "no available channel", "model_not_found"), Failure.SERVER,
         "HTTP 503 Service Unavailable: no available channel"),
        (Answer(502, b"<html>\n<head><title>502 Bad Gateway</title>"), Failure.SERVER,
         "HTTP 502 Bad Gateway: an HTML page (502 Bad Gateway)"),
        (Answer(524, b"error code: 524"), Failure.SERVER, "HTTP 524: error code: 524"),
        (Answer(599, b""), Failure.SERVER, "HTTP 599"),
        (Answer(999, b"[]"), Failure.SERVER, "HTTP 999"),
        (Answer(500, b'"out of order"'), Failure.SERVER, "HTTP 500 Internal Server Error: out of order"),
        (Answer(400, b'["one", "two"]'), Failure.CLIENT, "HTTP 400 Bad Request: one; two"),
        (Answer(400, {"message": "odd"}), Failure.CLIENT, "HTTP 400 Bad Request: odd"),
        (Answer(405, {"error": {"message": "odd", "type": "one_api_error"}}), Failure.CLIENT,
         "HTTP 405 Method Not Allowed: odd"),
        (Answer(410, {"error": "gone"}), Failure.CLIENT, "HTTP 410 Gone: gone"),
        (problem(422, "Invalid version or not permitted", "No"), Failure.CLIENT,
         "HTTP 422 Invalid version or not permitted: No"),
        (Answer(400, {"detail": [{"loc": ["id"], "msg": "too long"}, {"msg": "odd"}]}), Failure.CLIENT,
         "HTTP 400 Bad Request: too long; odd"),
        (Answer(400, {"description": "quota_not_enough", "code": 4}), Failure.CLIENT,
         "HTTP 400 Bad Request: quota_not_enough"),
        (Answer(400, {"header": {"code": 5, "message": "deep"}}), Failure.CLIENT, "HTTP 400 Bad Request: deep"),
        (Answer(400, {"err": "short"}), Failure.CLIENT, "HTTP 400 Bad Request: short"),
        (Answer(400, {"error_msg": "long"}), Failure.CLIENT, "HTTP 400 Bad Request: long"),
        (Answer(400, {"error": "invalid", "error_description": "expired"}), Failure.CLIENT,
         "HTTP 400 Bad Request: expired"),
        (plain("x", "succeeded").with_(status=500), Failure.SERVER, None),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_the_code_comes_first_and_the_reason_is_for_people(
    answer: Answer, failure: Failure, reason: str | None
) -> None:
    result = failed(answer)
    assert (result.failure, result.http_status) == (failure, answer.status)
    assert reason is None or result.reason == reason


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("https://www.cometapi.com/login?next=secret#x", "redirected to https://www.cometapi.com"),
        ("https://me:secret@example.com:8443/a", "redirected to https://example.com:8443"),
        ("/elsewhere?secret", "redirected"),
        ("", "redirected"),
        ("https://[broken/secret", "redirected"),
        ("https://example.com:port/secret", "redirected"),
        (None, "redirected"),
    ],
)
def test_a_redirect_names_the_host_alone(location: str | None, where: str) -> None:
    result = failed(Answer(302, headers={} if location is None else {"Location": location}))
    assert result == FailedPoll(Failure.REDIRECT, f"HTTP 302 Found: {where}; is base_url right?", 302)


@pytest.mark.parametrize("code", [300, 301, 302, 303, 304, 307, 308])
def test_every_redirect_is_one_whatever_its_body(code: int) -> None:
    assert failed(plain("x", "succeeded").with_(status=code)).failure is Failure.REDIRECT


NO_ANSWER = {
    Kind.RESOLVE: Failure.OFFLINE,
    Kind.NO_ROUTE: Failure.OFFLINE,
    Kind.TIMEOUT: Failure.SILENT,
    Kind.MALFORMED: Failure.MALFORMED,
    Kind.TOO_LARGE: Failure.MALFORMED,
}


@pytest.mark.parametrize(
    ("kind", "failure"),
    [(kind, NO_ANSWER.get(kind, Failure.NETWORK)) for kind in Kind],
)
def test_an_exchange_without_an_answer_is_a_failed_poll(kind: Kind, failure: Failure) -> None:
    assert read(TransportError(kind, "so it was"), "x", NOW) == FailedPoll(failure, "so it was")


# --- reasons are harmless ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"detail": "a\nb\x00\x1b[31mc\u202e\ud800d\te"}, "a bcd e"),
        ({"detail": "see https://me:pw@a.example/x?sig=1#y, please"}, "see https://a.example/x please"),
        ({"detail": "bad input data:image/png;base64,AAAA+/= here"}, "bad input data:… here"),
        ({"detail": "x" * 1000}, "x" * 267 + "…"),
        (b"text https://a.example/x?sig=1", "text https://a.example/x"),
    ],
)
def test_a_reason_is_one_short_harmless_line(body: Any, reason: str) -> None:
    result = failed(Answer(500, body))
    assert result.reason == f"HTTP 500 Internal Server Error: {reason}"
    assert len(result.reason) <= 300


@pytest.mark.parametrize("token", ["r8_secret-token", "sk/with/slashes=="])
@pytest.mark.parametrize("escaped", [False, True])
def test_a_repeated_token_is_taken_out(token: str, escaped: bool) -> None:
    body = json.dumps({"detail": f"invalid token {token}."}).encode()
    body = body.replace(b"/", b"\\/") if escaped else body
    result = read(as_response(Answer(500, body)), "x", NOW, token=Secret(token))
    assert isinstance(result, FailedPoll)
    assert result.reason == "HTTP 500 Internal Server Error: invalid token ***."


# --- when to ask again -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "body", "wait"),
    [
        ({}, {"detail": "no"}, None),
        ({"Retry-After": "7"}, {}, 7),
        ({"retry-after": " 1.5 "}, {}, 1.5),
        ({"Retry-After": "0"}, {}, 0),
        ({"Retry-After": "100000000000"}, {}, 3600),
        ({"Retry-After": "Sun, 06 Nov 1994 08:50:37 GMT"}, {}, 60),
        ({"Retry-After": "Sunday, 06-Nov-94 08:50:37 GMT"}, {}, 60),
        ({"Retry-After": "Sun Nov  6 08:50:37 1994"}, {}, 60),
        ({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}, {}, 0),
        ({"Retry-After": "Sat, 05 Nov 1994 08:49:37 GMT"}, {}, 0),
        ({"Retry-After": "Sun, 06 Nov 2094 08:49:37 GMT"}, {}, 3600),
        ({"Retry-After": "-5"}, {}, None),
        ({"Retry-After": "soon"}, {}, None),
        ({"Retry-After": "1e11"}, {}, None),
        ({"Retry-After": "\u0665"}, {}, None),
        ({"Retry-After": "Sun, 99 Nov 99999 99:99:99 GMT"}, {}, None),
        ({"Retry-After": ""}, {"retry_after": 5}, 5),
        ({"Retry-After": "9"}, {"retry_after": 5}, 9),
        ({}, {"retry_after": 2.5}, 2.5),
        ({}, {"retry_after": "12"}, 12),
        ({}, {"retry_after": 99999}, 3600),
        ({}, {"retry_after": -1}, None),
        ({}, {"retry_after": True}, None),
        ({}, {"retry_after": None, "error": {"retry_after": 4}}, 4),
        ({}, {"detail": {"retry_after": 3}}, 3),
        ({}, {"retry_after": 5, "detail": "Your rate limit resets in ~30s."}, 5),
        ({}, {"detail": "Request was throttled. Your rate limit resets in ~30s."}, 30),
        ({}, {"detail": "Request was throttled. Expected available in 1 second."}, 1),
        ({}, {"error": {"message": "Please try again in 1m12.5s."}}, 72.5),
        ({}, {"message": "come back in 5 minutes"}, 300),
        ({}, {"detail": "Limited to 600 requests in 1 minute. Expected available in 5 seconds."}, 5),
        ({}, {"error": "wait for 250ms"}, 0.25),
        ({}, {"detail": "Expected available in 3 days."}, None),
        ({}, {"detail": "Retry after 2 hours"}, 3600),
        ({"ratelimit-reset": "2"}, {"detail": "no"}, 2),
        ({"ratelimit-reset": "2"}, {"detail": "resets in ~30s"}, 30),
        ({"ratelimit-reset": "soon"}, {}, None),
    ],
    ids=str,
)
def test_the_api_says_when_to_ask_again(headers: dict[str, str], body: Any, wait: float | None) -> None:
    assert failed(Answer(429, body, headers)).retry_after == wait


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        (Answer(503, b"", {"Retry-After": "7"}), 7),
        (Answer(503, {"detail": "try again in 20 s"}), 20),
        (Answer(500, {"detail": "timed out in 20 s"}), None),
        (Answer(500, {"retry_after": 4}), 4),
        (Answer(500, b"", {"ratelimit-reset": "1"}), None),
        (Answer(200, {"error": {"message": "busy", "retry_after": 4}}), 4),
        (Answer(200, b"<html>", {"Retry-After": "7"}), 7),
        (Answer(404, b"", {"Retry-After": "7"}), 7),
    ],
    ids=str,
)
def test_other_failures_say_when_to_ask_again_too(answer: Answer, wait: float | None) -> None:
    assert failed(answer).retry_after == wait
