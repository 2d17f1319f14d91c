"""What is read of a prediction's fields, of any type and length."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from notifier.model import Observation
from notifier.poll import read
from notifier.poll.times import budget
from tests.standins.api import Answer, as_response, prediction

LINK = "https://replicate.delivery/xezq/out-0.png"
SIGNED = "https://cdn.example/a/b.mp4?X-Amz-Signature=1&b=%20#t=1"


def seen(**fields: Any) -> Observation:
    answer = requests.Response()
    answer.status_code = 200
    answer._content = json.dumps(prediction("x", "succeeded", **fields)).encode()
    result = read(answer, "x", 0.0)
    assert isinstance(result, Observation), result
    return result


# --- output ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", [None, "", [], {}])
def test_nothing_is_no_output(output: Any) -> None:
    observation = seen(output=output)
    assert (observation.has_output, observation.output, observation.text) == (False, (), None)


@pytest.mark.parametrize(
    ("output", "links", "text"),
    [
        (LINK, [LINK], None),
        (f" {SIGNED}\n", [SIGNED], None),
        ("HTTP://EXAMPLE.COM", ["HTTP://EXAMPLE.COM"], None),
        ([LINK, SIGNED, LINK], [LINK, SIGNED], None),
        ([[LINK], [SIGNED]], [LINK, SIGNED], None),
        ([{"file": LINK}, {"file": SIGNED}], [LINK, SIGNED], None),
        ({"images": [{"file": LINK}], "seed": 7, "more": {"z": SIGNED, "a": None}}, [LINK, SIGNED], None),
        ({"b": LINK, "a": SIGNED}, [LINK, SIGNED], None),
        ("a cat", [], "a cat"),
        (f"see {LINK}", [], f"see {LINK}"),
        (["Hello", ",", " world", "\n"], [], "Hello, world"),
        (["a caption", LINK], [LINK], "a caption"),
        ([f"see {LINK}"], [], f"see {LINK}"),
        (7, [], "7"),
        (0, [], "0"),
        (1.5, [], "1.5"),
        (True, [], "true"),
        (False, [], "false"),
        ([0.5, 1.5], [], None),
        ([None], [], None),
        ({"text": "a"}, [], None),
        (" ", [], None),
        ("data:image/png;base64,AAAA", [], None),
        ("DATA:image/png;base64,AAAA", [], None),
        ("data:,hello", [], None),
        (["data:image/png;base64,AAAA", LINK], [LINK], None),
        ({"image": "data:image/png;base64,AAAA"}, [], None),
        ("Data: one, two", [], "Data: one, two"),
        ("here: data:image/png;base64,AAAA.", [], "here: data:…"),
        ("a\x00b\x1b[1mc\u202ed\ud800e\r\nf", [], "abcde\nf"),
        ("x" * 5000, [], "x" * 999 + "…"),
        (["ab"] * 5000, [], "ab" * 499 + "a…"),
        ("https://", [], "https://"),
        ("https://a b", [], "https://a b"),
        ("https://exa\u202emple.com/", [], "https://example.com/"),
        ("ftp://example.com/a", [], "ftp://example.com/a"),
        ("javascript:alert(1)", [], "javascript:alert(1)"),
        ("https://example.com/" + "a" * 9000, [], None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_any_shape_of_output_is_read(output: Any, links: list[str], text: str | None) -> None:
    observation = seen(output=output)
    assert observation.has_output
    assert observation.output == tuple(links)
    if not str(output).startswith("https://example.com/a"):
        assert observation.text == text


def test_links_are_bounded_in_number_depth_and_effort() -> None:
    many = seen(output=[f"https://example.com/{n}" for n in range(1000)])
    assert many.output == tuple(f"https://example.com/{n}" for n in range(200))
    nested: Any = LINK
    for _ in range(500):
        nested = [nested]
    deep = seen(output=nested)
    assert (deep.has_output, deep.output) == (True, ())
    started = time.process_time()
    assert seen(output=[[0.5] * 1000] * 1000).output == ()
    assert time.process_time() - started < 5


# --- error texts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (None, None),
        ("", None),
        (" \n", None),
        ({}, None),
        ([], None),
        (False, None),
        ({"detail": "", "code": None}, None),
        ("  CUDA out of memory (E1001)\n", "CUDA out of memory (E1001)"),
        ({"detail": "NSFW"}, "NSFW"),
        ({"message": "a", "detail": "b", "code": "c"}, "a"),
        ({"message": None, "detail": " ", "code": "E1001"}, "E1001"),
        ({"error": {"message": "deep", "code": 5}}, "deep"),
        ({"message": {"detail": {"msg": "deeper"}}}, "deeper"),
        ({"reason": "odd", "x": 1}, "odd"),
        ({"x": [1, None, "ä"]}, '{"x":[1,null,"ä"]}'),
        ({"code": 137}, "137"),
        (["one", {"msg": "two"}, None, 3], "one; two; 3"),
        (137, "137"),
        (True, "true"),
        ("a\tb\nc\r\nd\re", "a\tb\nc\nd\ne"),
        ("\x1b[31mred\x1b[0m \x00\x07\x85\ud83d \u202eevil\u2066", "red  evil"),
        (f"cannot fetch {SIGNED}: 403", "cannot fetch https://cdn.example/a/b.mp4 403"),
        ("see <https://a.example/x?token=1>, 'http://b.example?k=2' and s3://bucket/key?sig=3",
         "see <https://a.example/x>, 'http://b.example' and s3://bucket/key"),
        ("proxy http://me:secret@proxy.example:3128/ is down", "proxy http://proxy.example:3128/ is down"),
        ("input data:image/png;base64,AAAA/+== is no image", "input data:… is no image"),
        ("da\x00ta:image/png;base64,AAAA and ht\u202etps://a.example\x00?sig=1", "data:… and https://a.example"),
        ("input " + "data:image/png;base64," + "A" * 1_000_000 + " is no image", "input data:… is no image"),
        ("x" * 10_000, "x" * 3999 + "…"),
        ({"x": "y" * 10_000}, '{"x":"' + "y" * 3993 + "…"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_an_error_is_readable_harmless_text_or_none(error: Any, text: str | None) -> None:
    assert seen(error=error).error == text


def test_an_error_nested_too_deeply_is_still_one() -> None:
    nested: Any = "x"
    for _ in range(300):
        nested = {"y": nested}
    text = seen(error=nested).error
    assert text is not None
    assert text.startswith('{"y":{"y":')


# --- logs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("logs", "text"),
    [
        (None, None),
        ("", None),
        ("\n \r\n", None),
        (["a"], None),
        ("one\ntwo\n\n", "one\ntwo"),
        ("one\r\ntwo\r\n", "one\ntwo"),
        ("  0%|  |\r 50%|# |\r100%|##|\ndone", "100%|##|\ndone"),
        (" 50%|# |\r", "50%|# |"),
        (" 50%|# |\r  \r", "50%|# |"),
        ("\n".join(f"line {n}" for n in range(50)), "\n".join(f"line {n}" for n in range(30, 50))),
        ("a\x1b[A\x00\u202eb", "ab"),
        (f"fetch {SIGNED}", "fetch https://cdn.example/a/b.mp4"),
        ("got data:image/png;base64," + "A" * 100_000, "got data:…"),
        ("x" * 100_000 + "end", "…" + "x" * 1996 + "end"),
        ("x" * 100_000 + "\nend", "end"),
        ("\r".join(f"{n}%" for n in range(50_000)), "49999%"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_of_the_logs_the_last_lines_are_read_as_a_terminal_shows_them(logs: Any, text: str | None) -> None:
    assert seen(logs=logs).logs == text


# --- times -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-03-12T11:27:18Z", 1773314838.0),
        ("2026-03-12T11:27:18.2Z", 1773314838.2),
        ("2026-03-12T11:27:18.25Z", 1773314838.25),
        ("2026-03-12T11:27:18.258Z", 1773314838.258),
        ("2026-03-12T11:27:18.2580Z", 1773314838.258),
        ("2026-03-12T11:27:18.25801Z", 1773314838.25801),
        ("2026-03-12T11:27:18.258012Z", 1773314838.258012),
        ("2026-03-12T11:27:18.2580123Z", 1773314838.258012),
        ("2026-03-12T11:27:18.25801234Z", 1773314838.258012),
        ("2026-03-12T11:27:18.258012345Z", 1773314838.258012),
        ("2026-03-12T13:27:18.258+02:00", 1773314838.258),
        ("2026-03-12T05:57:18-05:30", 1773314838.0),
        ("2026-03-12 11:27:18", 1773314838.0),
        ("2026-03-12t11:27:18z", 1773314838.0),
        (" 2026-03-12T11:27:18Z\n", 1773314838.0),
        (1773314838, 1773314838.0),
        (1773314838.5, 1773314838.5),
        (0, None),
        (-5, None),
        (True, None),
        (10**400, None),
        (1773314838000, None),
        ("1773314838", None),
        ("2026-02-30T11:27:18Z", None),
        ("2026-03-12T11:27:60Z", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
        ("", None),
        (None, None),
        ([], None),
        ({}, None),
    ],
    ids=str,
)
def test_a_time_is_unix_seconds_or_none(text: Any, seconds: float | None) -> None:
    observation = seen(created_at=text, started_at=text, completed_at=text, deadline=text)
    assert observation.created_at == (None if seconds is None else pytest.approx(seconds, abs=1e-6))
    assert observation.created_at == observation.started_at == observation.completed_at == observation.deadline


# --- metrics and the rest ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({}, ()),
        (None, ()),
        ([1], ()),
        ({"predict_time": 3e-06, "image_count": 2}, (("predict_time", 3e-06), ("image_count", 2.0))),
        ({"a": True, "b": "1", "c": None, "d": 10**400, "e": {}, "f": 1}, (("f", 1.0),)),
        ({"odd\n\x00name": 1, "": 2, "\u202e": 3}, (("odd name", 1.0),)),
        ({"n" * 100: 1}, (("n" * 63 + "…", 1.0),)),
        ({f"m{n}": n for n in range(50)}, tuple((f"m{n}", float(n)) for n in range(20))),
    ],
)
def test_of_the_metrics_the_numbers_are_read(metrics: Any, expected: Any) -> None:
    assert seen(metrics=metrics).metrics == expected


@pytest.mark.parametrize("digits", [5_000, 100_000, 5_000_000])
@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("where", ["output", "metrics", "input", "retry_after"])
def test_a_number_of_any_length_hides_no_good_status(where: str, sign: str, digits: int) -> None:
    body = json.dumps(prediction("x", "succeeded", **{where: {"of": 7, "seed": "SEED", "image": LINK}}))
    started = time.process_time()
    seen = read(as_response(Answer(body=body.replace('"SEED"', sign + "9" * digits).encode())), "x", 0.0)
    assert time.process_time() - started < 1, "not by the square of its digits"
    assert isinstance(seen, Observation)
    assert seen.status == "succeeded"
    assert seen.output == ((LINK,) if where == "output" else ())
    assert seen.metrics == ((("of", 7.0),) if where == "metrics" else ())


def test_a_number_too_large_for_a_float_is_no_metric() -> None:
    answer = requests.Response()
    answer.status_code = 200
    answer._content = b'{"id": "x", "status": "succeeded", "metrics": {"a": 1e999, "b": 1}}'
    result = read(answer, "x", 0.0)
    assert isinstance(result, Observation)
    assert result.metrics == (("b", 1.0),)


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), (False, False), (None, False), ("true", False), (1, False)]
)
def test_data_is_removed_only_where_it_says_so(value: Any, expected: bool) -> None:
    assert seen(data_removed=value).data_removed is expected


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ({"ratelimit-remaining": "59999", "ratelimit-reset": "1"}, (59999, 1)),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "30"}, (0, 30)),
        ({"ratelimit-remaining": "5", "ratelimit-reset": "1e11"}, None),
        ({"ratelimit-remaining": "5", "ratelimit-reset": "99999999999"}, (5, 3600)),
        ({"ratelimit-remaining": "5", "ratelimit-reset": "0"}, None),
        ({"ratelimit-remaining": "5"}, None),
        ({"ratelimit-reset": "5"}, None),
        ({"ratelimit-remaining": "-1", "ratelimit-reset": "5"}, None),
        ({"ratelimit-remaining": "٣", "ratelimit-reset": "5"}, None),
        ({"ratelimit-remaining": "many", "ratelimit-reset": "soon"}, None),
        ({}, None),
    ],
)
def test_what_is_left_of_the_limit(headers: dict[str, str], left: tuple[float, float] | None) -> None:
    assert budget(CaseInsensitiveDict(headers)) == left
