"""`notifier demo`: the real daemon against an embedded API that plays predictions through their lives.

Everything is as in real use: a YAML file, polls over HTTP, a store on disk, notices through Apprise. Only the API and
the channels' other ends are this program's own, on loopback.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from notifier import signals
from notifier.demo.lives import configuration, lives
from notifier.demo.screen import Screen
from notifier.demo.server import Server
from notifier.model import Event
from notifier.service import Service, load_config
from notifier.store import Store

LONGEST = 50.0
"""Seconds after which the demonstration ends in any case."""
LOOK_EVERY = 0.25
"""Seconds without a message after which the store is asked whether any will follow."""
LUCK = 0.12
"""In place of chance, so that the back-off after failures is short enough to be watched."""


def play() -> bool:
    """Play the demonstration on the terminal; returns in less than a minute, with nothing left behind.

    Whether it was played to its end: SIGINT, SIGTERM or SIGHUP end it before. Wants the main thread, and leaves these
    signals ignored: it is the last thing that its process does.
    """
    cast = lives()
    with (
        Server(cast) as server,
        _signals(server.hang_up),
        tempfile.TemporaryDirectory(prefix="notifier-demo-") as folder,
        _only_this_machine(),
    ):
        path = Path(folder) / "config.yaml"
        text = configuration(server.base_url, server.port, cast)
        path.write_text(text, encoding="utf-8")
        screen = Screen()
        screen.opening(text, cast)
        # Nothing of the person's own environment: no proxy, no CA bundle, no folder of state.
        environ = {"DEMO_TOKEN": "demo-token-0000", "STATE_DIRECTORY": folder}
        config = load_config(path, environ)
        start = time.monotonic()
        with (
            _running(Service(config, environ=environ, chance=lambda: LUCK), server.hang_up),
            Store.open(config.store, create=False) as store,
        ):
            if not _show(server, screen, store, start + LONGEST):
                return False
            screen.closing(
                cast, server.polls, store.history(None, 1000), time.monotonic() - start, complete=_all_is_told(store)
            )
    return True


def _show(server: Server, screen: Screen, store: Store, until: float) -> bool:
    """Show what arrives, until all has or the time is up; False if it was ended before."""
    while time.monotonic() < until:
        # Asked before the queue is emptied: what is marked as sent has arrived by then.
        over = _all_is_told(store)
        with suppress(queue.Empty):
            while arrival := server.arrivals.get(timeout=LOOK_EVERY):
                screen.arrival(arrival)
            return False
        if over:
            break
    return True


def _all_is_told(store: Store) -> bool:
    """Whether every prediction has ended, or is lost, and no delivery waits."""
    watches = store.watches_overview()
    ended = all(row.state.done or Event.LOST in row.state.troubles for row in watches)
    return bool(watches) and ended and not any(row.waiting for row in store.channels_overview())


@contextmanager
def _running(service: Service, ended: Callable[[], None]) -> Iterator[None]:
    """The daemon runs meanwhile. Raises what it raised; `ended` is called when it ends, also of itself."""
    with ThreadPoolExecutor(1, "demo daemon") as pool:
        life = pool.submit(service.run, take_signals=False)
        life.add_done_callback(lambda _: ended())
        try:
            yield
        finally:
            service.stop()
        life.result()


@contextmanager
def _signals(end: Callable[[], None]) -> Iterator[None]:
    """A signal to end calls `end` and interrupts nothing, so that everything is tidied up, however many come.

    Afterwards they are ignored: the process is about to end, and while it does Python would let them kill it.
    """
    for number in signals.SIGNALS:
        signal.signal(number, lambda *_: end())
    try:
        yield
    finally:
        for number in signals.SIGNALS:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def _only_this_machine() -> Iterator[None]:
    """No proxy gets between Apprise and this program, and the daemon's log does not tear the picture."""
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
