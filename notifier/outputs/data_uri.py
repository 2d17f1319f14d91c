"""`data:` URIs (RFC 2397): files that stand in the answer itself."""

from __future__ import annotations

import binascii
import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from notifier.errors import DataUriError

DEFAULT_CONTENT_TYPE = "text/plain;charset=US-ASCII"

_BASE64 = re.compile(r";\s*base64\s*$", re.I)
_CONTENT_TYPE = re.compile(r"[\w.+-]{1,80}/[\w.+-]{1,80}(?:\s*;[\x20-\x7e]{0,200})?", re.A)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\n\r\f\v"
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class Inline(NamedTuple):
    """What a `data:` URI holds. It may be empty."""

    content: bytes
    content_type: str
    """As it is written, parameters included; printable ASCII."""


def decode(uri: str, *, max_size: int) -> Inline:
    """The file in a `data:` URI.

    Both alphabets of base64 are understood, blanks within it and missing padding too. Without base64 it is
    percent-encoded text, of which a `#` is a part: SVG images come so, and hold colours. Raises DataUriError for what
    is no `data:` URI, for damaged base64, and for content of more than `max_size` bytes, before that is decoded.
    """
    scheme, _, rest = uri.strip().partition(":")
    head, comma, body = rest.partition(",")
    if scheme.lower() != "data" or not comma:
        raise DataUriError("it is no data: URI")
    content_type = _content_type(_BASE64.sub("", head))
    if not _BASE64.search(head):
        content = unquote_to_bytes(body.encode("utf-8", "replace"))
        _check_size(len(content), max_size)
        return Inline(content, content_type)
    return Inline(_from_base64(body.partition("#")[0], max_size), content_type)


def _content_type(text: str) -> str:
    given = text.strip()
    if given.startswith(";"):
        given = "text/plain" + given
    return given if _CONTENT_TYPE.fullmatch(given) else DEFAULT_CONTENT_TYPE


def _from_base64(body: str, max_size: int) -> bytes:
    written = body.encode("ascii", "replace")  # what is not ASCII becomes `?`, which is no base64 either
    if b"%" in written:
        written = unquote_to_bytes(written)
    digits = written.translate(_URL_SAFE, delete=_BLANKS).rstrip(b"=")
    if digits.translate(None, delete=_ALPHABET):
        raise DataUriError("its base64 holds characters that are none of base64's")
    if len(digits) % 4 == 1:
        raise DataUriError("its base64 is cut off")
    _check_size(len(digits) * 3 // 4, max_size)
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))


def _check_size(size: int, max_size: int) -> None:
    if size > max_size:
        raise DataUriError(f"it holds {size} bytes, more than the {max_size} that one file may have")
