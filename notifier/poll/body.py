"""From the bytes of a body to JSON, with all that JSON in the wild can be."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from notifier.poll.text import one_line, page_title

EMPTY = "an empty answer"
NOT_JSON = "not JSON: "
MAX_PARSED = 128 * 2**20
"""What a body may take up once it is parsed, in bytes, as far as one can tell beforehand."""
_DIGITS = 640
"""Of a whole number that any Python reads, however it was started (sys.int_info.str_digits_check_threshold)."""
_LIGHT = 2**20
"""Of a body smaller than this, whatever it holds can be taken up."""


class UnreadableError(Exception):
    """A body that is not JSON; the text says what it is instead, for people."""


def parse(content: bytes) -> Any:
    """The JSON value in a body; stricter than Python by itself: UTF-8 only, and no NaN or Infinity.

    A byte order mark is passed over (RFC 8259, 8.1, leaves that to the reader). Raises UnreadableError for anything
    that is not JSON, for nesting beyond Python's stack, and values beyond MAX_PARSED. A whole number of more digits
    than Python reads is infinity: somewhere in the metrics it must not hide a good status.
    """
    if len(content) > _LIGHT and _weight(content) > MAX_PARSED:
        raise UnreadableError("too large: JSON with too many values in it")
    try:
        text = content.decode("utf-8").removeprefix("\ufeff")
        try:
            return _decoder.decode(text)
        except json.JSONDecodeError:
            raise
        except ValueError:  # of too many digits, or a constant; a hook for numbers would slow down every parse
            return _patient_decoder.decode(text)
    except (ValueError, RecursionError) as error:  # ValueError: of decoding, or of JSON
        raise UnreadableError(_what_it_is(content, error)) from None


def as_object(value: Any) -> dict[str, Any] | None:
    """A JSON object, also one that is written in a JSON string; None for anything else."""
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            value = parse(value.encode("utf-8", "surrogatepass"))
        except UnreadableError:
            return None
    return value if isinstance(value, dict) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _whole_number(digits: str) -> float:
    """Without the conversion that takes time by the square of the digits, which is why Python has a limit."""
    return int(digits) if len(digits) <= _DIGITS else math.copysign(math.inf, -1.0 if digits[0] == "-" else 1.0)


_decoder = json.JSONDecoder(parse_constant=_refuse)
_patient_decoder = json.JSONDecoder(parse_constant=_refuse, parse_int=_whole_number)


def _weight(content: bytes) -> int:
    """Roughly what Python needs for the containers and their items: 16 MiB of `{},` would become a gigabyte."""
    return sum(content.count(mark) * size for mark, size in ((b"{", 240), (b"[", 72), (b",", 56), (b'":', 120)))


def _what_it_is(content: bytes, error: Exception) -> str:
    text = content[:20_000].decode("utf-8", "replace").removeprefix("\ufeff").strip()
    if not text:
        return EMPTY
    if text.startswith("<"):
        title = page_title(text)
        return f"an HTML page ({title})" if title else "an HTML page"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    if text[0] in '{["':
        # Not quoted: a prediction's input may be in it.
        return "JSON that is broken off or cannot be read"
    return f"{NOT_JSON}{one_line(text, 200)}"
