"""What an answer says that holds a prediction: its shape, its status, whose it is. The bodies are the API's own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notifier.model import FINAL, FailedPoll, Failure, Observation
from notifier.poll import read
from tests.standins.api import Answer, as_response, plain, prediction, wrapped

NOW = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT
LINK = "https://replicate.delivery/xezq/out-0.png"


def reading(answer: Answer | Any, prediction_id: str = "x") -> Observation | FailedPoll:
    """What is read of an answer; of anything else, as the JSON of an HTTP 200."""
    answer = answer if isinstance(answer, Answer) else Answer(200, answer)
    return read(as_response(answer), prediction_id, NOW)


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
    answer = as_response(Answer(200, {"id": 1234567, "status": "processing"}))
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
