"""What the benchmarks measure with: processes' time and memory, the machine's own lateness, and medians."""

from __future__ import annotations

import math
import multiprocessing
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import NamedTuple

MIB = 2**20


def processor(pid: int) -> float:
    """Seconds of processor time, user and system, that a process has used so far, with those of ended threads.

    It is what /proc/PID/stat says, by the nanosecond instead of the hundredth (clock_getcpuclockid(3)).
    """
    return time.clock_gettime((~pid << 3) | 2)


class Memory(NamedTuple):
    """Bytes that a process holds; of what it shares with others, `proportional` has its share."""

    resident: int
    proportional: int


def memory(pid: int) -> Memory:
    """What it holds now."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        found[name] = int(value.split()[0]) * 1024
    return Memory(found["Rss"], found["Pss"])


def percentile(values: Iterable[float], share: float) -> float:
    """The value that so large a share of all is not above; NaN of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def spread(values: Sequence[float], scale: float = 1.0, digits: int = 3) -> str:
    """The median, and the least and the most."""
    low, middle, high = (each * scale for each in (min(values), statistics.median(values), max(values)))
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


_NAP = 0.01


def _nap(latest: Synchronized[float], ending: Synchronized[bool]) -> None:
    late = []
    while not ending.value:
        before = time.monotonic()
        time.sleep(_NAP)
        late.append(time.monotonic() - before - _NAP)
    latest.value = percentile(late, 0.99)


class Naps:
    """How late a process that does nothing but sleep wakes up: the machine's own lateness."""

    def __init__(self) -> None:
        self.p99 = math.nan

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Meanwhile; `p99` says it afterwards, in seconds."""
        context = multiprocessing.get_context("spawn")
        latest, ending = context.Value("d", math.nan), context.Value("b", False)
        process = context.Process(target=_nap, args=(latest, ending), daemon=True)
        process.start()
        try:
            yield
        finally:
            ending.value = True
            process.join()
            self.p99 = latest.value
