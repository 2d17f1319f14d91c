"""What must not be seen in the log, in whatever form it comes."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, quote_plus

_take_out: Callable[[str], str] = str


def hide(secrets: Iterable[str]) -> None:
    """Take these texts, and no others, out of every line from now on, tracebacks included, in any common encoding.

    One of less than six characters is only taken out where it stands alone, not as a part of a word, and one of less
    than four is left: else the log would be full of holes, which show what was there.
    """
    global _take_out  # noqa: PLW0603 - logging is global to a process, and so is what it hides
    # Longest first: a secret may be a part of another one.
    forms = sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)
    anywhere = [form for form in forms if len(form) >= 6]
    alone = "|".join(re.escape(form) for form in forms if 4 <= len(form) < 6)
    words = re.compile(rf"(?<!\w)(?:{alone})(?!\w)") if alone else None

    def take_out(text: str) -> str:
        for form in anywhere:
            text = text.replace(form, "***")
        return words.sub("***", text) if words else text

    _take_out = take_out


def hidden(text: str) -> str:
    """The text with `***` in place of each secret. For texts that nothing in has been escaped or cut."""
    return _take_out(text)


def _forms(secret: str) -> Iterator[str]:
    """A secret as it may stand in a text: exceptions quote it, URLs encode it, a login is sent as Base64."""
    octets = secret.encode(errors="surrogatepass")
    yield from (secret, *secret.splitlines(), repr(secret)[1:-1], ascii(secret)[1:-1], repr(octets)[2:-1])
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    yield from (quote(octets), quote(octets, safe=""), quote_plus(octets), base64.b64encode(octets).decode())
