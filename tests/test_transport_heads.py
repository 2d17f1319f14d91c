"""What the head of an answer says of resuming, as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from notifier.transport.heads import read_head
from tests.standins.files import LONG_AGO, NOW

ONE_SECOND_AGO = "Tue, 24 Nov 2026 07:59:59 GMT"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"ETag": '"a"'}, '"a"'),
        ({"ETag": '"a"', "Last-Modified": LONG_AGO, "Date": NOW}, '"a"'),
        ({"ETag": 'W/"a"'}, None),
        ({"ETag": 'W/"a"', "Last-Modified": LONG_AGO, "Date": NOW}, None),
        ({"ETag": "a"}, None),
        ({"ETag": '"a"', "Accept-Ranges": "none"}, None),
        ({"ETag": '"a"', "Accept-Ranges": "bytes"}, '"a"'),
        ({"ETag": '"a"', "Content-Encoding": "gzip"}, None),
        ({"Last-Modified": LONG_AGO, "Date": NOW}, LONG_AGO),
        ({"Last-Modified": ONE_SECOND_AGO, "Date": NOW}, ONE_SECOND_AGO),
        ({"Last-Modified": NOW, "Date": NOW}, None),
        ({"Last-Modified": LONG_AGO}, None),
        ({"Last-Modified": "yesterday", "Date": NOW}, None),
        ({"Last-Modified": f"Tue, 24 Nov {10**30} 08:00:00 GMT", "Date": NOW}, None),
        ({"Last-Modified": LONG_AGO, "Date": "Tue, 24 Nov 2026 08:00:00"}, None),
    ],
)
def test_only_what_is_sure_to_be_the_same_file_can_be_resumed(headers: dict[str, str], expected: str | None) -> None:
    assert read_head(200, CaseInsensitiveDict(headers), {}).validator == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Content-Length": "5"}, 5),
        ({"Content-Length": "5", "Transfer-Encoding": "chunked"}, None),
        ({"Content-Length": "5", "Content-Encoding": "gzip"}, None),
        ({"Content-Length": "five"}, None),
        ({}, None),
    ],
)
def test_the_length_is_that_of_the_file(headers: dict[str, str], expected: int | None) -> None:
    assert read_head(200, CaseInsensitiveDict(headers), {}).total == expected


@pytest.mark.parametrize(
    "value",
    ["bytes 5-9/10", "Bytes 5-9/10", "bytes  5-9/10 ", "bytes 5-5/6"],
)
def test_a_part_is_the_rest_of_the_file(value: str) -> None:
    head = read_head(206, CaseInsensitiveDict({"Content-Range": value}), {"Range": "bytes=5-"})
    assert (head.offset, head.total) == (5, int(value.split("/")[1]))


@pytest.mark.parametrize(
    ("headers", "asked"),
    [
        ({"Content-Range": "bytes 5-8/10"}, "bytes=5-"),
        ({"Content-Range": "bytes 5-4/5"}, "bytes=5-"),
        ({"Content-Range": "bytes 6-9/10"}, "bytes=5-"),
        ({"Content-Range": "bytes 5-9/10"}, None),
        ({"Content-Range": "bytes 5-9/*"}, "bytes=5-"),
        ({"Content-Range": "bytes 5-9/10", "Content-Length": "6"}, "bytes=5-"),
        ({"Content-Range": "bytes 5-9/10", "Content-Encoding": "gzip"}, "bytes=5-"),
        ({}, "bytes=5-"),
    ],
)
def test_a_part_that_is_anything_else_is_refused(headers: dict[str, str], asked: str | None) -> None:
    with pytest.raises(ValueError, match="part of"):
        read_head(206, CaseInsensitiveDict(headers), {} if asked is None else {"Range": asked})


NAMES = ["ETag", "Last-Modified", "Date", "Content-Length", "Content-Range", "Content-Encoding", "Accept-Ranges"]


@given(st.dictionaries(st.sampled_from(NAMES), st.text() | st.sampled_from([NOW, "bytes 5-9/10", "5"])), st.booleans())
def test_any_headers_are_read_or_refused_in_words(headers: dict[str, str], part: bool) -> None:
    said = ""
    try:
        read_head(206 if part else 200, CaseInsensitiveDict(headers), {"Range": "bytes=5-", "If-Range": NOW})
    except ValueError as error:
        said = str(error)
    assert said.isprintable()
