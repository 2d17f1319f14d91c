"""The one walk through an output, whatever its shape: which of its strings are links, and which are files to keep.

A string counts as a whole or not at all: one that merely mentions a URL is text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from notifier.model import Asset
from notifier.poll.text import clean, is_data

MAX_LINKS = 200
MAX_LINK = 8192
MAX_ASSETS = 1000
_MAX_DEPTH = 64
_MAX_VALUES = 50_000
"""Texts, lists and objects of an output that are looked at; numbers are free: an embedding has a million."""

_LINK = re.compile(r"https?://[^\s/?#\"'<>\\][^\s\"'<>\\]*", re.I)
"""A link is to be shown as well: no quotation mark ends it early in a message's markup."""
_URL = re.compile(r"https?://\S*", re.I)
_NEVER_IN_A_URL = re.compile(r"[\"<>\\]")


class Found(NamedTuple):
    """What a walk found, in the order in which the output is written."""

    links: tuple[str, ...]
    """The first 200 http(s) links that can be shown to people, without repeats."""
    assets: tuple[Asset, ...]
    """The first 1,000 files, without repeats."""
    remark: str | None
    """What was passed over that looks like a file, for the log."""


def walk(output: object) -> Found:
    """The links and the files in an output of any JSON type. Never raises, and does not recurse.

    The same URL is the same file. URLs that differ in their queries are not: `/file?id=1` and `/file?id=2` stand
    beside each other in one output. A fragment is never sent to a server, so it makes no other file.
    """
    links: dict[str, None] = {}
    assets: dict[str, None] = {}
    flaws: list[str] = []
    too_many = False
    for value in _strings(output):
        text = value.strip()
        if len(links) < MAX_LINKS and is_link(text):
            links[text] = None
        if is_data(text):
            url = text
        elif _URL.fullmatch(text):
            url = text.partition("#")[0]
            if flaw := _flaw(url):
                flaws.append(flaw)
                continue
        else:
            continue
        if len(assets) < MAX_ASSETS:
            assets[url] = None
        elif url not in assets:
            too_many = True
    return Found(tuple(links), tuple(map(Asset, assets)), _remark(flaws, too_many=too_many))


def is_link(text: str) -> bool:
    """Whether the whole text is an http(s) URL that can be shown to people."""
    return len(text) <= MAX_LINK and _LINK.fullmatch(text) is not None and clean(text) == text


def _strings(output: object) -> Iterator[str]:
    """All strings in a JSON value, in the order in which they are written; not deeper nor more than is sensible."""
    waiting, seen = [_telling([output])], 0
    while waiting and seen < _MAX_VALUES:
        value = next(waiting[-1], None)
        if value is None:
            waiting.pop()
            continue
        seen += 1
        if isinstance(value, str):
            yield value
        elif len(waiting) < _MAX_DEPTH:
            waiting.append(_telling(value))


def _telling(values: list[object] | dict[str, object]) -> Iterator[str | list[object] | dict[str, object]]:
    """The values among them that may be a URL or hold one."""
    inner = values.values() if isinstance(values, dict) else values
    return (value for value in inner if isinstance(value, str | list | dict))


def _flaw(url: str) -> str | None:
    """Why nothing can be fetched from what looks like a URL; None if something may."""
    if len(url) > MAX_LINK:
        return f"it is longer than {MAX_LINK} characters"
    if clean(url) != url or _NEVER_IN_A_URL.search(url):
        return "it holds characters that no URL has"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "its host is none"
    try:
        if parts.port == 0:
            return "its port is none"
    except ValueError:
        return "its port is none"
    return None if parts.hostname else "it has no host"


def _remark(flaws: list[str], *, too_many: bool) -> str | None:
    """Says nothing of the URLs themselves, for whatever their passwords are."""
    parts = []
    if flaws:
        more = f", and {len(flaws) - 1} more" if len(flaws) > 1 else ""
        parts.append(f"a URL in the output cannot be fetched{more}: {flaws[0]}")
    if too_many:
        parts.append(f"the output holds more than {MAX_ASSETS} files, of which the first ones count")
    return "; ".join(parts) or None
