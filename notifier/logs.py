"""Logging: one line per event, to standard error, the same keys in the same order, never a secret."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable

_JOURNAL_LEVELS = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
"""Python's levels as syslog's, in the `<n>` prefixes that the journal reads (sd-daemon(3))."""


def event(logger: logging.Logger, level: int, what: str, **facts: object) -> None:
    """Log that `what` happened, with its facts as `key=value` in the order given; those that are None are left out."""
    if logger.isEnabledFor(level):
        parts = (f"{key}={_value(value)}" for key, value in facts.items() if value is not None)
        logger.log(level, "%s", " ".join((what, *parts)))


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    text = str(value)
    plain = text.isprintable() and " " not in text and '"' not in text and text != ""
    return text if plain else '"' + "".join(c if c.isprintable() else " " for c in text).replace('"', "'") + '"'


class _Formatter(logging.Formatter):
    """Prefixes a level for the journal or a time for a terminal, and takes out every known secret."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__("%(message)s" if journal else "%(asctime)s %(levelname)-7s %(message)s")
        self._journal = journal
        self.secrets: tuple[str, ...] = ()

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        for secret in self.secrets:
            text = text.replace(secret, "***")
        if not self._journal:
            return text
        prefix = f"<{_JOURNAL_LEVELS.get(record.levelname, 6)}>"
        return "\n".join(prefix + line for line in text.splitlines())


_formatter = _Formatter(journal=False)


def setup(level: int = logging.INFO) -> None:
    """Send the program's log to standard error; libraries only speak up with warnings."""
    global _formatter  # noqa: PLW0603 - logging is global to a process, and so is its formatter
    _formatter = _Formatter(journal="JOURNAL_STREAM" in os.environ)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("notifier").setLevel(level)


def hide(secrets: Iterable[str]) -> None:
    """Take these texts out of every line from now on, tracebacks included. Very short ones are left: they hide all."""
    # Longest first: a secret may be a part of another one.
    _formatter.secrets = tuple(sorted({text for text in secrets if len(text) >= 6}, key=len, reverse=True))
