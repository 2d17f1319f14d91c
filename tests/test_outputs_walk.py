"""Which files an output of any shape holds: `notifier.poll.walk`, which messages take their links from, too."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.poll.prediction import observe
from notifier.poll.walk import walk

A, B = "https://a.example/out-0.png", "https://b.example/out-1.mp4?sig=1&x=2"
DATA = "data:image/png;base64,AAAA"


def urls_in(output: Any) -> list[str]:
    return [asset.url for asset in walk(output).assets]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (A, [A]),
        (f"\n {A}\t", [A]),
        ("HTTPS://A.example/x", ["HTTPS://A.example/x"]),
        ("http://a.example", ["http://a.example"]),
        ([A, B], [A, B]),
        ([[A], [[B]]], [A, B]),
        ([{"file": A}, {"file": B}], [A, B]),
        ({"images": [{"file": A}], "seed": 7, "more": {"z": B, "a": None}}, [A, B]),
        ({"z": A, "a": B}, [A, B]),
        ([A, B, A, f" {A}"], [A, B]),
        ([f"{A}?id=1", f"{A}?id=2"], [f"{A}?id=1", f"{A}?id=2"]),
        ([f"{A}#t=1", f"{A}#t=2", A], [A]),
        ([DATA, A, DATA], [DATA, A]),
        ({"image": f" {DATA}\n"}, [DATA]),
        ("DATA:text/plain,hello", ["DATA:text/plain,hello"]),
        ("data:,hello", ["data:,hello"]),
        ("https://user:pass@a.example/x", ["https://user:pass@a.example/x"]),
        ("https://a.example/it's.png", ["https://a.example/it's.png"]),
        ("https://a.example/%2e%2e/ü.png", ["https://a.example/%2e%2e/ü.png"]),
        ("https://[::1]:8080/x", ["https://[::1]:8080/x"]),
        (["Hello", " world"], []),
        (f"see {A}", []),
        (f"{A} and {B}", []),
        ([f"see {A}", B], [B]),
        ({A: 1}, []),
        ("Data: one, two", []),
        ("ftp://a.example/x", []),
        ("file:///etc/passwd", []),
        ("javascript:alert(1)", []),
        ("//a.example/x", []),
        ("https:/a.example", []),
        ([[0.5, 1.5], [None, True]], []),
        (None, []),
        (7, []),
        ("", []),
        (b"https://a.example", []),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_files_of_any_shape_of_output_are_found(output: Any, expected: list[str]) -> None:
    assert urls_in(output) == expected
    assert walk(output).remark is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://", "no host"),
        ("https:///x.png", "no host"),
        ("https://:443/x", "no host"),
        ("https://user:secret@/x", "no host"),
        ("https://a.example:99999/x", "port"),
        ("https://a.example:0/x", "port"),
        ("https://a.example:http/x", "port"),
        ("https://[::1/x", "host"),
        ("https://[no]/x", "host"),
        ("https://a\u2100.example/x", "host"),
        ("https://a.example/\ud800", "characters"),
        ("https://a.example/\x00", "characters"),
        ("https://a.example/\u202egnp.exe", "characters"),
        ("https://a.example\\@b.example/x", "characters"),
        ("https://a.example/<b>", "characters"),
        ("https://a.example/" + "x" * 9000, "longer"),
    ],
)
def test_what_only_looks_like_a_url_is_no_file_but_remarked_on(url: str, why: str) -> None:
    found = walk([url, A])
    assert [asset.url for asset in found.assets] == [A]
    assert found.remark is not None
    assert why in found.remark
    assert "secret" not in found.remark
    assert len(found.remark) < 200


def test_a_remark_counts_what_else_is_wrong() -> None:
    remark = walk(["https://", "https://[x/", "https://a:b/"]).remark
    assert remark == "a URL in the output cannot be fetched, and 2 more: it has no host"


def test_the_remark_of_the_answer_and_that_of_its_output_are_both_said() -> None:
    seen = observe("succeeded", ({},), output="https://", error=None, remark="odd")
    assert seen.remark == "odd; a URL in the output cannot be fetched: it has no host"


def test_an_observation_has_the_files_beside_the_links_that_messages_show() -> None:
    odd = "https://a.example:99999/x"
    seen = observe("succeeded", ({},), output=[A, DATA, f"{A}#1", odd], error=None, remark=None)
    assert seen.output == (A, f"{A}#1", odd)
    assert [(asset.url, asset.is_inline) for asset in seen.assets] == [(A, False), (DATA, True)]
    assert "AAAA" not in repr(seen)


def test_a_thousand_files_are_enough_and_more_are_remarked_on() -> None:
    many = [f"https://a.example/{n}" for n in range(1000)]
    assert urls_in(many) == many
    assert walk([*many, many[0]]).remark is None
    more = walk([*many, "https://a.example/more"])
    assert [asset.url for asset in more.assets] == many
    assert more.remark == "the output holds more than 1000 files, of which the first ones count"


def nested(depth: int) -> Any:
    output: Any = A
    for level in range(depth):
        output = [output] if level % 2 else {"x": output}
    return output


def test_a_file_is_found_as_deep_as_is_sensible_and_nothing_recurses() -> None:
    assert urls_in(nested(63)) == [A]
    assert urls_in(nested(64)) == []
    deepest = nested(100_000)
    assert urls_in([deepest, B]) == [B]
    while isinstance(deepest, list | dict):  # or taking it down would recurse
        deepest = next(iter(deepest.values() if isinstance(deepest, dict) else deepest))


def test_numbers_hide_no_file_however_many_they_are() -> None:
    started = time.process_time()
    assert urls_in({"embedding": [0.5] * 1_000_000, "image": A}) == [A]
    assert urls_in([[""] * 60_000, A]) == []
    assert time.process_time() - started < 5


def test_long_texts_cost_little() -> None:
    started = time.process_time()
    long = "x" * 2**24
    assert urls_in([long, f"https://a.example/{long}", f"https://{long}", f"see {long}", DATA + long]) == [DATA + long]
    assert time.process_time() - started < 5


texts = (
    st.sampled_from([A, B, DATA, "https://", f"{A}#1", f"see {A}", "data:", "data:,", "http://[", "https://a:1:2/"])
    | st.text(max_size=20)
    | st.text(max_size=20).map("https://".__add__)
    | st.text(max_size=20).map("data:".__add__)
)
outputs = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | texts | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=30,
)


def strings_in(output: Any) -> list[str]:
    if isinstance(output, str):
        return [output]
    inner = output.values() if isinstance(output, dict) else output if isinstance(output, list) else ()
    return [text for value in inner for text in strings_in(value)]


@settings(deadline=None)
@given(outputs)
def test_whatever_the_output_is_every_file_is_one_of_its_strings_and_in_their_order(output: Any) -> None:
    written = [text.strip() for text in strings_in(output)]
    places = []
    for asset in walk(output).assets:
        places.append(next(n for n, text in enumerate(written) if asset.url in (text, text.partition("#")[0])))
        assert asset.is_inline == asset.url.lower().startswith("data:")
        assert asset.is_inline or "#" not in asset.url
    assert places == sorted(set(places))
