"""What an answer says: pure functions from an answer to an Observation or a FailedPoll.

The HTTP code is read first, because an error's body has a `status` of its own (RFC 7807). Then the shape is told by
content: the plain prediction of Replicate's API, or a gateway's task around it (new-api's task DTO, which CometAPI
answers with). What is neither is a FailedPoll, and so is an error that hides in an HTTP 200.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests

from notifier.model import FINAL, FailedPoll, Failure, JSONObject, Observation, Secret, Status
from notifier.poll.body import EMPTY, NOT_JSON, UnreadableError, as_object, parse
from notifier.poll.prediction import is_nothing, observe, status_text
from notifier.poll.text import is_data, one_line, readable
from notifier.poll.times import retry_after
from notifier.poll.walk import is_link
from notifier.transport import Kind, TransportError

_TASK_STATUSES = {
    "NOT_START": Status.STARTING.value,
    "SUBMITTED": Status.STARTING.value,
    "QUEUED": Status.STARTING.value,
    "IN_PROGRESS": Status.PROCESSING.value,
    "SUCCESS": Status.SUCCEEDED.value,
    "SUCCEED": Status.SUCCEEDED.value,
    "FAILURE": Status.FAILED.value,
    "FAILED": Status.FAILED.value,
    "UNKNOWN": "unknown",
}
"""new-api's words (model/task.go), and its sister APIs' where they cannot mean anything else."""

_KNOWN = frozenset(status.value for status in Status)
_TASK_KEYS = ("task_id", "fail_reason", "submit_time", "finish_time")
_PREDICTION_KEYS = ("output", "urls", "created_at", "input", "logs", "metrics", "model", "version")
_ENVELOPE_KEYS = ("message", "msg", "err", "error_msg", "detail", "title", "description", "header")
"""Where errors say what they have to say; a prediction has none of these."""
_SHORT = 8
"""Of a token shorter than this, every mention would be some other word."""


_FAILURES = {
    Kind.RESOLVE: Failure.OFFLINE,
    Kind.NO_ROUTE: Failure.OFFLINE,
    Kind.TIMEOUT: Failure.SILENT,
    Kind.MALFORMED: Failure.MALFORMED,
    Kind.TOO_LARGE: Failure.MALFORMED,
}


class _Trouble(NamedTuple):
    failure: Failure
    reason: str


def read(
    answer: requests.Response | TransportError, prediction_id: str, now: float, *, token: Secret | None = None
) -> Observation | FailedPoll:
    """What a poll of that prediction saw. Never raises, whatever came.

    `now` is wall time in Unix seconds, for a Retry-After that is a date. Should the answer repeat the `token`, it is
    taken out.
    """
    if isinstance(answer, TransportError):
        return FailedPoll(_FAILURES.get(answer.kind, Failure.NETWORK), answer.reason)
    code = answer.status_code
    if 300 <= code < 400:
        return FailedPoll(Failure.REDIRECT, _redirected(code, answer.headers.get("Location")), code)
    body, unreadable = None, ""
    try:
        body = parse(_without(token, answer.content or b""))
    except UnreadableError as error:
        unreadable = str(error)
    if not 200 <= code < 300:
        seen: Observation | _Trouble = _Trouble(_failure(code, body), _explain(code, body, unreadable))
    elif isinstance(body, dict):
        seen = _read_object(code, body, prediction_id)
    else:
        seen = _Trouble(Failure.MALFORMED, unreadable or f"a JSON {_type_name(body)} instead of a prediction")
    if isinstance(seen, Observation):
        return seen
    return FailedPoll(seen.failure, one_line(seen.reason), code, retry_after(code, answer.headers, body, now))


# --- an answer that is not 2xx -----------------------------------------------------------------------------------


def _failure(code: int, body: Any) -> Failure:
    if code in (401, 402, 403):
        return Failure.REFUSED
    if code == 429:
        return Failure.THROTTLED
    if code == 404 or _is_not_exist(body):
        return Failure.NOT_FOUND
    if code == 500 and any(level.get("code") == "invalid_request" for level in _levels_of_error(body)):
        return Failure.CLIENT
    return Failure.SERVER if code in (408, 409) or code >= 500 else Failure.CLIENT


def _explain(code: int, body: Any, unreadable: str) -> str:
    """`HTTP 401 Unauthenticated: You did not pass a valid authentication token`, from whatever envelope it came in."""
    title = readable(body.get("title")) if isinstance(body, dict) else None
    message = unreadable.removeprefix(NOT_JSON) or readable(body.get("detail") if title else body)
    if unreadable == EMPTY:
        message = None
    name = title or _phrase(code)
    parts = [f"HTTP {code} {name}".rstrip(), message if message != name else None]
    return ": ".join(part for part in parts if part)


def _redirected(code: int, location: str | None) -> str:
    """Names the other host alone: a path or a query could hold anything."""
    try:
        parts = urlsplit(location or "")
        host = f"{parts.scheme}://{parts.hostname}" if parts.scheme and parts.hostname else ""
        host += f":{parts.port}" if host and parts.port else ""
    except ValueError:
        host = ""
    where = f"redirected to {host}" if host else "redirected"
    return one_line(f"HTTP {code} {_phrase(code)}: {where}; is base_url right?")


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return ""


# --- a JSON object in a 2xx ---------------------------------------------------------------------------------------


def _read_object(code: int, body: JSONObject, prediction_id: str) -> Observation | _Trouble:
    if _is_prediction(body):
        return _read_prediction(body, prediction_id)
    task = body if _is_task(body) else as_object(body.get("data"))
    if task is not None:
        inner = as_object(task.get("data")) or {}
        if isinstance(task.get("status"), str) or isinstance(inner.get("status"), str):
            return _read_task(body, task, inner, prediction_id)
    return _hidden_error(code, body)


def _is_task(body: JSONObject) -> bool:
    return any(key in body for key in _TASK_KEYS)


def _is_prediction(body: JSONObject) -> bool:
    """Whether this is a plain prediction: it has a text for a status, and an id.

    Without an id it must look like one otherwise; `{"status": "error", "message": ...}` is an error's envelope.
    """
    status = body.get("status")
    if not isinstance(status, str) or _is_task(body):
        return False
    if body.get("id") not in (None, ""):
        return True
    if any(key in body for key in _ENVELOPE_KEYS):
        return False
    return status_text(status) in _KNOWN or any(key in body for key in _PREDICTION_KEYS)


def _read_prediction(body: JSONObject, prediction_id: str) -> Observation | _Trouble:
    name = body.get("id")
    if name not in (None, "") and (not isinstance(name, str | int) or str(name) != prediction_id):
        return _another(name)
    status = status_text(body["status"])
    if status is None:
        return _Trouble(Failure.MALFORMED, "a prediction whose status is blank")
    return observe(status, (body,), output=body.get("output"), error=body.get("error"), remark=None)


def _read_task(body: JSONObject, task: JSONObject, inner: JSONObject, prediction_id: str) -> Observation | _Trouble:
    """The prediction inside wins; the task around it fills in what the prediction does not say."""
    names = [level.get(key) for level in (task, inner) for key in ("task_id", "id")]
    names = [name for name in names if isinstance(name, str) and name]
    if names and prediction_id not in names:
        return _another(names[-1])
    outer_status, inner_status = _task_status(task.get("status")), _inner_status(inner.get("status"))
    status = inner_status or outer_status
    if status is None:
        return _Trouble(Failure.MALFORMED, "a task whose status is blank")
    output = next((level["output"] for level in (inner, task) if not is_nothing(level.get("output"))), None)
    reason, url = task.get("fail_reason"), task.get("result_url")
    if outer_status == Status.SUCCEEDED:
        if _is_asset(reason):  # where older versions of new-api keep the result
            reason, url = None, url or reason
        if output is None and _is_asset(url):
            output = url
    errors = (inner.get("error"), task.get("error"), reason, _spoken_error(inner) if status == Status.FAILED else None)
    return observe(
        status,
        (inner, task),
        output=output,
        error=next((error for error in errors if readable(error)), None),
        remark=_remark(body, outer_status, inner_status),
    )


def _task_status(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    return _TASK_STATUSES.get(value.strip().upper()) or status_text(value)


def _inner_status(value: Any) -> str | None:
    """As a plain prediction's, save that a gateway's own words in capitals are understood here too."""
    if not isinstance(value, str):
        return None
    return _TASK_STATUSES.get(value.strip()) or status_text(value)


def _is_asset(value: Any) -> bool:
    return isinstance(value, str) and (is_link(value.strip()) or is_data(value.strip()))


def _spoken_error(inner: JSONObject) -> JSONObject:
    """The error that stands where a prediction should: the gateway passed on what it got itself."""
    return {key: inner[key] for key in _ENVELOPE_KEYS if key in inner}


def _remark(body: JSONObject, outer: str | None, inner: str | None) -> str | None:
    if outer and inner and outer != inner and not FINAL.isdisjoint((outer, inner)):
        return f"the task says {one_line(outer, 64)}, the prediction inside it says {one_line(inner, 64)}"
    code = body.get("code")
    if isinstance(code, str) and code not in ("success", ""):
        return one_line(f"the task came with the code {code}")
    return None


def _hidden_error(code: int, body: JSONObject) -> _Trouble:
    """An error inside HTTP 200, or something that is neither a prediction nor an error."""
    status = body.get("status")
    wrapper_code = body.get("code") if "data" in body else None
    error = readable(body.get("error"))
    if error is None and body.get("id") in (None, ""):
        error = readable({key: body[key] for key in _ENVELOPE_KEYS if readable(body.get(key))})
    if error is None and isinstance(wrapper_code, str) and wrapper_code not in ("success", ""):
        error = wrapper_code
    if error is not None or _is_not_exist(body):
        failure = Failure.NOT_FOUND if _is_not_exist(body) else Failure.SERVER
        return _Trouble(failure, f"an error inside HTTP {code}: {error}")
    if "status" in body and not isinstance(status, str):
        return _Trouble(Failure.MALFORMED, f"a prediction whose status is a JSON {_type_name(status)}")
    return _Trouble(Failure.MALFORMED, "JSON that is no prediction")


def _another(name: Any) -> _Trouble:
    shown = one_line(str(name), 80) if isinstance(name, str | int) else f"a JSON {_type_name(name)}"
    return _Trouble(Failure.MALFORMED, f"another prediction's answer (its id is {shown})")


# --- small things ------------------------------------------------------------------------------------------------


def _levels_of_error(body: Any) -> Iterable[JSONObject]:
    if isinstance(body, dict):
        yield body
        if isinstance(body.get("error"), dict):
            yield body["error"]


def _is_not_exist(body: Any) -> bool:
    """Whether it says, in whatever envelope, that the gateway does not know the id."""
    texts = (level.get(key) for level in _levels_of_error(body) for key in ("code", "message", "type", "msg", "error"))
    return any("task_not_exist" in text for text in texts if isinstance(text, str))


def _without(token: Secret | None, content: bytes) -> bytes:
    secret = token.reveal().encode() if token is not None else b""
    if len(secret) >= _SHORT:
        for form in {secret, secret.replace(b"/", b"\\/")}:  # as PHP and others write JSON
            content = content.replace(form, b"***")
    return content


def _type_name(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")
