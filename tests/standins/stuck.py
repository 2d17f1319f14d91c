"""The program, one of whose threads stops for good, as in a deadlock, once a file is there.

    python -m tests.standins.stuck PART FILE run -c config.yaml

The parts are named in SEAMS, by what their threads call again and again. The patience with them is a second.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from notifier.cli import main
from notifier.schedule import DueTable
from notifier.service import health, keeper
from notifier.store import Store
from notifier.transport.exchange import Exchange

SEAMS: dict[str, tuple[Any, str, str]] = {
    "scheduler": (DueTable, "take", "APScheduler"),
    "transport": (Exchange, "begin", "transport"),
    "keeper": (keeper, "decide_watch", "keeper"),
    "lane": (Store, "waiting", "lane"),
    "heartbeat": (Store, "check_identity", "heartbeat"),
}
"""What is called, and how the thread's name begins that stops there."""
PATIENCE = 1.0


def stop_at(part: str, file: Path) -> None:
    """Have the part's thread wait for ever at its seam, once the file is there."""
    owner, attribute, thread = SEAMS[part]
    call: Callable[..., Any] = getattr(owner, attribute)

    @wraps(call)
    def stopping(*arguments: Any, **named: Any) -> Any:
        if file.exists() and threading.current_thread().name.startswith(thread):
            threading.Event().wait()
        return call(*arguments, **named)

    setattr(owner, attribute, stopping)


if __name__ == "__main__":
    part, file = sys.argv[1:3]
    stop_at(part, Path(file))
    del sys.argv[1:3]
    health.POLLS_PATIENCE = health.TRANSPORT_PATIENCE = health.KEEPER_PATIENCE = health.ASK_EVERY = PATIENCE
    if part == "lane":  # in the others, a channel may hang for longer
        health.DELIVERY_PATIENCE = PATIENCE
    main()
