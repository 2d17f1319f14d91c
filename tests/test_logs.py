"""The lines of the log: what they look like, and that nothing secret is in them. Nothing global is touched."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from notifier import logs
from notifier.logs import event, fatal_mistake, is_news, mistake
from notifier.logs.lines import LONGEST, Formatter
from notifier.model import Event

FORMS = {
    "text": Formatter(journal=False, as_json=False),
    "json": Formatter(journal=False, as_json=True),
    "journal": Formatter(journal=True, as_json=False),
    "journal, json": Formatter(journal=True, as_json=True),
}


class Log(logging.Logger):
    """A logger that nobody else knows, and what it was given, as lines of each form."""

    def __init__(self, name: str = "notifier.parts") -> None:
        super().__init__(name, logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def handle(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def said(self, form: str = "text") -> str:
        """The last record in this form."""
        return FORMS[form].format(self.records[-1])

    @property
    def json(self) -> dict[str, Any]:
        """The last record as whoever reads JSON understands it."""
        line = self.said("json")
        assert line.isprintable()
        line.encode()
        read: dict[str, Any] = json.loads(line, parse_constant=pytest.fail)
        return read

    @property
    def text(self) -> str:
        """The last record as text, without its time and level."""
        time, level, text = self.said().split(maxsplit=2)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
        assert level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
        return text


@pytest.fixture
def log() -> Log:
    return Log()


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """The exception as it is when it was raised, with where it came from."""
    error.__cause__ = cause
    with suppress(type(error)):
        raise error
    return error


# --- text ------------------------------------------------------------------------------------------------------------


def test_a_line_of_text_has_a_time_in_utc_a_level_and_the_facts_there_are_in_their_order(log: Log) -> None:
    event(log, logging.WARNING, "not delivered", channel="team", recipient=None, attempts=3, wait=0.25, reason="a b")
    log.records[-1].created = 1_790_000_000.0625
    assert log.said() == (
        '2026-09-21T14:13:20.062Z WARNING not delivered channel=team attempts=3 wait=0.25 reason="a b"'
    )


def test_what_could_end_or_forge_a_line_becomes_a_blank(log: Log) -> None:
    event(log, logging.INFO, "said", text='a\n2026 "ERROR"\x1b[2J\x00\u2028\x85\ud800', empty="")
    assert log.text == """said text="a 2026 'ERROR' [2J    " empty="\""""


def test_no_line_of_a_traceback_looks_like_one_of_the_log(log: Log) -> None:
    mistake(log, "nothing", raised(ValueError("x\n2026-01-01T00:00:00.000Z ERROR   forged\x1b[31m")))
    first, *others = log.said().split("\n")
    assert first.endswith("mistake in the program effect=nothing error=ValueError")
    assert others[0] == "  Traceback (most recent call last):"
    assert others[-1] == "  2026-01-01T00:00:00.000Z ERROR   forged [31m"
    assert all(line.startswith("  ") and line.isprintable() for line in others)


def test_in_the_journal_every_line_has_its_level_and_none_a_time(log: Log) -> None:
    for level, number in zip((10, 20, 30, 40, 50), (7, 6, 4, 3, 2), strict=True):
        event(log, level, "said", id="a")
        assert log.said("journal") == f"<{number}>said id=a"
        assert log.said("journal, json") == f"<{number}>{log.said('json')}"
    mistake(log, "nothing", raised(ValueError("one\n<0>two\n\nthree")))
    lines = log.said("journal").split("\n")
    assert len(lines) > 5
    assert all(line.startswith("<3>") for line in lines)
    assert "<3>  <0>two" in lines


def test_a_library_is_named_and_speaks_in_one_line() -> None:
    log = Log("urllib3.pool")
    log.warning("it is\n  %s", "full")
    assert log.text == "it is full logger=urllib3.pool"
    assert (log.json["logger"], log.json["event"]) == ("urllib3.pool", "it is full")


# --- JSON ------------------------------------------------------------------------------------------------------------


def test_a_json_line_has_the_same_keys_first_and_then_the_facts_with_their_types(log: Log) -> None:
    event(log, logging.INFO, "sent", id="ä", count=3, wait=0.123456, so=True, status=Event.STATUS, none=None, path=[1])
    log.records[-1].created = 1_790_000_000.0625
    assert log.said("json") == (
        '{"time": "2026-09-21T14:13:20.062Z", "level": "info", "logger": "notifier.parts", "event": "sent", '
        '"id": "ä", "count": 3, "wait": 0.123456, "so": true, "status": "status", "path": "[1]"}'
    )


def test_no_fact_can_take_the_place_of_a_key_of_every_line(log: Log) -> None:
    taken = dict.fromkeys(("time", "level", "logger", "event", "traceback", "what"), "a fact")
    event(log, logging.INFO, "said", **taken)
    read = log.json
    assert (read["level"], read["logger"], read["event"]) == ("info", "notifier.parts", "said")
    assert read["time"].endswith("Z")
    assert "traceback" not in read
    assert all(read[f"{name}_"] == "a fact" for name in ("time", "level", "logger", "event", "traceback"))
    assert read["what"] == "a fact"


