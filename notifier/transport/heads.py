"""What the head of a download's answer says: which bytes of the file come, and how the rest is asked for another time.

RFC 9110, sections 8.8 (validators), 13.1.5 (If-Range) and 14 (ranges).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime

from requests.structures import CaseInsensitiveDict

_RANGE = re.compile(r"bytes=([0-9]{1,18})-", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes +([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.ASCII | re.IGNORECASE)
_STRONG_AFTER = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a 2xx answer, whose body is the file or the rest of it."""

    status: int
    headers: CaseInsensitiveDict[str]
    offset: int
    """Where in the file the first byte belongs: 0, save that a 206 begins where `Range` asked it to."""
    total: int | None
    """The whole file's length in bytes; None where nobody said."""
    validator: str | None
    """What to send as `If-Range` to get the rest of this very file another time; None if it cannot be had."""
    encoding: str
    """Of the body: `gzip`, or empty for the file's own bytes."""


def asked_from(headers: Mapping[str, str | bytes]) -> int | None:
    """The offset that a request's `Range` asks for; None without one. Raises ValueError for any but `bytes=N-`."""
    asked = headers.get("Range")
    if asked is None:
        return None
    found = _RANGE.fullmatch(str(asked))
    if found is None:
        raise ValueError("a Range other than bytes=N-")
    return int(found[1])


def read_head(status: int, headers: CaseInsensitiveDict[str], request: Mapping[str, str | bytes]) -> Head:
    """The head of a 2xx answer to a request with these headers.

    Raises ValueError, in words for people, if its body cannot be told to be the file or just the rest that was asked.
    """
    encoding = headers.get("Content-Encoding", "").strip().lower()
    encoding = {"identity": "", "x-gzip": "gzip"}.get(encoding, encoding)
    if encoding not in ("", "gzip"):
        raise ValueError("an encoding that was not asked for")
    length = headers.get("Content-Length", "")
    framed = not encoding and "Transfer-Encoding" not in headers and length.isdecimal()
    total = int(length) if framed else None
    offset = 0
    if status == 206:
        offset, total = _part(headers, request, encoding, total)
    return Head(status, headers, offset, total, None if encoding else _validator(headers), encoding)


def _part(
    headers: CaseInsensitiveDict[str], request: Mapping[str, str | bytes], encoding: str, length: int | None
) -> tuple[int, int]:
    """The offset of a 206's body and the file's length."""
    if encoding:
        raise ValueError("a part of a compressed file")
    found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if found is None:
        raise ValueError("a part of the file, without a word on which")
    first, last, total = (int(number) for number in found.groups())
    if first != asked_from(request) or last + 1 != total or first > last or length not in (None, total - first):
        raise ValueError("another part of the file than was asked for")
    validator = request.get("If-Range")
    name = "ETag" if str(validator).startswith('"') else "Last-Modified"
    if validator is not None and headers.get(name, validator) != validator:
        raise ValueError("a part of another version of the file")
    return first, total


def _validator(headers: CaseInsensitiveDict[str]) -> str | None:
    if headers.get("Accept-Ranges", "").strip().lower() == "none":
        return None
    tag = headers.get("ETag", "")
    if tag:
        return tag if tag.startswith('"') else None  # a weak one may stay the same when bytes change
    try:
        modified = parsedate_to_datetime(headers["Last-Modified"])
        # A file changed twice in one second has one date for two versions.
        return headers["Last-Modified"] if parsedate_to_datetime(headers["Date"]) - modified >= _STRONG_AFTER else None
    except (KeyError, ValueError, OverflowError, TypeError):  # TypeError: of two dates, one has no zone
        return None
