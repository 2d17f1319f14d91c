"""Text from the API made harmless: it is data of unknown length, from people and machines nobody vouches for."""

from __future__ import annotations

import html
import json
import re
from typing import Any

MAX_ERROR = 4000
MAX_REASON = 300

_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
"""What tells a terminal to change colour or to move its cursor (ECMA-48, 5.4)."""
_ODD = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff"  # controls save tab and line feed; halves of characters
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"  # what turns the direction of the text around it
)
_DATA_URI = re.compile(r"\bdata:(?:[\w.+-]{1,80}/[\w.+-]{1,80})?(?:;[\w.+=-]{1,80}){0,8},[^\s\"'<>]*", re.A | re.I)
_URL = re.compile(r"\b([a-z][a-z0-9+.-]{1,20}://)(?:[^\s/?#\"'<>@]{1,200}@)?([^\s?#\"'<>]*)([?#][^\s\"'<>]*)?", re.I)
_TITLE = re.compile(r"<title[^>]{0,100}>(.{0,500}?)</title", re.I | re.S)

_WORDS = (
    *("message", "detail", "msg", "error_description", "error", "error_message", "error_msg", "err", "header"),
    *("description", "title", "reason", "code"),
)
"""Where an error object keeps its text, the most telling first."""


def clean(text: str) -> str:
    """Without control characters (line feeds and tabs stay), lone surrogates and marks of text direction."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _ODD.sub("", _COLOUR.sub("", text))


def cut(text: str, limit: int) -> str:
    """At most `limit` characters; an ellipsis shows what was cut."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def without_data(text: str) -> str:
    """`data:` URIs stand for themselves by their first letters: they are files, not text."""
    return _DATA_URI.sub("data:…", text) if "data:" in text or "DATA:" in text else text


def is_data(text: str) -> bool:
    """Whether the text begins as a `data:` URI."""
    return text[:5].lower() == "data:" and _DATA_URI.match(text[:1000]) is not None


def without_queries(text: str) -> str:
    """URLs lose their query, their fragment and their password: signatures and keys stand there."""
    return _URL.sub(r"\1\2", text) if "://" in text else text


def quotable(text: str, limit: int) -> str | None:
    """The beginning of a text as it may stand in a message or a log; None if nothing is left."""
    # What is far beyond the limit cannot come to stand within it; cut first, a text may be many MB long.
    text = clean(without_data(text)[: limit * 4])
    return cut(without_queries(without_data(text)).strip(), limit) or None  # again: odd characters may have hidden one


def one_line(text: str, limit: int = MAX_REASON) -> str:
    """The same on a single line, for reasons and the log."""
    return cut(" ".join((quotable(text, limit * 2) or "").split()), limit)


def readable(value: Any, limit: int = MAX_ERROR) -> str | None:
    """An error of any JSON type as text for people; None if it says nothing (`""`, `{}`, `false`).

    Of an object it is the message, the detail or the code, also one level deeper (`{"error": {"message": ...}}`);
    of a list its items' texts; of anything else, the JSON itself.
    """
    found = _spoken(value, depth=4)
    return None if found is None else quotable(found, limit)


def _spoken(value: Any, depth: int) -> str | None:
    if isinstance(value, str):
        return value if value.strip() else None
    if value is None or value is False or value == [] or value == {}:
        return None
    if depth and isinstance(value, dict):
        for word in _WORDS:
            text = _spoken(value.get(word), depth - 1)
            if text is not None:
                return text
        if len(value) < 20 and all(_spoken(inner, 0) is None for inner in value.values()):
            return None
    if depth and isinstance(value, list):
        texts = (_spoken(item, depth - 1) for item in value[:10])
        return "; ".join(text for text in texts if text) or None
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        return "an error nested too deeply to be shown"


def page_title(text: str) -> str | None:
    """The title of an HTML page; None if it has none."""
    found = _TITLE.search(text[:20_000])
    return one_line(html.unescape(found[1]), 80) or None if found else None
