"""Logging: one line per event, to standard error, the same keys in the same order, never a secret.

Libraries speak in the same form, and only with warnings. No call raises, whatever is logged and whoever reads it.
"""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import select
import sys
import threading
import time
from collections.abc import Hashable, Mapping

from notifier.logs.lines import Formatter, Happening
from notifier.logs.secrets import hide

__all__ = ["event", "fatal_mistake", "hide", "is_journal", "is_news", "mistake", "setup"]

STANDARD_ERROR = 2
PATIENCE = 1.0
"""Seconds that a reader of standard error may take to make room, once."""
SAID_AGAIN_AFTER = 3600.0
"""Seconds after which what comes again and again is said again."""
MOST_REMEMBERED = 1000
MISTAKE = "mistake in the program"

_log = logging.getLogger(__name__)
_said: dict[tuple[Hashable, ...], float] = {}


def event(logger: logging.Logger, level: int, what: str, /, **facts: object) -> None:
    """Log that `what` happened, with its facts as `key=value` in the order given; those that are None are left out."""
    if logger.isEnabledFor(level):
        logger.log(level, Happening(what, facts))


def mistake(logger: logging.Logger, effect: str, error: BaseException | None = None, /, **facts: object) -> None:
    """Log a mistake of ours: what comes of it, and the exception that is being handled, or `error`, with its traceback.

    The same mistake again within an hour is only a line, at the level debug.
    """
    error = error or sys.exception()
    if is_news(logger.name, effect, *_place(error)):
        _log_mistake(logger, logging.ERROR, effect, error, facts)
    else:
        event(logger, logging.DEBUG, MISTAKE, effect=effect, error=type(error).__name__, **facts)


def fatal_mistake(logger: logging.Logger, effect: str, error: BaseException | None = None, /, **facts: object) -> None:
    """Log a mistake of ours that something has ended by: critical, each time."""
    _log_mistake(logger, logging.CRITICAL, effect, error or sys.exception(), facts)


def _log_mistake(
    logger: logging.Logger, level: int, effect: str, error: BaseException | None, facts: Mapping[str, object]
) -> None:
    if logger.isEnabledFor(level):
        facts = {"effect": effect, "error": type(error).__name__, **facts}
        logger.log(level, Happening(MISTAKE, facts), exc_info=error)


def _place(error: BaseException | None) -> tuple[Hashable, ...]:
    """What was raised, and where."""
    trace = error.__traceback__ if error else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (type(error).__name__, trace and trace.tb_frame.f_code.co_filename, trace and trace.tb_lineno)


def is_news(*what: Hashable) -> bool:
    """Whether this is asked for the first time within an hour: for what comes again and again, and is never over."""
    now = time.monotonic()
    news = now - _said.get(what, -math.inf) >= SAID_AGAIN_AFTER
    if news:
        if len(_said) >= MOST_REMEMBERED:
            _said.clear()
        _said[what] = now
    return news


def is_journal() -> bool:
    """Whether standard error is the journal's own stream, and was not redirected since (sd-daemon's rule)."""
    try:
        found = os.fstat(STANDARD_ERROR)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def setup(level: int = logging.INFO, *, as_json: bool = False) -> None:
    """Send the program's log to standard error, with libraries' part in it from warnings on.

    So goes what Python writes there by itself: its warnings, and exceptions that nobody took. A signal that kills, such
    as that of systemd's watchdog, shows where each thread stands.
    """
    root = logging.getLogger()
    root.handlers[:] = [_Handler(journal=is_journal(), as_json=as_json)]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("notifier").setLevel(level)
    logging.captureWarnings(capture=True)
    sys.excepthook = lambda _kind, error, _trace: fatal_mistake(_log, "the program ends", error)
    sys.unraisablehook = lambda args: mistake(_log, "passed over", args.exc_value)
    threading.excepthook = _thread_ended
    faulthandler.enable(STANDARD_ERROR)


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:  # by which a thread may end itself
        name = args.thread.name if args.thread else None
        fatal_mistake(_log, "a thread has ended", args.exc_value, thread=name)


class _Handler(logging.Handler):
    """Writes to the file itself: where the reader has gone away, nothing is left over that would fail at the exit."""

    def __init__(self, *, journal: bool, as_json: bool) -> None:
        super().__init__()
        self._is_blocked = False
        """Whether the last line was dropped: the next ones do not wait."""
        self.setFormatter(Formatter(journal=journal, as_json=as_json))
        # The journal's encoding, and JSON's (RFC 8259), is not the terminal's to choose.
        self._encoding = "utf-8" if journal or as_json else getattr(sys.stderr, "encoding", None) or "utf-8"

    def filter(self, record: logging.LogRecord) -> bool:
        """Whatever level a library has set for itself."""
        return record.levelno >= logging.WARNING or record.name.partition(".")[0] == "notifier"

    def emit(self, record: logging.LogRecord) -> None:
        try:
            try:
                line = self.format(record)
            except Exception:  # noqa: BLE001 - a library's values, or what an exception holds, may do anything
                about = {"name": record.name, "levelno": record.levelno, "levelname": record.levelname}
                line = self.format(logging.makeLogRecord(about | {"msg": Happening("a line cannot be shown", {})}))
            self._write(f"{line}\n".encode(self._encoding, "replace"))
        except Exception:  # noqa: BLE001, S110 - nobody is left to be told, and whoever logs has better things to do
            pass

    def _write(self, data: bytes) -> None:
        """Write a line, unless a reader that is there and does not read would have it wait: then it is dropped."""
        writable = select.poll()
        writable.register(STANDARD_ERROR, select.POLLOUT)
        for start in range(0, len(data), select.PIPE_BUF):
            # So many bytes never wait where there is any room (pipe(7)).
            if not writable.poll(0 if self._is_blocked else PATIENCE * 1000):
                self._is_blocked = True
                return
            part = data[start : start + select.PIPE_BUF]
            while part:
                part = part[os.write(STANDARD_ERROR, part) :]
        self._is_blocked = False
