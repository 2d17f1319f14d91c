"""Files that stand in the answer itself."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.errors import DataUriError
from notifier.outputs.data_uri import Inline, decode
from notifier.poll.text import is_data

LARGE = 2**24
PLAIN = "text/plain;charset=US-ASCII"


@pytest.mark.parametrize(
    ("uri", "content", "content_type"),
    [
        ("data:image/png;base64,iVBORw0KGgo=", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("DATA:image/png;BASE64,iVBORw0KGgo=", b"\x89PNG\r\n\x1a\n", "image/png"),
        (" data:image/png; base64 , iVBO Rw0K\r\nGgo=\n", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("data:image/png;base64,iVBORw0KGgo", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("data:image/png;base64,iVBORw0KGgo===", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("data:image/png;base64,iVBORw0KGgo%3D", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("data:image/png;base64,iVBORw0KGgo=#here", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("data:;base64,-_-_", b"\xfb\xff\xbf", PLAIN),
        ("data:;base64,+/+/", b"\xfb\xff\xbf", PLAIN),
        ("data:image/png;base64,", b"", "image/png"),
        ("data:,", b"", PLAIN),
        ("data:,a%20b,c%2C", b"a b,c,", PLAIN),
        ("data:,100%", b"100%", PLAIN),
        ("data:text/plain;charset=utf-8,%C3%BC\u00fc", b"\xc3\xbc\xc3\xbc", "text/plain;charset=utf-8"),
        ("data:;charset=utf-8,x", b"x", "text/plain;charset=utf-8"),
        ("data:image/svg+xml;utf8,<svg fill='#fff'/>", b"<svg fill='#fff'/>", "image/svg+xml;utf8"),
        ("data:image/svg+xml;charset=utf-8;base64,PHN2Zy8+", b"<svg/>", "image/svg+xml;charset=utf-8"),
        ("data:base64,AAAA", b"AAAA", PLAIN),
        ("data:no type,x", b"x", PLAIN),
        ("data:image/png\r\nX: y,x", b"x", PLAIN),
        ("data:,half \ud800 a character", b"half ? a character", PLAIN),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_the_uri_holds_is_decoded(uri: str, content: bytes, content_type: str) -> None:
    assert decode(uri, max_size=LARGE) == Inline(content, content_type)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("data:image/png;base64,iVBORw0KG", "cut off"),
        ("data:image/png;base64,A", "cut off"),
        ("data:image/png;base64,iVB$RCECRET", "characters"),
        ("data:image/png;base64,iVBO=Rw0", "characters"),
        ("data:image/png;base64,iVBOü", "characters"),
        ("data:image/png;base64,\ud800", "characters"),
        ("data:image/png;base64", "no data: URI"),
        ("data", "no data: URI"),
        ("https://a.example/x,y", "no data: URI"),
        ("", "no data: URI"),
    ],
)
def test_a_damaged_one_is_refused_with_a_reason_that_quotes_nothing(uri: str, reason: str) -> None:
    with pytest.raises(DataUriError, match=reason) as caught:
        decode(uri, max_size=LARGE)
    assert caught.value.reason == str(caught.value)
    assert "SECRET" not in caught.value.reason


@pytest.mark.parametrize(
    "uri", ["data:;base64,QUJDRA==", "data:;base64,Q U J D R A", "data:,ABCD", "data:,%41%42%43%44"]
)
def test_as_many_bytes_as_one_file_may_have_pass_and_one_more_does_not(uri: str) -> None:
    assert decode(uri, max_size=4).content == b"ABCD"
    with pytest.raises(DataUriError, match="4 bytes, more than the 3"):
        decode(uri, max_size=3)


contents = st.binary(max_size=200)


@given(contents, st.booleans(), st.booleans(), st.booleans(), st.data())
def test_any_content_comes_back_from_any_spelling_of_base64(
    content: bytes, url_safe: bool, padded: bool, escaped: bool, data: st.DataObject
) -> None:
    written = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(content).decode()
    written = written if padded else written.rstrip("=")
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(written)))
        written = written[:at] + data.draw(st.sampled_from(" \n\t")) + written[at:]
    written = quote(written, safe="") if escaped else written
    uri = f"data:application/x-thing;base64,{written}"
    assert is_data(uri)
    assert decode(uri, max_size=len(content)) == Inline(content, "application/x-thing")


@given(contents)
def test_any_content_comes_back_from_percent_encoding(content: bytes) -> None:
    assert decode("data:," + quote(content), max_size=len(content)).content == content


@given(st.text() | st.text().map("data:".__add__) | st.text().map("data:;base64,".__add__), st.integers(0, 40))
def test_whatever_the_text_is_it_is_decoded_within_its_limit_or_refused(uri: str, limit: int) -> None:
    try:
        found = decode(uri, max_size=limit)
    except DataUriError:
        return
    assert len(found.content) <= limit
    assert found.content_type.isascii()
    assert found.content_type.isprintable()
