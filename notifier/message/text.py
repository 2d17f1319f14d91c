"""Text from elsewhere made fit to be quoted: what it says is kept, what it could do to its reader is not.

Everything an API, a model or a watchlist wrote passes through here before it stands in a message. The receivers differ
(Slack, mail, Discord, Mattermost, ...), so whatever any of them would act on is made inert for all of them, by a word
joiner (U+2060) that no reader sees. Nothing is added to output links: they are given whole.
"""

from __future__ import annotations

import re

JOINER = "\u2060"
CUT = "…"
LONGEST = 20_000
"""Characters of a text that are looked at; no message quotes more."""

# Escape sequences of terminals (ECMA-48: CSI and OSC), taken out whole so that no "[31m" is left behind.
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-_]?")
# Controls but tab and line feed; what reorders text (Unicode UAX 9) or hides in it (tags, U+FEFF, interlinear
# annotation); lone surrogates, which have no UTF-8; noncharacters.
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2061-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
_LINE_END = re.compile("\r\n?|[\u0085\u2028\u2029\x0b\x0c]")

# What receivers act on: mentions (@here, @everyone, <@U024BE7LH>, <!channel>, <#C024BE7LH>), Slack's links
# (<https://evil|click>), Markdown's ([click](https://evil), [click][1] with [1]: https://evil), and what would take in
# the lines that follow: fences of code, struck and hidden text. An address such as a@b.example is none of these, but
# some let @everyone be heard in the middle of a word.
_ALL = r"@(?=everyone|here|(?:channel|all)\b)"
_LIVE = re.compile(
    rf"(?<![^\W_])@(?=[\w&!])|{_ALL}|<(?=[!@#]|[a-z][a-z0-9+.-]{{0,31}}:)|\](?=[(\[:])|`(?=`)|~(?=~)|\|(?=\|)",
    re.IGNORECASE,
)

_DATA_URI = re.compile(
    r"\bdata:(?:[\w.+-]{1,99}/[\w.+*-]{1,99})?(?:;[\w.+-]{1,99}(?:=[\w.+\"-]{0,99})?){0,9},[^\s\"]*", re.IGNORECASE
)
_CREDENTIALS = re.compile(r"(?<=://)[^\s/@\"'<>]+@")
# A URL's query and fragment, and a query on its own (`GET /x?token=...`): presigned links carry their keys there.
_QUERY = re.compile(
    r"(\b[a-z][a-z0-9+.-]{0,31}://[^\s?#\"'<>]*)([?#][^\s\"'<>]*)?|\?[\w.%~-]+=[^\s\"'<>]*", re.IGNORECASE
)

_LINK = re.compile(r"(https?://[^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
# What RFC 3986 does not allow in a URL, and what ends one in a chat or a mail; after the host, what is live in a chat.
_NOT_IN_LINK = re.compile(r"[\x00-\x20\"<>\\^`{|}\x7f-\xa0\u2000-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ud800-\udfff]")
_NOT_AFTER_HOST = re.compile(rf"[\[\]]|{_ALL}", re.IGNORECASE)

# What some chat takes out of a path, as that is how emphasis, code, links, emoji and escapes are written there; blanks
# that are lost. In the middle of a word, `_` is a letter everywhere.
_NOT_IN_PLACE = re.compile(r"[*~`<>\[\]|\\\":\t\n]|(?<![^\W_])_|_(?![^\W_])|^ | $|  ")
_PLACE = re.compile(r"((?:[a-z][a-z0-9+.-]{0,31}:/)?/)(.*)", re.IGNORECASE | re.DOTALL)
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9/.,=+-]")


def clean(text: str) -> str:
    """The text without control, reordering and unencodable characters; lines end with a line feed. Always valid UTF-8.

    Does not make mentions and markup inert: this is also the last gate of a whole message.
    """
    return _UNFIT.sub("", _LINE_END.sub("\n", _TERMINAL.sub("", text)))


def inert(text: str) -> str:
    """The cleaned text with every mention and link markup broken by a word joiner."""
    return _LIVE.sub(lambda found: found[0] + JOINER, clean(text))


def quotable(text: str) -> str:
    """The beginning of an error or log text: inert, without `data:` URIs, and queries and credentials of its URLs."""
    return inert(_QUERY.sub(_without_query, _CREDENTIALS.sub("", without_data(clean(text[:LONGEST])))))


def _without_query(found: re.Match[str]) -> str:
    return f"{found[1] or ''}?{CUT}" if found[2] or not found[1] else found[1]


def without_data(text: str) -> str:
    """The text with every `data:` URI replaced: they are long, and may be what a person gave as input."""
    return _DATA_URI.sub("[data left out]", text)


def label(text: str, length: int) -> str:
    """A name, or anything else that is a few words: its beginning, inert and on one line."""
    return one_line(inert(text[:LONGEST]), length)


def one_line(text: str, length: int) -> str:
    """The text on one line, at most `length` characters."""
    return cut(" ".join(text.split()), length)


def link(url: str) -> str | None:
    """An output link, whole, with what a URL cannot hold percent-encoded; None if it is not http(s), or endless."""
    found = _LINK.match(url.strip()) if len(url) <= LONGEST else None
    if not found:
        return None
    host, rest = (_UNFIT.sub(_percent, _NOT_IN_LINK.sub(_percent, part)) for part in found.groups())
    return host + _NOT_AFTER_HOST.sub(_percent, rest)


def place(given: str) -> str | None:
    """Where a file is, a path or a URL: so that whoever copies it has it exactly.

    As it is, where nothing in it is live; else percent-encoded, a path as a `file:` URL. None if it is neither, or
    endless.
    """
    found = _PLACE.fullmatch(given) if len(given) <= LONGEST else None
    if not found:
        return None
    root, rest = found.groups()
    if inert(rest) == rest and not _NOT_IN_PLACE.search(rest):
        return given
    return f"{'file:///' if root == '/' else root}{_NOT_PLAIN.sub(_percent, rest)}"


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "replace"))


def cut(text: str, length: int) -> str:
    """The text, its end replaced by an ellipsis where it is longer than `length` characters (at least 1)."""
    return text if len(text) <= length else text[: max(0, length - 1)].rstrip() + CUT


def cut_lines(text: str, length: int) -> str:
    """Like `cut`, but keeps whole lines where it can: no link is cut in half as long as a line before it fits."""
    if len(text) <= length:
        return text
    end = text.rfind("\n", 0, max(0, length - 1))
    return f"{text[:end]}\n{CUT}" if end > 0 else cut(text, length)
