"""Whatever the bytes are: reading never raises, never invents an end, and lets nothing harmful through.

`pytest --hypothesis-profile long -n 0 tests/test_poll_fuzz.py` tries over a million of them.
"""

from __future__ import annotations

import json
import re
from typing import Any

import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from notifier.model import FINAL, FailedPoll, Failure, Observation
from notifier.poll import read

WORDS = [
    *("id", "task_id", "status", "output", "error", "logs", "metrics", "data", "code", "message", "detail", "title"),
    *("fail_reason", "result_url", "created_at", "submit_time", "finish_time", "deadline", "data_removed"),
    *("retry_after", "msg", "header", "description"),
]
TEXTS = [
    *("x", "y", "", " ", "success", "SUCCESS", "FAILURE", "IN_PROGRESS", "starting", "processing", "succeeded"),
    *("failed", "Canceled", "cancelled", "aborted", "task_not_exist", "null", "{}", '{"status":"failed"}'),
    *("https://a.example/b?sig=1", "data:image/png;base64,AA", "2026-03-12T11:27:18.258Z", "\ud800", "\u202e\x00\r"),
    *("resets in ~30s", "<html>", "1e999", "9" * 5000),
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 401, 10**30, -1, 1773314838])
    | st.floats()
    | st.sampled_from(TEXTS)
    | st.text(max_size=30)
)
keys = st.sampled_from(WORDS) | st.text(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=8), max_leaves=25
)
objects = st.dictionaries(keys, values, max_size=10)
small_objects = st.dictionaries(keys, scalars | st.lists(scalars, max_size=2), max_size=6)
codes = st.sampled_from([200, 200, 200, 201, 204, 301, 400, 401, 404, 422, 429, 500, 503, 524, 999])
headers = st.dictionaries(
    st.sampled_from(["Retry-After", "ratelimit-reset", "Location", "Content-Type"]),
    st.sampled_from(["5", "-1", "Sun, 06 Nov 1994 08:49:37 GMT", "https://[a", "https://a.example/x?y"])
    | st.text(max_size=40),
)

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")
QUOTED = re.compile(r"data:image|\?sig=")
LIMITS = {"status": 64, "error": 4000, "text": 1000, "logs": 2000, "remark": 300, "reason": 300}
FINAL_WORDS = {*FINAL, "cancelled", "success", "succeed", "failure"}


def read_bytes(content: bytes, code: int = 200, extra: dict[str, str] | None = None) -> Observation | FailedPoll:
    answer = requests.Response()
    answer.status_code = code
    answer._content = content
    answer.headers = CaseInsensitiveDict(extra or {})
    result = read(answer, "x", 1_790_000_000.0)
    check(result)
    return result


def check(result: Observation | FailedPoll, *, is_whole: bool = True) -> None:
    """Whatever it was read of; only of what is not `is_whole` a link or a `data:` URI may be left that is none."""
    for name, limit in LIMITS.items():
        text = getattr(result, name, None)
        if text is not None:
            assert 0 < len(text) <= limit
            assert not CONTROL.search(text)
            assert name in ("text", "status") or not is_whole or not QUOTED.search(text)
    if isinstance(result, FailedPoll):
        assert result.failure in Failure
        assert result.retry_after is None or 0 <= result.retry_after <= 3600
        assert "\n" not in result.reason
    else:
        assert all(re.match(r"https?://", link) and not CONTROL.search(link) for link in result.output)
        assert result.has_output or not (result.output or result.text)
    hash(result)  # plain values through and through


def final_words_in(value: Any) -> bool:
    """Whether a status anywhere in the JSON, or in JSON inside it, is one that ends a prediction."""
    if isinstance(value, dict):
        status = value.get("status")
        if isinstance(status, str) and re.sub(r"[^a-z]", "", status.lower()) in FINAL_WORDS:
            return True
        return any(final_words_in(inner) for inner in value.values())
    if isinstance(value, str) and "{" in value:
        try:
            return final_words_in(json.loads(value))
        except ValueError:
            return False
    return isinstance(value, list) and any(final_words_in(inner) for inner in value)


@settings(deadline=None)
@given(st.binary(max_size=200), codes, headers)
def test_no_bytes_make_it_raise(content: bytes, code: int, extra: dict[str, str]) -> None:
    assert isinstance(read_bytes(content, code, extra), FailedPoll)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values | objects, codes, headers)
def test_no_json_makes_it_raise_or_invent_an_end(value: Any, code: int, extra: dict[str, str]) -> None:
    result = read_bytes(json.dumps(value).encode(), code, extra)
    if isinstance(result, Observation):
        assert 200 <= code < 300
        assert result.status not in FINAL or final_words_in(value)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(small_objects, small_objects, small_objects)
def test_no_task_makes_it_raise_or_invent_an_end(body: Any, task: Any, inner: Any) -> None:
    value = body | {"data": task | {"data": inner}}
    result = read_bytes(json.dumps(value).encode())
    assert not isinstance(result, Observation) or result.status not in FINAL or final_words_in(value)


@settings(deadline=None)
@given(st.data())
def test_no_part_of_an_answer_is_taken_for_the_whole(data: st.DataObject) -> None:
    whole = json.dumps({"id": "x", "status": "succeeded", "output": ["https://a.example/b"], "error": None}).encode()
    part = whole[: data.draw(st.integers(0, len(whole) - 1))]
    assert isinstance(read_bytes(part), FailedPoll)


@settings(deadline=None)
@given(st.data())
def test_no_flipped_byte_makes_it_raise(data: st.DataObject) -> None:
    whole = bytearray(json.dumps({"id": "x", "status": "processing", "error": {"message": "a"}, "logs": "b"}).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    result = read_bytes(bytes(whole))
    assert not isinstance(result, Observation) or result.status not in FINAL
