"""Why a channel did not take a message, read from Apprise's records of the call.

Apprise itself only says yes or no. What the service answered stands in its warnings (`error=404`) and debug records
(`Response Details:`, `Socket Exception:`), in words of requests, urllib3, smtplib and OpenSSL. Only what is recognised
is passed on, and the service's own words, short.
"""

from __future__ import annotations

import ast
import json
import math
import re
import time
from collections.abc import Sequence
from email.utils import mktime_tz, parsedate_tz
from typing import Any, NamedTuple

from notifier.channels.plugins import HEADERS, RETRY_AFTER, Record
from notifier.errors import DeliveryError

LONGEST_WAIT = 3600.0
"""Seconds; a service that asks for more is not believed."""

_HTTP_STATUS = re.compile(r"\berror=(\d{3})\b")
_ANSWER = re.compile(r"\AResponse Details:\s*(.*)\Z", re.DOTALL)
_EXCEPTION = re.compile(r"\A[\w/. -]*Exception: (.*)\Z", re.DOTALL)

# Slack's words (docs.slack.dev: incoming webhooks, chat.postMessage) for an address that is gone, and for a message
# it cannot take; of Discord and Telegram, which spell theirs out, the words for the former.
_GONE = frozenset(
    {
        "account_inactive", "channel_is_archived", "channel_not_found", "is_archived", "no_active_hooks", "no_service",
        "no_team", "team_disabled", "token_revoked", "user_not_found", "users_not_found",
    }
)  # fmt: skip
_CONTENT = frozenset(
    {
        "invalid_attachments", "invalid_blocks", "invalid_blocks_format", "invalid_payload", "msg_blocks_too_long",
        "msg_too_long", "no_text", "too_many_attachments",
    }
)  # fmt: skip


_GONE_IN_WORDS = re.compile(
    r"Unknown (Webhook|Channel)|chat not found|bot was (blocked|kicked)|user is deactivated|group chat was deleted",
    re.IGNORECASE,
)
_POLICY = re.compile(r"5\.7\.\d")
"""An SMTP server's enhanced status (RFC 3463) of a refusal by policy: the mailbox is there, this mail is not let in."""
_NO_MAILBOX = re.compile(r"5\.1\.[0-36]\b|5\.2\.1\b")
"""And of a mailbox that does not exist, has moved or is disabled."""
_TOO_LARGE = re.compile(r"5\.3\.4\b|5\.2\.3\b")
"""And of a mail that is larger than the server or the mailbox takes; not every server says 552 then."""


class _Cause(NamedTuple):
    """A failure below HTTP and SMTP. `{0}` in the reason is the pattern's group; `after` says whether the message was
    on its way already, so that it may have arrived.
    """

    pattern: re.Pattern[str]
    reason: str
    after: bool = False


_CAUSES = tuple(
    _Cause(re.compile(pattern, re.IGNORECASE), reason, after)
    for pattern, reason, after in (
        (r"Tunnel connection failed: (\d{3}[\w ]*)", "proxy: {0}", False),
        (r"certificate verify failed(: [\w' .,-]+)?", "TLS: certificate verify failed{0}", False),
        (r"CA certificate bundle, invalid path: (\S+)", "TLS: no CA certificates at {0}", False),
        (r"\[SSL: \w+\] ([\w ]+)", "TLS: {0}", False),
        (r"EOF occurred in violation of protocol|SSLError|handshake", "TLS: the handshake failed", False),
        (r"Failed to resolve '([^']+)'", "cannot resolve {0}", False),
        (r"Name or service not known|name resolution|getaddrinfo|No address assoc", "cannot resolve {host}", False),
        (r"Unable to connect to proxy.*Connection refused", "proxy: connection refused", False),
        (r"Connection refused", "connection refused", False),
        (r"(Network is unreachable|No route to host)", "{0}", False),
        (r"STARTTLS extension not supported", "TLS: the server does not offer STARTTLS", False),
        (r"connect timeout|ConnectTimeout|\[Errno 110\]", "connecting timed out", False),
        (r"timed out|timeout", "no answer in time", True),
        (r"Connection reset", "connection reset", True),
        (r"closed connection|unexpectedly closed|aborted|Broken pipe|IncompleteRead|Connection broken|EOF",
         "connection closed without an answer", True),
        (r"(No such file or directory|Permission denied|Too many open files)", "{0}", False),
    )
)  # fmt: skip


def explain(records: Sequence[Record]) -> DeliveryError:
    """The failure behind these records of one call. The reason may be long, and hold parts of the channel's URL."""
    exceptions = [found[1] for record in records if (found := _EXCEPTION.match(record.message))]
    smtp = next((error for text in exceptions if (error := _smtp(text, records))), None)
    refused = next((error for record in records if (error := _refused_recipient(record))), None)
    statuses = [found[1] for record in records if (found := _HTTP_STATUS.search(_warning(record)))]
    if smtp or refused:
        return smtp or refused or DeliveryError("refused")
    if statuses:
        answers = [found[1] for record in records if (found := _ANSWER.match(record.message))]
        return _http(int(statuses[-1]), answers[-1] if answers else "", _header(records))
    if exceptions:
        return _broken(exceptions[-1], records)
    said = [record.message for record in records if record.level in ("WARNING", "ERROR", "CRITICAL")]
    return DeliveryError(tidy(said[-1]) if said else "the channel did not take it and gave no reason")


def _warning(record: Record) -> str:
    return record.message if record.level in ("WARNING", "ERROR") else ""


# --- HTTP -------------------------------------------------------------------------------------------------------------


