"""Text from elsewhere, made fit to be quoted."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.message import text

CLEANED = {
    "plain": "plain",
    "tab\tand\nline": "tab\tand\nline",
    "a\r\nb\rc\u2028d\x0be\x85f": "a\nb\nc\nd\ne\nf",
    "\x1b[1;31mred\x1b[0m \x1b]8;;https://evil\x07link\x1b]8;;\x07": "red link",
    "\x1bMup": "up",
    "nul\x00, bell\x07": "nul, bell",
    "over\u202eride": "override",
    "\ud83d lone": " lone",
    "👩\u200d👧 stays": "👩\u200d👧 stays",
}


@pytest.mark.parametrize(("given_text", "cleaned"), CLEANED.items(), ids=ascii)
def test_cleaning(given_text: str, cleaned: str) -> None:
    assert text.clean(given_text) == cleaned


QUOTED = {
    "see https://h/p?a=b": "see https://h/p?…",
    "see https://h/p#frag": "see https://h/p?…",
    "(https://h/p?a=b)": "(https://h/p?…",
    '"https://h/p?a=b" x': '"https://h/p?…" x',
    "s3://u:p@bucket/key?sig=1": "s3://bucket/key?…",
    "GET /v1/x?token=1 HTTP/1.1": "GET /v1/x?… HTTP/1.1",
    "what? nothing=here": "what? nothing=here",
    "why?\nx": "why?\nx",
    "data:image/png;base64,AAAA end": "[data left out] end",
    "metadata: x, data: y": "metadata: x, data: y",
    "a@b.example": "a@b.example",
    "@torch.jit": "@\u2060torch.jit",
    "x@everyone and a_@here": "x@\u2060everyone and a_@\u2060here",
    "[a](b) [a][1] [1]: c": "[a]\u2060(b) [a]\u2060[1] [1]\u2060: c",
    "```": "`\u2060`\u2060`",
    "a || b ~~c~~": "a |\u2060| b ~\u2060~c~\u2060~",
}


@pytest.mark.parametrize(("given_text", "quoted"), QUOTED.items(), ids=ascii)
def test_quoting(given_text: str, quoted: str) -> None:
    assert text.quotable(given_text) == quoted


LINKED = {
    "https://h/p?a=b&c=%20d#e": "https://h/p?a=b&c=%20d#e",
    "HTTP://h/ä": "HTTP://h/ä",
    "https://h/a b": "https://h/a%20b",
    "https://h/<x>|y": "https://h/%3Cx%3E%7Cy",
    "https://h/\u202e\n": "https://h/%E2%80%AE",
    "https://h/a\u00adb\u200b\U000e0041": "https://h/a%C2%ADb%E2%80%8B%F3%A0%81%81",
    "https://[::1]:8/a[0]?b[]=@c": "https://[::1]:8/a%5B0%5D?b%5B%5D=@c",
    "https://here@h/@here/@everyone.png": "https://here@h/%40here/%40everyone.png",
    "https://h/[your-bank](https://evil.example)": "https://h/%5Byour-bank%5D(https://evil.example)",
    "https://h/" + "x" * 20_000: None,
    "javascript:alert(1)": None,
    "data:image/png;base64,AAAA": None,
    "//h/p": None,
}


@pytest.mark.parametrize(("url", "link"), LINKED.items(), ids=lambda each: ascii(each)[:40])
def test_output_links(url: str, link: str | None) -> None:
    assert text.link(url) == link


PLACES = {
    "/var/lib/comet_api/abc/000-out_1@2x.png": "/var/lib/comet_api/abc/000-out_1@2x.png",
    "/srv/my outputs/Ärger/図.png": "/srv/my outputs/Ärger/図.png",
    "s3://bucket/pre/fix/a.png": "s3://bucket/pre/fix/a.png",
    "https://acc.blob.example/c/a.png": "https://acc.blob.example/c/a.png",
    "/srv/@here.png": "file:///srv/%40here.png",
    "/srv/_a_/b.png": "file:///srv/%5Fa%5F/b.png",
    "/srv/*a*": "file:///srv/%2Aa%2A",
    "/srv/a  b": "file:///srv/a%20%20b",
    "/srv/a\nnotice b": "file:///srv/a%0Anotice%20b",
    "/srv/a\u200bb": "file:///srv/a%E2%80%8Bb",
    "/srv/100%_": "file:///srv/100%25%5F",
    "/srv/:tada:": "file:///srv/%3Atada%3A",
    "s3://bucket/[a](b)": "s3://bucket/%5Ba%5D%28b%29",
    "/srv/" + "x" * 20_000: None,
    "data:image/png;base64,AAAA": None,
    "a.png": None,
    "": None,
}


@pytest.mark.parametrize(("place", "shown"), PLACES.items(), ids=lambda each: ascii(each)[:40])
def test_places_of_files(place: str, shown: str | None) -> None:
    assert text.place(place) == shown


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(["/", "s3://"]))
def test_a_place_leads_to_its_file_whatever_it_is_called(name: str, root: str) -> None:
    shown = text.place(root + name)
    assert shown is not None
    assert shown == root + name or unquote(shown.removeprefix("file://")) == root + name
    assert text.inert(shown) == shown
    assert "\n" not in shown


@settings(deadline=None)
@given(st.text(st.characters()), st.integers(1, 50))
def test_cutting_never_makes_a_text_longer_than_asked(given_text: str, length: int) -> None:
    assert len(text.cut(given_text, length)) <= length
    assert len(text.cut_lines(given_text, length)) <= length
    assert "\n" not in text.one_line(given_text, length)


@settings(deadline=None)
@given(st.text(st.characters()))
def test_cleaning_twice_changes_nothing_more(given_text: str) -> None:
    once = text.clean(given_text)
    assert text.clean(once) == once
    once.encode()
