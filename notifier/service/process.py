"""The process that the daemon is: its open files, and how its threads take turns."""

from __future__ import annotations

import logging
import resource
import sys

from notifier.logs import event

logger = logging.getLogger(__name__)

SPARE_FILES = 200
"""Open files beside those of polls: the store, channels, log, who asks over http."""


def prepare(polls: int) -> None:
    """Let so many polls be open at once, each of which is an open file, and keep the transport's thread responsive."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and polls + SPARE_FILES > hard:
        event(logger, logging.WARNING, "the limit of open files is lower than what `concurrency` asks for", limit=hard,
              asked=polls + SPARE_FILES)  # fmt: skip
    # Beside a thread that computes, such as a reload's, an exchange takes 18 ms at Python's own 5 ms, and 1.5 ms so.
    sys.setswitchinterval(0.001)
