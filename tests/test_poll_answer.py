"""What an answer says: the HTTP code, the shape, the status. The bodies are those of the API reference."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from notifier.model import FINAL, FailedPoll, Failure, Observation, Secret
from notifier.poll import read
from notifier.transport import Kind, TransportError
from tests.standins.api import Answer, comet_error, plain, prediction, problem, wrapped

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT
LINK = "https://replicate.delivery/xezq/out-0.png"


def response(answer: Answer) -> requests.Response:
    made = requests.Response()
    made.status_code = answer.status
    made._content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
    made.headers = CaseInsensitiveDict(answer.headers)
    return made


def reading(answer: Answer | Any, prediction_id: str = "x") -> Observation | FailedPoll:
    """What is read of an answer; of anything else, as the JSON of an HTTP 200."""
    answer = answer if isinstance(answer, Answer) else Answer(200, answer)
    return read(response(answer), prediction_id, NOW)


def seen(answer: Answer | Any) -> Observation:
    result = reading(answer)
    assert isinstance(result, Observation), result
    return result


def failed(answer: Answer | Any) -> FailedPoll:
    result = reading(answer)
    assert isinstance(result, FailedPoll), result
    return result


# --- the plain prediction ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, status) for status in ("starting", "processing", "succeeded", "failed", "canceled", "aborted")),
        ("cancelled", "canceled"),
        ("Succeeded", "succeeded"),
        ("  FAILED\n", "failed"),
        ("queued", "queued"),
        ("Paused", "Paused"),
        ("completed", "completed"),
        ("SUCCESS", "SUCCESS"),
        ("two  words\n", "two words"),
        ("odd\x00\u202e", "odd"),
        ("x" * 100, "x" * 63 + "…"),
    ],
)
def test_a_plain_status_is_known_or_stays_as_it_is(status: str, expected: str) -> None:
    assert seen(plain("x", status)).status == expected
    assert (expected in FINAL) == (expected in ("succeeded", "failed", "canceled", "aborted"))


@pytest.mark.parametrize(
    "body",
    [
        {"id": "x", "status": "processing", "output": None, "error": None},
        {"id": "x", "status": "processing"},
        {"id": None, "status": "processing"},
        {"id": "", "status": "processing"},
        {"status": "processing", "output": None},
        {"status": "processing"},
        {"id": "x", "status": "processing", "error": "", "logs": None, "metrics": {}, "urls": None},
        {"id": "x", "status": "processing", "error": {}, "logs": 5, "metrics": [], "created_at": {}, "output": []},
        {"id": "x", "status": "processing", "data": {"status": "succeeded"}, "code": "success", "message": "new key"},
    ],
)
def test_missing_and_odd_fields_do_no_harm(body: Any) -> None:
    assert seen(body) == Observation("processing")


def test_an_id_that_is_a_number_is_compared_as_text() -> None:
    answer = response(Answer(200, {"id": 1234567, "status": "processing"}))
    assert isinstance(read(answer, "1234567", NOW), Observation)
    assert isinstance(read(answer, "7654321", NOW), FailedPoll)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert seen(Answer(200, b"\xef\xbb\xbf" + json.dumps(prediction("x", "starting")).encode())).status == "starting"


@pytest.mark.parametrize("code", [200, 201, 202, 203])
def test_every_success_is_read(code: int) -> None:
    assert seen(plain("x", "starting").with_(status=code)).status == "starting"


# --- the task around it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outer", "expected"),
    [
        ("NOT_START", "starting"),
        ("SUBMITTED", "starting"),
        ("QUEUED", "starting"),
        ("IN_PROGRESS", "processing"),
        ("SUCCESS", "succeeded"),
        ("SUCCEED", "succeeded"),
        ("FAILURE", "failed"),
        ("FAILED", "failed"),
        ("UNKNOWN", "unknown"),
        ("in_progress", "processing"),
        ("CANCELLED", "canceled"),
        ("succeeded", "succeeded"),
        ("COMPLETED", "COMPLETED"),
    ],
)
@pytest.mark.parametrize("inner", [None, {}, "", "null", "[]", "{", [], {"progress": 5}, {"status": None}, 5])
def test_a_task_without_a_prediction_speaks_for_itself(outer: str, expected: str, inner: Any) -> None:
    observation = seen(wrapped("x", outer, inner))
    assert (observation.status, observation.remark) == (expected, None)


@pytest.mark.parametrize("as_text", [False, True], ids=["object", "JSON string"])
@pytest.mark.parametrize(
    ("outer", "inner", "remark"),
    [
        ("IN_PROGRESS", "starting", False),
        ("IN_PROGRESS", "processing", False),
        ("SUCCESS", "succeeded", False),
        ("FAILURE", "failed", False),
        ("SUCCESS", "failed", True),
        ("SUCCESS", "processing", True),
        ("FAILURE", "canceled", True),
        ("IN_PROGRESS", "succeeded", True),
    ],
)
def test_the_prediction_inside_wins_and_a_contradiction_is_remarked(
    outer: str, inner: str, remark: bool, as_text: bool
) -> None:
    inside: Any = prediction("x", inner)
    observation = seen(wrapped("x", outer, json.dumps(inside) if as_text else inside))
    assert observation.status == inner
    assert (observation.remark is not None) == remark
    if remark:
        assert observation.remark is not None
        assert inner in observation.remark


def test_everything_of_the_prediction_inside_is_read() -> None:
    inside = prediction("x", "succeeded", output=[LINK], error="odd", metrics={"predict_time": 1.5}, logs="a\nb")
    observation = seen(wrapped("x", "SUCCESS", inside, finish_time=1773314900))
    assert observation == Observation(
        "succeeded",
        error="odd",
        has_output=True,
        output=(LINK,),
        created_at=1773314838.258,
        completed_at=1773314900.0,
        metrics=(("predict_time", 1.5),),
        logs="a\nb",
    )


def test_a_tasks_times_are_unix_seconds_and_zero_is_none() -> None:
    observation = seen(wrapped("x", "IN_PROGRESS", submit_time=1773314838, start_time=1773314840, finish_time=0))
    assert (observation.created_at, observation.started_at) == (1773314838.0, 1773314840.0)
    assert observation.completed_at is None


@pytest.mark.parametrize(
    ("fields", "output", "error"),
    [
        ({"fail_reason": LINK}, (LINK,), None),
        ({"result_url": LINK}, (LINK,), None),
        ({"fail_reason": LINK, "result_url": LINK + "?2"}, (LINK + "?2",), None),
        ({"fail_reason": LINK, "inner": {"status": "succeeded", "output": ["https://a.example/1"]}},
         ("https://a.example/1",), None),
        ({"fail_reason": LINK, "inner": {"status": "succeeded", "output": None}}, (LINK,), None),
        ({"fail_reason": "NSFW"}, (), "NSFW"),
        ({"fail_reason": "NSFW", "outer": "FAILURE"}, (), "NSFW"),
        ({"fail_reason": f"cannot read {LINK}?sig=1", "outer": "FAILURE"}, (), f"cannot read {LINK}"),
        ({"fail_reason": LINK, "outer": "FAILURE"}, (), LINK),
        ({"fail_reason": "queue full", "outer": "FAILURE", "inner": {"status": "failed", "error": "NSFW"}}, (), "NSFW"),
        ({"fail_reason": "timed out", "outer": "FAILURE", "inner": {"status": "processing"}}, (), "timed out"),
        ({"outer": "FAILURE", "inner": {"title": "Oops", "detail": "no GPU", "status": 500}}, (), "no GPU"),
        ({"output": [LINK]}, (LINK,), None),
    ],
)  # fmt: skip
def test_a_tasks_fail_reason_is_an_output_or_an_error(fields: dict[str, Any], output: Any, error: Any) -> None:
    outer, inner = fields.pop("outer", "SUCCESS"), fields.pop("inner", None)
    observation = seen(wrapped("x", outer, inner, **fields))
    assert (observation.output, observation.error) == (output, error)
    assert observation.has_output == bool(output)


def test_a_result_that_is_a_data_uri_is_output_and_never_shown() -> None:
    observation = seen(wrapped("x", "SUCCESS", fail_reason="data:image/png;base64,AAAA"))
    assert observation.has_output
    assert observation == Observation("succeeded", has_output=True, created_at=1773314838.0)


@pytest.mark.parametrize(
    "body",
    [
        {"task_id": "x", "status": "IN_PROGRESS", "progress": "40%", "data": None},
        {"status": "IN_PROGRESS", "fail_reason": "", "data": None},
        {"code": "success", "data": {"task_id": "x", "status": "IN_PROGRESS", "progress": "40%", "data": None}},
        {"success": True, "message": "", "data": {"status": "IN_PROGRESS"}},
        {"code": "success", "data": {"id": "x", "status": "processing"}},
        {"code": "success", "data": {"data": {"id": "x", "status": "processing"}}},
        {"code": 200, "data": json.dumps({"task_id": "x", "status": "IN_PROGRESS"})},
    ],
)
def test_a_task_is_told_by_its_content(body: Any) -> None:
    assert seen(body).status == "processing"


def test_a_task_under_another_code_than_success_is_remarked() -> None:
    body = wrapped("x", "IN_PROGRESS").body | {"code": "odd_code", "message": "?"}
    observation = seen(body)
    assert observation.status == "processing"
    assert observation.remark == "the task came with the code odd_code"


# --- whose answer it is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "ours"),
    [
        (plain("x", "succeeded"), True),
        (plain("y", "succeeded"), False),
        (plain("X", "succeeded"), False),
        (wrapped("x", "SUCCESS", prediction("x", "succeeded")), True),
        (wrapped("task_1", "SUCCESS", prediction("x", "succeeded")), True),
        (wrapped("x", "SUCCESS", prediction("upstream", "succeeded")), True),
        (wrapped("task_1", "SUCCESS", prediction("y", "succeeded")), False),
        (wrapped("y", "SUCCESS"), False),
        (wrapped("x", "SUCCESS", id=17), True),
        ({"code": "success", "data": {"status": "SUCCESS", "data": prediction("x", "succeeded")}}, True),
        ({"code": "success", "data": {"status": "SUCCESS", "data": prediction("y", "succeeded")}}, False),
        ({"code": "success", "data": {"status": "SUCCESS", "data": {"status": "succeeded"}}}, True),
        ({"id": ["x"], "status": "succeeded"}, False),
        ({"id": True, "status": "succeeded"}, False),
    ],
)
def test_another_predictions_answer_is_malformed(body: Any, ours: bool) -> None:
    if ours:
        assert seen(body).status == "succeeded"
    else:
        failure = failed(body)
        assert failure.failure is Failure.MALFORMED
        assert failure.reason.startswith("another prediction's answer")


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
        (Answer(200, b'{"id": "x", "status": "failed", "n": ' + b"9" * 100_000 + b"}"),
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


@pytest.mark.parametrize(
    ("kind", "failure"),
    [(kind, Failure.MALFORMED if kind in (Kind.MALFORMED, Kind.TOO_LARGE) else Failure.NETWORK) for kind in Kind],
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
    result = read(response(Answer(500, body)), "x", NOW, token=Secret(token))
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