def test_a_traceback_is_one_field_with_causes_and_notes(log: Log) -> None:
    error = ValueError("later")
    error.add_note("a note")
    mistake(log, "nothing", raised(error, raised(KeyError("first"))), id="a")
    assert list(log.json) == ["time", "level", "logger", "event", "effect", "error", "id", "traceback"]
    trace = log.json["traceback"].split("\n")
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-2:] == ["ValueError: later", "a note"]
    assert "KeyError: 'first'" in trace


class Unspeakable:
    """Whose text cannot be had."""

    def __str__(self) -> str:
        raise LookupError("no words")


ODD: dict[str, tuple[object, object]] = {
    "no text": (Unspeakable(), "[LookupError]"),
    "half a character": ("\ud800", "\ud800"),
    "a NUL": ("\x00", "\x00"),
    "line ends": ("a\r\nb\u2028c\x85d", "a\r\nb\u2028c\x85d"),
    "reversed": ("\u202ea", "\u202ea"),
    "beyond the BMP and unassigned": ("\U000e0001", "\U000e0001"),
    "not a number": (float("nan"), "nan"),
    "without end": (float("-inf"), "-inf"),
    "bytes": (b"\xff", "b'\\xff'"),
    "an exception": (ValueError("x"), "x"),
}


@pytest.mark.parametrize(("value", "read"), ODD.values(), ids=ODD.keys())
def test_any_value_makes_one_line_that_can_be_read(log: Log, value: object, read: object) -> None:
    event(log, logging.INFO, "said", value=value, id="a")
    assert (log.json["value"], log.json["id"]) == (read, "a")
    assert log.text.startswith("said value=")
    assert log.said().isprintable()


@pytest.mark.parametrize("form", FORMS)
def test_of_what_is_too_long_both_ends_are_kept(log: Log, form: str) -> None:
    mistake(log, "nothing", raised(ValueError("x" * 100_000 + "the end")), detail="begin " + "y" * 100_000 + " last")
    said = log.said(form)
    assert len(said) < 2.1 * LONGEST
    for kept in ("begin ", " last", "Traceback", "the end"):
        assert kept in said


# --- secrets ---------------------------------------------------------------------------------------------------------

