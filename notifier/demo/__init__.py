"""`notifier demo`: the real daemon against an embedded API that plays predictions through their lives.

Everything is as in real use: a YAML file, polls over HTTP, a store on disk, notices through Apprise. Only the API and
the channels' other ends are this program's own, on loopback.
"""

from __future__ import annotations

import logging
import os
import queue
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from notifier.demo.lives import configuration, lives
from notifier.demo.screen import Screen
from notifier.demo.server import Server
from notifier.service import Service, load_config
from notifier.store import Store

LONGEST = 50.0
"""Seconds after which the demonstration ends in any case."""
LUCK = 0.12
"""In place of chance, so that the back-off after failures is short enough to be watched."""


def play() -> None:
    """Play the demonstration on the terminal; returns when all was told, in less than a minute."""
    cast = lives()
    with tempfile.TemporaryDirectory(prefix="notifier-demo-") as folder, Server(cast) as server, _only_this_machine():
        path = Path(folder) / "config.yaml"
        text = configuration(server.base_url, server.port, cast)
        path.write_text(text, encoding="utf-8")
        screen = Screen()
        screen.opening(text, cast)
        config = load_config(path, {"DEMO_TOKEN": "demo-token-0000", "STATE_DIRECTORY": folder})
        start = time.monotonic()
        expected = sum(life.team + life.oncall for life in cast)
        with _running(Service(config, chance=lambda: LUCK)):
            missing = _show(server, screen, expected, start + LONGEST)
        with Store.open(config.store, create=False) as store:
            history = store.history(None, 1000)
        screen.closing(cast, server.polls, history, missing, time.monotonic() - start)


def _show(server: Server, screen: Screen, expected: int, until: float) -> int:
    """Show what arrives, until all has or the time is up; how many notices are missing then."""
    while expected:
        try:
            arrival = server.arrivals.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        screen.arrival(arrival)
        expected -= 1
    return expected


@contextmanager
def _running(service: Service) -> Iterator[None]:
    thread = threading.Thread(target=service.run, kwargs={"signals": False}, name="demo daemon")
    thread.start()
    try:
        yield
    finally:
        service.stop()
        thread.join()


@contextmanager
def _only_this_machine() -> Iterator[None]:
    """No proxy gets between this program and itself, and the daemon's log does not tear the picture."""
    names = ("NO_PROXY", "no_proxy")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "127.0.0.1"))
    log = logging.getLogger("notifier")
    handler = logging.NullHandler()
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.propagate = True
        log.removeHandler(handler)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
