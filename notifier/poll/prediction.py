"""A prediction's fields, of any JSON type and any of them missing, as an Observation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from notifier.model import JSONObject, Observation, Status
from notifier.poll.text import clean, cut, is_data, one_line, quotable, readable, without_data
from notifier.poll.times import finite, timestamp
from notifier.poll.walk import is_link, walk

MAX_STATUS = 64
MAX_TEXT = 1000
MAX_METRICS = 20
MAX_LOG_LINES = 20
MAX_LOGS = 2000

_KNOWN = frozenset(status.value for status in Status)


def status_text(text: str) -> str | None:
    """A status as the model knows it (`Cancelled` is canceled), or as it is if nobody knows it; None if it is blank."""
    word = " ".join(clean(text).split())
    lowered = word.lower()
    if lowered == "cancelled":
        return Status.CANCELED.value
    return lowered if lowered in _KNOWN else cut(word, MAX_STATUS) or None


def observe(status: str, levels: Sequence[JSONObject], *, output: Any, error: Any, remark: str | None) -> Observation:
    """The Observation of a prediction with that status; the first of `levels` that has a field says it.

    The levels are the prediction, and the task around it if there is one (whose times have other names).
    """
    found = walk(output)
    return Observation(
        status=status,
        error=readable(error),
        has_output=not is_nothing(output),
        output=found.links,
        assets=found.assets,
        text=_readable_output(output),
        data_removed=any(level.get("data_removed") is True for level in levels),
        created_at=_first_time(levels, "created_at", "submit_time"),
        started_at=_first_time(levels, "started_at", "start_time"),
        completed_at=_first_time(levels, "completed_at", "finish_time"),
        deadline=_first_time(levels, "deadline"),
        metrics=_metrics(_first(levels, "metrics")),
        logs=last_lines(_first(levels, "logs")),
        remark="; ".join(filter(None, (remark, found.remark))) or None,
    )


def is_nothing(value: Any) -> bool:
    """Whether an output is none: `null`, `""`, `[]` and `{}` are."""
    return value is None or value in ("", [], {})


def _readable_output(output: Any) -> str | None:
    """The beginning of the text that an output is, if it is.

    Text is a string that is neither a link nor a `data:` URI, a list of such strings (the tokens of a language model,
    which belong together), or a number.
    """
    if is_nothing(output) or isinstance(output, dict):
        return None
    if isinstance(output, str):
        return _text([output])
    if isinstance(output, list):
        return _text(item for item in output if isinstance(item, str))
    return readable(output, MAX_TEXT) or str(output).lower()  # a number or a truth


def _text(parts: Iterable[str]) -> str | None:
    text, length = [], 0
    for part in parts:
        if is_data(part.strip()) or is_link(part.strip()):
            continue
        text.append(part)
        length += len(part)
        if length > MAX_TEXT * 2:
            break
    return cut(clean(without_data("".join(text))[: MAX_TEXT * 2]).strip(), MAX_TEXT) or None


def _first(levels: Sequence[JSONObject], name: str) -> Any:
    return next((level[name] for level in levels if level.get(name) is not None), None)


def _first_time(levels: Sequence[JSONObject], *names: str) -> float | None:
    times = (timestamp(level.get(name)) for level in levels for name in names)
    return next((time for time in times if time is not None), None)


def _metrics(value: Any) -> tuple[tuple[str, float], ...]:
    if not isinstance(value, dict):
        return ()
    numbers = ((one_line(name, 64), finite(number)) for name, number in islice(value.items(), 10 * MAX_METRICS))
    return tuple(islice(((name, number) for name, number in numbers if name and number is not None), MAX_METRICS))


def last_lines(logs: Any) -> str | None:
    """The last lines of the logs, each as a terminal would show it: of a progress bar, its last state."""
    if not isinstance(logs, str) or not logs:
        return None
    text = without_data(logs)
    beginning = max(0, len(text) - 10 * MAX_LOGS)
    lines = text[beginning:].replace("\r\n", "\n").split("\n")
    if beginning > 0 and len(lines) > 1:
        del lines[0]  # its beginning is not there
    shown = list(islice(filter(None, map(_last_state, reversed(lines))), MAX_LOG_LINES))
    tail = "\n".join(reversed(shown))
    return quotable(tail if len(tail) <= MAX_LOGS else "…" + tail[1 - MAX_LOGS :], MAX_LOGS)


def _last_state(line: str) -> str:
    """What stands on the line after its last carriage return, or before it if nothing follows; empty if it is blank."""
    before, _, last = line.rpartition("\r")
    while before and not last.strip():
        before, _, last = before.rpartition("\r")
    return last if last.strip() else ""
