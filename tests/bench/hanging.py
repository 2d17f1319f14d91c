"""Ten thousand polls in flight at an API that takes its time, also beside processes that eat up the processors.

The intervals are shorter than the API's time, so that each watch is due again when its answer is there. From the answer
to the next request of that watch is, by the API's clock, all lag there is: that of taking the answer, of deciding, of
scheduling, and of starting.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from itertools import pairwise
from typing import NamedTuple

from tests.bench.api import Api, Behaviour, Stamp
from tests.bench.measure import MIB, Memory, Naps, memory, percentile
from tests.bench.program import by_number, config_text, program
from tests.bench.setting import Setting
from tests.bench.table import Row

IN_FLIGHT = 10_000
SECURE = 2_000
INTERVAL = 10.0
EATING, EATERS = 8.0, 4
_EATER = f"import time\nend = time.monotonic() + {EATING}\nwhile time.monotonic() < end:\n    pass"
_LOST = 10.0
"""Seconds after its answer within which a watch must be asked about again, or the answer was lost."""
_CALM = 0.05
"""Seconds of lag, p99, at which the daemon has recovered."""


class Lag(NamedTuple):
    """Of one watch, from an answer to the next question."""

    answered: float
    seconds: float


def hanging(setting: Setting) -> list[Row]:
    """Plain, beside the eaters, and with a share over TLS."""
    delay = (12.0, 16.0) if setting.quick else (45.0, 60.0)
    said = f"answers after {delay[0]:g}-{delay[1]:g} s"
    return [
        *_run(setting, delay, said, secure=0, eaters=True),
        *_run(setting, delay, said, secure=SECURE, eaters=False),
    ]


def _run(setting: Setting, delay: tuple[float, float], said: str, *, secure: int, eaters: bool) -> list[Row]:
    naps, busy_naps = Naps(), Naps()
    with ExitStack() as stack:
        apis = [stack.enter_context(Api(setting.folder, Behaviour(delay)))]
        if secure:
            apis.append(stack.enter_context(Api(setting.folder, Behaviour(delay, setting.certificate))))
        shares = dict(zip((api.url for api in apis), (IN_FLIGHT - secure, secure), strict=False))
        daemon = stack.enter_context(program(setting.folder, config_text(shares, INTERVAL), **setting.environment))
        time.sleep(INTERVAL + 2.0)
        held, flying = [], []
        with naps.taken():
            quiet = time.monotonic()
            while time.monotonic() < quiet + delay[1] + 15.0:
                held.append(memory(daemon.pid))
                flying.append(sum(1 for api in apis for stamp in api.stamps() if not stamp.answered))
                time.sleep(3.0)
        eaten = time.monotonic()
        if eaters:
            with busy_naps.taken():
                processes = [subprocess.Popen([sys.executable, "-c", _EATER]) for _ in range(EATERS)]
                time.sleep(EATING)
                for process in processes:
                    process.wait()
        fed = time.monotonic()
        time.sleep(_LOST + 2.0)
        end = time.monotonic()
        lags, lost, abandoned = _lags([api.stamps() for api in apis], end)
    most = max(held, key=lambda each: each.resident)
    rows = [_memory_row(most, flying, said, secure), _lag_row(lags, quiet, eaten, naps, lost + abandoned, secure)]
    return rows + ([_busy_row(lags, eaten, fed, busy_naps)] if eaters else [])


def _memory_row(most: Memory, flying: list[int], said: str, secure: int) -> Row:
    tls = f", {secure:,} of them over TLS" if secure else ""
    return Row(
        f"{IN_FLIGHT:,} polls in flight{tls}: memory",
        f"{most.resident / MIB:.0f} MiB (PSS {most.proportional / MIB:.0f}), "
        f"{statistics.median(flying):.0f} in flight, {said}",
        most.resident / 1e6, "MB", *((300, 250) if secure else (200, 150)),
    )  # fmt: skip


def _lag_row(lags: list[Lag], quiet: float, eaten: float, naps: Naps, lost: int, secure: int) -> Row:
    calm = [lag.seconds for lag in lags if quiet <= lag.answered < eaten]
    p99 = percentile(calm, 0.99) * 1000
    return Row(
        f"  lag p99{', with TLS' if secure else ''}",
        f"{p99:.1f} ms (median {percentile(calm, 0.5) * 1000:.1f}, most {max(calm) * 1000:.0f}) "
        f"of {len(calm):,}, {lost} lost",
        math.inf if lost else p99, "ms", 50, None, f"sleep(10 ms) p99 {naps.p99 * 1000:.1f} ms",
    )  # fmt: skip


def _busy_row(lags: list[Lag], eaten: float, fed: float, naps: Naps) -> Row:
    busy = [lag.seconds for lag in lags if eaten <= lag.answered < fed]
    slices = (
        (begin, percentile((lag.seconds for lag in lags if fed + begin <= lag.answered < fed + begin + 0.5), 0.99))
        for begin in (each / 2 for each in range(20))
    )
    recovered = next((begin for begin, p99 in slices if p99 < _CALM), math.inf)
    return Row(
        f"  lag beside {EATERS} processes that eat all CPU for {EATING:g} s",
        f"p99 {percentile(busy, 0.99):.2f} s, most {max(busy):.2f} s, recovered in {recovered:g} s",
        max(busy) if recovered <= 2.0 else math.inf, "s", 2, 1, f"sleep(10 ms) p99 {naps.p99 * 1000:.1f} ms",
    )  # fmt: skip


def _lags(every: list[list[Stamp]], end: float) -> tuple[list[Lag], int, int]:
    """From each answer to the next question of the same watch; how many were never followed by one, and how many polls
    were given up by the daemon.
    """
    lags, lost, abandoned = [], 0, 0
    for stamps in every:
        for asked in by_number(stamps).values():
            lags += [
                Lag(early.answered, late.arrived - early.answered) for early, late in pairwise(asked) if early.answered
            ]
            lost += 0 < asked[-1].answered < end - _LOST
            abandoned += sum(1 for stamp in asked if math.isinf(stamp.answered))
    return lags, lost, abandoned
