"""The lines of the log, as text or JSON. Secrets are taken out of them before anything is escaped or cut."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from datetime import UTC, datetime

from notifier.logs.secrets import hidden

LONGEST = 10_000
"""Characters of a fact, a library's message or a traceback: the journal breaks up a line of 48 KiB."""

_JOURNAL_LEVELS = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
"""Python's levels as syslog's, in the `<n>` prefixes that the journal reads (sd-daemon(3))."""
_OURS = frozenset({"time", "level", "logger", "event", "traceback"})
"""The keys of each JSON line; a fact of such a name gets an underscore behind it."""
_NAMES = frozenset({"api", "channel", "subject"})
"""Facts that are names from the configuration, and say what a line is about: a channel `team` must not become `***`
because its address ends in `/team`.
"""


class Happening:
    """The message of a record: what happened, and its facts. As a string it is a line of text, secrets and all."""

    def __init__(self, what: str, facts: Mapping[str, object]) -> None:
        self.what = what
        self.facts = {name: value for name, value in facts.items() if value is not None}

    def __str__(self) -> str:
        return _text(self.what, self.facts)


class Formatter(logging.Formatter):
    """One line for each record, and in text more for a traceback; each with its level where the journal reads them."""

    def __init__(self, *, journal: bool, as_json: bool) -> None:
        super().__init__()
        self._journal, self._as_json = journal, as_json

    def format(self, record: logging.LogRecord) -> str:
        """The line or lines, without an end."""
        ours = record.msg if isinstance(record.msg, Happening) else None
        what = ours.what if ours else " ".join(_printable(_cut(hidden(record.getMessage()))).split())
        facts = {name: _fact(name, value) for name, value in ours.facts.items()} if ours else {}
        trace = _cut(hidden(self.formatException(record.exc_info))) if record.exc_info else ""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self._as_json:
            level = record.levelname.lower()
            lines = [_json({"time": moment, "level": level, "logger": record.name, "event": what}, facts, trace)]
        else:
            text = _text(what, facts if ours else {"logger": record.name})
            lines = [text if self._journal else f"{moment} {record.levelname:<7} {text}"]
            # Indented, so that nothing that an exception quotes passes for a line of the log.
            lines += [f"  {_printable(line)}" for line in trace.split("\n") if trace]
        prefix = f"<{_JOURNAL_LEVELS.get(record.levelname, 6)}>" if self._journal else ""
        return "\n".join(prefix + line for line in lines)


def _text(what: str, facts: Mapping[str, object]) -> str:
    return " ".join((what, *(f"{name}={_quoted(value)}" for name, value in facts.items())))


def _json(told: dict[str, object], facts: Mapping[str, object], trace: str) -> str:
    told |= {f"{name}_" if name in _OURS else name: value for name, value in facts.items()}
    line = json.dumps(told | {"traceback": trace} if trace else told, ensure_ascii=False)
    # What JSON lets pass may still end a line for some, command a terminal, or be half a character.
    return line if line.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def _fact(name: str, value: object) -> int | float | str:
    """A fact without secrets: a number as it is, anything else as a text."""
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _cut(_shown(value) if name in _NAMES else hidden(_shown(value)))


def _shown(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - whatever it was, the other facts are still worth a line
        return f"[{type(error).__name__}]"


def _quoted(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    text = _shown(value)
    plain = text.isprintable() and " " not in text and '"' not in text and text != ""
    return text if plain else '"' + _printable(text).replace('"', "'") + '"'


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _cut(text: str) -> str:
    """Of a text that is too long, how it begins and what comes last."""
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} … {text[-half:]}"
