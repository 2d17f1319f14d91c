"""How things out of the file are named and quoted in messages: paths, found values, nearest words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import lru_cache

LONGEST_LIST = 20


def join(path: str, step: str | int) -> str:
    """`watchlist` and 2 make `watchlist[2]`, that and `interval` make `watchlist[2].interval`."""
    if isinstance(step, int):
        return f"{path}[{step}]"
    name = step if re.fullmatch(r"[\w.<-]{1,64}", step) else shown(step)
    return f"{path}.{name}" if path else name


def shown(text: str, limit: int = 60) -> str:
    """A text out of the file, fit to be quoted in a message: in quotes, short, on one line. An address is cut after
    its scheme, as a notification URL or a password in one may have strayed there.
    """
    if "://" in text:
        text = text.partition("://")[0][: limit // 2] + "://…"
    quoted = repr(text[:limit])
    return quoted if len(quoted) <= limit else f"{quoted[: limit - 2]}…{quoted[-1]}"


def either(words: Iterable[str]) -> str:
    """`a, b or c`; only the first where there are many."""
    words = [word if word.isprintable() else shown(word) for word in words]
    if not words:
        return "(there is none)"
    if len(words) > LONGEST_LIST:
        return f"{', '.join(words[:LONGEST_LIST])} … ({len(words)} in all)"
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


@lru_cache(maxsize=256)
def did_you_mean(word: str, allowed: tuple[str, ...]) -> str:
    """`; did you mean 'interval'?` where a word comes close to an allowed one, else nothing."""
    known = {name.casefold(): name for name in allowed}
    nearest = difflib.get_close_matches(word[:64].casefold().replace("-", "_"), known, n=1)
    if not nearest:
        return ""
    meant = known[nearest[0]]
    quoted = f"'{meant}'" if meant.isprintable() else shown(meant)
    return f"; did you mean {quoted}?"