SECRETS = {
    "plain": "r8_token_of_nobody",
    "quotes and backslashes": "pa\"ss'wo\\rd\\n",
    "not ASCII": "schlüssel-κλειδί-🔑",
    "quotes and not ASCII": 'la "clé" d\'une\\porte',
    "lines": "first line\nsecond line",
    "percent": "a%2Fb/c d+e&f=g",
    "control characters": "tab\tnul\x00end",
    "not UTF-8": "caf\udce9-secret",
    "as JSON": '{"key": "value"}',
}
PLACES: dict[str, Callable[[Log, str], None]] = {
    "a fact": lambda log, secret: event(log, 20, "said", reason=f"<{secret}>"),
    "a fact, quoted": lambda log, secret: event(log, 20, "said", reason={"key": [secret]}),
    "a fact, as bytes": lambda log, secret: event(log, 20, "said", reason=secret.encode(errors="surrogatepass")),
    "a fact, in ASCII": lambda log, secret: event(log, 20, "said", reason=ascii(secret)),
    "a fact, in a form": lambda log, secret: event(log, 20, "said", reason=f"key={quote_plus(octets(secret))}"),
    "a fact, in JSON": lambda log, secret: event(log, 20, "said", reason=json.dumps(secret)),
    "a fact, in a URL": lambda log, secret: event(log, 20, "said", reason=f"http://x/{percent(secret)}?a=b"),
    "a fact, in a path": lambda log, secret: event(log, 20, "said", reason=f"{quote(octets(secret))} failed"),
    "a fact, in a header": lambda log, secret: event(
        log, 20, "said", reason="Basic " + base64.b64encode(octets(secret)).decode()
    ),
    "a fact that is cut": lambda log, secret: event(log, 20, "said", reason="x" * (LONGEST // 2 - 3) + secret * 2000),
    "a library's line": lambda log, secret: Log.warning(log, "it was %s, %r", secret, secret),
    "a library's line that is cut": lambda log, secret: Log.warning(log, "x" * (LONGEST // 2 - 3) + secret * 2000),
    "an exception": lambda log, secret: mistake(log, "x", raised(ValueError(secret))),
    "an exception that quotes": lambda log, secret: mistake(log, "x", raised(KeyError(secret))),
    "a cause": lambda log, secret: mistake(log, "x", raised(ValueError("y"), raised(OSError(5, secret)))),
    "a group": lambda log, secret: mistake(log, "x", raised(ExceptionGroup("y", [raised(ValueError(secret))]))),
    "a note": lambda log, secret: mistake(log, "x", noted(secret)),
    "a thread's name": lambda log, secret: fatal_mistake(log, "x", thread=f"lane {secret}"),
}


def octets(secret: str) -> bytes:
    return secret.encode(errors="surrogatepass")


def percent(secret: str) -> str:
    return quote(octets(secret), safe="")


def noted(secret: str) -> Exception:
    error = ValueError("y")
    error.add_note(f"with {secret}")
    return error


def flat(text: str) -> str:
    """Without anything but letters and digits, so that no escaping hides what is there."""
    return re.sub(r"[\W_]|\\[ntr]|u?x?00", "", text)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_a_secret_is_in_no_line_wherever_it_comes_from_and_however_it_is_written(
    log: Log, secret: str, place: str, form: str
) -> None:
    PLACES[place](log, secret)
    parts = [flat(part) for part in secret.split("\n")]
    before = log.said(form)
    logs.hide([secret])
    after = log.said(form)
    assert "***" in after
    assert len(after.split("\n")) <= len(before.split("\n"))
    said = [after]
    if form == "json":
        said += [str(value) for value in log.json.values()]
    for text in said:
        assert secret not in text
        assert percent(secret) not in text
        assert not any(part in flat(text) for part in parts), text


def test_of_two_secrets_the_one_that_is_a_part_of_the_other_leaves_nothing_of_it(log: Log) -> None:
    logs.hide(["secret", "secret-and-more"])
    event(log, logging.INFO, "said", reason="secret-and-more, secret")
    assert log.json["reason"] == "***, ***"


def test_a_short_secret_is_hidden_where_it_stands_alone_and_a_very_short_one_not_at_all(log: Log) -> None:
    logs.hide(["hunt", "pw", "", "a:b"])
    event(log, logging.INFO, "hunt", reason="login user:hunt@mail, 'hunt', hunter, ghunt: pw")
    assert log.json["reason"] == "login user:***@mail, '***', hunter, ghunt: pw"
    assert log.json["event"] == "hunt"


def test_what_a_line_is_about_is_named_although_it_is_a_part_of_an_address(log: Log) -> None:
    logs.hide(["oncall", "team", "reason"])
    event(log, logging.INFO, "sent", channel="oncall", api="team", subject="oncall", reason="oncall")
    assert log.text == "sent channel=oncall api=team subject=oncall reason=***"


def test_what_is_hidden_is_what_was_said_last(log: Log) -> None:
    logs.hide(["first-secret"])
    logs.hide(["second-secret"])
    event(log, logging.INFO, "said", reason="first-secret second-secret")
    assert log.json["reason"] == "first-secret ***"


# --- what comes again and again --------------------------------------------------------------------------------------


def levels(log: Log) -> list[tuple[str, bool]]:
    return [(record.levelname, record.exc_info is not None) for record in log.records]


def test_a_mistake_is_told_with_its_traceback_once_an_hour_and_else_in_a_line_for_debugging(log: Log) -> None:
    def err() -> None:
        raise ZeroDivisionError

    for _ in range(3):
        try:
            err()
        except ZeroDivisionError:
            mistake(log, "nothing", id="a")
        for said in logs._said:
            logs._said[said] -= 1801
    assert levels(log) == [("ERROR", True), ("DEBUG", False), ("ERROR", True)]
    assert [record.getMessage() for record in log.records] == [
        "mistake in the program effect=nothing error=ZeroDivisionError id=a"
    ] * 3


def test_another_mistake_or_the_same_with_another_effect_is_news(log: Log) -> None:
    error = raised(ValueError("x"))
    mistake(log, "nothing", error)
    mistake(log, "something", error)
    mistake(log, "nothing", raised(KeyError("x")))
    mistake(log, "nothing", error)
    assert [news for _, news in levels(log)] == [True, True, True, False]


def test_a_fatal_mistake_is_told_each_time(log: Log) -> None:
    error = raised(ValueError("x"))
    for _ in range(2):
        fatal_mistake(log, "the end", error)
    assert levels(log) == [("CRITICAL", True)] * 2


def test_a_mistake_without_an_exception_is_told_all_the_same(log: Log) -> None:
    mistake(log, "nothing")
    assert log.json["error"] == "NoneType"
    assert "traceback" not in log.json


def test_what_is_remembered_does_not_grow_without_end() -> None:
    assert all(is_news("x", number) for number in range(5000))
    assert len(logs._said) <= logs.MOST_REMEMBERED


def test_a_reader_that_is_there_and_does_not_read_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    try:
        monkeypatch.setattr(logs, "STANDARD_ERROR", write)
        monkeypatch.setattr(logs, "PATIENCE", 0.01)
        handler = logs._Handler(journal=False, as_json=False)
        record = logging.makeLogRecord({"msg": "x" * 1000, "name": "notifier.test", "levelno": logging.WARNING})
        for _ in range(200):  # more than a pipe holds
            handler.emit(record)
        assert handler._is_blocked
        assert os.read(read, 2**20)  # all that is in it
        handler.emit(record)
        line = os.read(read, 65536)
        assert line.startswith(b"2")
        assert line.endswith(b"\n")
        assert line.count(b"x") >= 1000
    finally:
        os.close(read)
        os.close(write)