def _http(status: int, answer: str, retry_after: str = "") -> DeliveryError:
    text = _decoded(answer)
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    said = _said(body) if isinstance(body, dict) else _readable(text)
    word = said.split(":")[0].strip()
    succeeded = 200 <= status < 300
    if 300 <= status < 400:
        said = "a redirect, which is not followed"
    elif succeeded and not said:
        said = "an empty answer"
    gone = status == 410 or word in _GONE or bool(_GONE_IN_WORDS.search(said))
    return DeliveryError(
        f"HTTP {status}: {said}" if said else f"HTTP {status}",
        content=not gone and (status in (400, 413, 415, 422) or word in _CONTENT),
        gone=gone,
        # A success that is none: the service, or a portal in between, says something else. A gateway that waited in
        # vain (504, and Cloudflare's 524) does not know either.
        maybe_arrived=status in (504, 524) or (succeeded and not isinstance(body, dict)),
        retry_after=_retry_after(body, retry_after if status == 429 or status >= 500 else ""),
    )


def _decoded(answer: str) -> str:
    """Plugins log the answer as it prints, `b'no_service'`, some of them cut."""
    if answer[:2] in ("b'", 'b"'):
        try:
            return bytes(ast.literal_eval(answer)).decode("utf-8", "replace")
        except (SyntaxError, ValueError, TypeError):
            return answer[2:].rstrip("'\"")
    return answer


def _said(body: dict[str, Any]) -> str:
    """The reason in a JSON answer, wherever services put it."""
    for name in ("error", "message", "detail", "details", "description", "error_description", "title", "errors"):
        value = body.get(name)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, dict):
            value = _said(value)
        if isinstance(value, str) and value.strip():
            return tidy(value)
    return ""


def _readable(text: str) -> str:
    """What a person would read of an answer that is not JSON: of a web page, its title."""
    if text.lstrip().startswith("<"):
        title = re.search(r"<title[^>]*>([^<]+)", text, re.IGNORECASE)
        return tidy(title[1]) if title else "a web page"
    return tidy(text)


def _header(records: Sequence[Record]) -> str:
    """The last answer's Retry-After."""
    named = f"{RETRY_AFTER}: "
    said = [record.message.removeprefix(named) for record in records if record.level == HEADERS]
    return said[-1] if said else ""


def _retry_after(body: object, header: str) -> float | None:
    """Seconds, from the answer's body (Discord and Slack's API; Telegram in `parameters`), else from its header."""
    value = None
    if isinstance(body, dict):
        inner = body.get("parameters")
        value = body.get("retry_after", inner.get("retry_after") if isinstance(inner, dict) else None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        value = _seconds(header.strip())
    return None if value is None else min(max(float(value), 0.0), LONGEST_WAIT)


def _seconds(header: str) -> float | None:
    """A Retry-After in seconds: it is such a number or a date (RFC 9110, 10.2.3)."""
    if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?", header):
        return float(header)
    date = parsedate_tz(header)
    try:
        return None if date is None else mktime_tz(date) - time.time()
    except (ValueError, OverflowError):
        return None


# --- SMTP -------------------------------------------------------------------------------------------------------------


def _smtp(text: str, records: Sequence[Record]) -> DeliveryError | None:
    """What an SMTP server answered, from smtplib's exceptions: (code, words), (code, words, sender) where the sender
    was refused, {recipient: (code, words)} where the recipients were.
    """
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if isinstance(value, dict):
        answer: Any = next(iter(value.values()), None)
        return _recipient_refused(*answer) if _is_answer(answer) and len(answer) == 2 else None
    if not _is_answer(value):
        return None
    code, words = value[0], value[1]
    reason = _smtp_reason(code, words)
    after_sender = len(value) == 2 and _sending(records) and code >= 500
    gone = after_sender and bool(_NO_MAILBOX.search(reason))
    too_large = code == 552 or bool(_TOO_LARGE.search(reason))
    return DeliveryError(reason, content=not gone and (after_sender or too_large), gone=gone)


def _is_answer(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) in (2, 3) and isinstance(value[0], int) and 200 <= value[0] < 600


def _refused_recipient(record: Record) -> DeliveryError | None:
    """The same from Apprise's own warning, which it gives where only some of the recipients were refused."""
    found = re.match(r"SMTP recipient \S+ was refused: (\d{3}) (.*)", record.message, re.DOTALL)
    return _recipient_refused(int(found[1]), _decoded(found[2])) if found else None


def _recipient_refused(code: int, words: object) -> DeliveryError:
    reason = _smtp_reason(code, words)
    return DeliveryError(reason, gone=code in (550, 551, 553) and not _POLICY.search(reason), content=code == 552)


def _smtp_reason(code: int, words: object) -> str:
    said = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
    return f"SMTP {code} {tidy(said)}".strip()


def _sending(records: Sequence[Record]) -> bool:
    """Whether the mail connection was made and logged in when it failed: the failure is the message's."""
    return any(record.message.startswith("Sending email to ") for record in records)


# --- below both -------------------------------------------------------------------------------------------------------


def _broken(text: str, records: Sequence[Record]) -> DeliveryError:
    """A connection that could not be made, or broke."""
    mail = [found[1] for record in records if (found := re.search(r'submitting email to "([^"]+)"', record.message))]
    for cause in _CAUSES:
        found = cause.pattern.search(text)
        if found:
            group = tidy(found[1] or "") if cause.pattern.groups else ""
            reason = cause.reason.format(group, host=mail[-1] if mail else "the host")
            # Before the message was handed over, a mail connection that breaks has taken nothing.
            return DeliveryError(reason, maybe_arrived=cause.after and not mail)
    return DeliveryError(tidy(text))


def tidy(text: str) -> str:
    """One line of what can be shown, without the queries of URLs."""
    line = "".join(character if character.isprintable() else " " for character in text[:5000])
    return re.sub(r"\?[^\s\"'<>]+", "?…", " ".join(line.split()))
