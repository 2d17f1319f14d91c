"""The program under measurement, started as users start it: `notifier run` on a configuration in a temporary folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from tests.bench.api import Stamp, name_of
from tests.standins.daemon import Daemon

TOKEN = "r8_make_believe"
STARTED = "started watches="


def config_text(urls: Mapping[str, int], interval: float, channel: str = "json://127.0.0.1:9/") -> str:
    """A configuration; `urls` are those of the accounts, with how many watches each has (numbered on from one to the
    next). No limit of an account is ever met.
    """
    accounts = [
        f"  api{index}: {{base_url: '{url}/v1', token: {TOKEN}, rate: 5000/s, concurrency: 16000}}"
        for index, url in enumerate(urls)
    ]
    lines = [
        "apis:",
        *accounts,
        "channels:",
        f"  local: {{url: '{channel}', rate: 1000/s, digest_over: 1000}}",
        f"defaults: {{interval: {interval:g}, stuck_after: 1d}}",
    ]
    number = 0
    entries = []
    for index, watches in enumerate(urls.values()):
        for _ in range(watches):
            entries.append(
                f"  - {{id: {name_of(number)}, api: api{index}}}" if len(urls) > 1 else f"  - {name_of(number)}"
            )
            number += 1
    return "\n".join([*lines, "watchlist:" if entries else "watchlist: []", *entries, ""])


class Program(Daemon):
    """The daemon of a benchmark; a context manager that ends it."""

    seconds_to_start = 0.0
    """From the command to its word that it has started, as this process heard it."""

    def begin(self) -> None:
        """Start it, and wait until it says that it has, which takes as long as it takes."""
        already = len(self.log)
        began = time.monotonic()
        self.launch()
        self.wait_for_log(lambda lines: any(STARTED in line for line in lines[already:]), 300)
        self.seconds_to_start = time.monotonic() - began


@contextmanager
def program(folder: Path, text: str, **environment: str) -> Iterator[Program]:
    """One that runs, in a folder of its own below this one."""
    own = folder / f"notifier-{time.monotonic_ns()}"
    own.mkdir()
    with Program(own, text, environment) as daemon:
        daemon.path.chmod(0o600)
        daemon.begin()
        yield daemon
        if daemon.stop() != 0:
            raise RuntimeError("the daemon did not end well:\n" + "\n".join(daemon.log[-20:]))


def lateness(stamps: Sequence[Stamp], interval: float, since: float, until: float) -> list[float]:
    """By how much the time between two starts of a watch was longer than its interval, for every second start between
    two moments. Half of them are negative: who was late before is so much less late after.
    """
    found = []
    for times in by_number(stamps).values():
        found += [
            late.arrived - early.arrived - interval for early, late in pairwise(times) if since <= late.arrived < until
        ]
    return found


def by_number(stamps: Sequence[Stamp]) -> dict[int, list[Stamp]]:
    """The requests of each watch, in order."""
    found: dict[int, list[Stamp]] = {}
    for stamp in stamps:
        found.setdefault(stamp.number, []).append(stamp)
    return found


def cores() -> int:
    """Of this machine."""
    return os.cpu_count() or 1
