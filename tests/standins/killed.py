"""The program, killed by itself at a named point of its work.

    python -m tests.standins.killed POINT WORDS BUSY run -c config.yaml

The point is one of our own seams and a moment of it: `record/begun`, `record/done`, or, where it is a transaction of
the store, `record/uncommitted`, just before its COMMIT. It is reached by the first call whose thread, arguments or
result name all of WORDS (separated by commas): `lane team`, `succeeded`. Then the process waits until no channel but
BUSY (names separated by commas) has anything waiting, so that it is known what was under way, and sends itself SIGKILL.

Every COMMIT on the way is also a look at the connection: one that would not survive a power cut ends the process with
UNSAFE instead. With KEEN in the environment the saver waits less (tests/standins/keen.py).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

import requests
from sqlalchemy import Connection, Engine, event

from notifier import channels
from notifier.cli import main
from notifier.outputs import Manifests, saver
from notifier.outputs.part import LocalPart
from notifier.service import keeper
from notifier.store import Store, opening
from tests.standins import keen

SEAMS: dict[str, tuple[Any, str]] = {
    "put": (keeper.Keeper, "put"),
    "decide": (keeper, "decide_watch"),
    "waiting": (Store, "waiting"),
    "send": (channels, "send"),
    "migrate": (opening, "_migrate"),
    "write_marker": (opening, "_write_marker"),
    "attempt": (saver, "attempt"),
    "commit": (LocalPart, "commit"),
    "update": (Manifests, "update"),
    "discard": (saver, "discard"),
    **{
        name: (Store, name)
        for name in (
            "record",
            "mark_sent",
            "mark_given_up",
            "resend",
            "open_incident",
            "close_incident",
            "end_file",
            "mark_file_failed",
        )
    },
}
UNSAFE = 99
NEVER_IDLE = 98
LONGEST_WAIT = 30.0
"""Seconds for the other channels."""


class Killer:
    """Knows the point, and keeps the appointment."""

    def __init__(self, point: str, words: str, busy: str) -> None:
        self.seam, self.moment = point.split("/")
        self._words = words.split(",")
        self._busy = set(busy.split(","))
        self._stores: list[Store] = []
        self._here = threading.local()

    def watch(self) -> None:
        """Stand at the seam."""
        owner, attribute = SEAMS[self.seam]
        setattr(owner, attribute, self._watched(getattr(owner, attribute)))
        opened, stores = Store.__init__, self._stores

        def remember(store: Store, *arguments: Any) -> None:
            opened(store, *arguments)
            stores.append(store)

        Store.__init__ = remember  # type: ignore[assignment,method-assign]
        event.listen(Engine, "commit", self._before_commit)

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def watched(*arguments: Any, **named: Any) -> Any:
            called = self._is_meant(arguments, named)
            if called and self.moment == "begun":
                self._kill()
            if called and self.moment == "uncommitted":
                self._wait_for_others()  # now: within the transaction nobody else can write
                self._here.armed = True
            result = call(*arguments, **named)
            self._here.armed = False
            if self.moment == "done" and (called or self._is_meant(arguments, named, result)):
                self._kill()
            return result

        return watched

    def _is_meant(self, arguments: tuple[Any, ...], *facts: object) -> bool:
        answers = [each.answer for each in arguments if isinstance(each, keeper.Answered)]
        texts = [answer.text for answer in answers if isinstance(answer, requests.Response)]
        said = f"{threading.current_thread().name} {arguments} {facts} {texts}"
        return all(word in said for word in self._words)

    def _before_commit(self, connection: Connection) -> None:
        if self._stores:  # else it is only being created, and nothing was told yet
            pragmas = ("synchronous", "journal_mode")
            found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas]
            if found != [2, "wal"]:
                _end(UNSAFE, f"a connection of the daemon has {found}")
        if getattr(self._here, "armed", False):
            os.kill(os.getpid(), signal.SIGKILL)

    def _wait_for_others(self) -> None:
        deadline = time.monotonic() + LONGEST_WAIT
        while self._stores and any(
            address.channel not in self._busy for address in self._stores[0].waiting_addresses()
        ):
            if time.monotonic() > deadline:
                _end(NEVER_IDLE, "the other channels were never done")
            time.sleep(0.005)

    def _kill(self) -> None:
        self._wait_for_others()
        os.kill(os.getpid(), signal.SIGKILL)


def _end(code: int, why: str) -> NoReturn:
    print(f"tests.standins.killed: {why}", file=sys.stderr, flush=True)
    os._exit(code)


if __name__ == "__main__":
    point, words, busy = sys.argv[1:4]
    del sys.argv[1:4]
    Killer(point, words, busy).watch()
    if "KEEN" in os.environ:
        keen.shorten()
    main()
