"""A thousand polls a second that change nothing, of a thousand, ten thousand or a hundred thousand watches."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench.api import Api, Behaviour, name_of
from tests.bench.measure import MIB, Naps, memory, percentile, processor, spread
from tests.bench.picture import Panel, picture
from tests.bench.program import Program, config_text, lateness, program
from tests.bench.setting import Setting
from tests.bench.table import Row
from tests.standins.daemon import ROOT

RATE = 1000
"""Polls a second."""
GRADES = (1_000, 10_000, 100_000)
SETTLE = 3.0
"""Seconds after every watch was polled once, which is what costs more: each first answer is recorded."""


@dataclass(frozen=True, slots=True)
class Steady:
    """What came of one run of the daemon. In seconds and bytes."""

    start: float
    per_poll: float
    late: list[float]
    memory: int
    """Of all its watches, every one polled at least once, above that of a daemon without any."""
    api: float
    """Share of a core that the API's processes had."""
    nap: float
    """How late a process woke up that only slept meanwhile, p99."""
    restart: float = 0.0
    reloaded: float = 0.0
    """The latest poll within some seconds of a reload."""


def run(setting: Setting, watches: int, *, secure: bool = False, reload: bool = False) -> Steady:
    """Let it run, watch it."""
    interval = watches / RATE
    window = 6.0 if setting.quick else 10.0
    naps = Naps()
    with ExitStack() as stack:
        certificate = setting.certificate if secure else None
        api = stack.enter_context(Api(setting.folder, Behaviour(certificate=certificate)))
        nothing = 0
        if not secure:
            with program(setting.folder, config_text({api.url: 0}, interval)) as empty:
                time.sleep(2.0)
                nothing = memory(empty.pid).proportional
        text = config_text({api.url: watches}, interval)
        daemon = stack.enter_context(program(setting.folder, text, **setting.environment))
        started = time.monotonic()
        start = daemon.seconds_to_start
        time.sleep(interval + SETTLE)
        before = processor(daemon.pid), api.count(), api.processor(), time.monotonic()
        with naps.taken():
            time.sleep(max(window, 12.0) if watches == GRADES[0] else window)
        after = processor(daemon.pid), api.count(), api.processor(), time.monotonic()
        held = memory(daemon.pid).proportional
        reloaded = _reload(daemon, api, interval) if reload else 0.0
        stamps = api.stamps(started)
        restart = _restart(daemon) if reload else 0.0
    took = after[3] - before[3]
    polls = after[1] - before[1]
    if polls < RATE * took * 0.95:
        print(f"  only {polls / took:.0f} polls a second were asked for, of {RATE}", flush=True)
    return Steady(
        start=start,
        per_poll=(after[0] - before[0]) / polls,
        late=lateness(stamps, interval, before[3], after[3]),
        memory=held - nothing,
        api=(after[2] - before[2]) / took,
        nap=naps.p99,
        restart=restart,
        reloaded=reloaded,
    )


def _reload(daemon: Program, api: Api, interval: float) -> float:
    """Give one of the watches a name; the latest poll from then on."""
    daemon.path.write_text(
        daemon.path.read_text().replace(f"- {name_of(7)}\n", f"- {{id: {name_of(7)}, name: Seven}}\n")
    )
    already = len(daemon.log)
    began = time.monotonic()
    daemon.wait_for_log(lambda lines: any("reloaded" in line for line in lines[already:]), 120)
    taken_up = time.monotonic()
    print(f"  taken up {taken_up - began:.1f} s after it was saved", flush=True)
    time.sleep(5.0)
    return max(lateness(api.stamps(), interval, began, taken_up + 5.0))


def _restart(daemon: Program) -> float:
    """Seconds until it has started with a store that knows every watch."""
    daemon.stop()
    daemon.begin()
    return daemon.seconds_to_start


@dataclass(frozen=True, slots=True)
class Bare:
    """What the yardstick needed."""

    per_poll: float
    rate: float
    api: float


def bare(setting: Setting, *, secure: bool = False) -> Bare:
    """The yardstick, in a process of its own and against an API like the daemon's."""
    with Api(setting.folder, Behaviour(certificate=setting.certificate if secure else None)) as api:
        before, began = api.processor(), time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.bare", api.url, "--seconds", "3" if setting.quick else "5"],
            cwd=ROOT, env={**setting.clean, **setting.environment}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        share = (api.processor() - before) / (time.monotonic() - began)
    found = json.loads(done.stdout)
    return Bare(found["processor"] / found["asked"], found["asked"] / found["seconds"], share)


def cpu(setting: Setting) -> list[Row]:
    """The first bar: CPU per poll, plain and over TLS, in pairs of one run each."""
    rows = []
    for how, secure in (("plain", False), ("TLS", True)):
        ours, theirs = [], []
        for pair in range(setting.pairs):
            if pair % 2:
                theirs.append(bare(setting, secure=secure))
            ours.append(run(setting, 10_000, secure=secure))
            if not pair % 2:
                theirs.append(bare(setting, secure=secure))
            print(f"  {how}: {ours[-1].per_poll * 1e6:.0f} us, bare {theirs[-1].per_poll * 1e6:.0f} us", flush=True)
        ratio = statistics.median(mine.per_poll / its.per_poll for mine, its in zip(ours, theirs, strict=True))
        api = statistics.median(each.api for each in ours)
        rows += [
            Row(
                f"CPU per poll, 10,000 watches, 1,000 polls/s, {how}",
                spread([each.per_poll for each in ours], 1e6, 0) + " us",
                ratio, "x", 0.25, 0.12,
                "Session.get " + spread([each.per_poll for each in theirs], 1e6, 0) + " us",
                ratio,
            ),
            Row(
                f"  the API meanwhile, {how}",
                f"{api:.0%} of a core",
                yardstick=f"bare: {statistics.median(each.rate for each in theirs):.0f}/s, "
                f"API {statistics.median(each.api for each in theirs):.0%}",
            ),
        ]  # fmt: skip
        if not secure:
            setting.remember(10_000, ours)
    return rows


def late(setting: Setting) -> list[Row]:
    """How late a poll starts, by the API's clock."""
    runs = setting.recall(10_000) or [run(setting, 10_000) for _ in range(setting.pairs)]
    setting.remember(10_000, runs)
    p99 = [percentile(each.late, 0.99) for each in runs]
    return [
        Row(
            "lateness of a poll start, p99, 1,000 due per second",
            spread(p99, 1000, 1) + " ms",
            statistics.median(p99) * 1000, "ms", 50, 20,
            "sleep(10 ms) p99 " + spread([each.nap for each in runs], 1000, 1) + " ms",
        )
    ]  # fmt: skip


def large(setting: Setting) -> list[Row]:
    """A hundred thousand watches."""
    runs = [run(setting, GRADES[-1], reload=True) for _ in range(1 if setting.quick else 3)]
    setting.remember(GRADES[-1], runs)
    starts, again = [each.start for each in runs], [each.restart for each in runs]
    held = [each.memory / GRADES[-1] / 1024 for each in runs]
    reloads = [each.reloaded for each in runs]
    return [
        Row("100,000 watches: start to all scheduled, new store", spread(starts, digits=1) + " s",
            statistics.median(starts), "s", 20, 8),
        Row("  the same, all of them known", spread(again, digits=1) + " s", statistics.median(again), "s", 20, 8),
        Row("  memory a watch over an empty daemon, all polled", spread(held, digits=2) + " KiB",
            statistics.median(held), "KiB", 3, 2),
        Row("  reload with one change: the latest poll", spread(reloads) + " s", statistics.median(reloads),
            "s", 0.5, 0.2, "sleep(10 ms) p99 " + spread([each.nap for each in runs], 1000, 1) + " ms"),
    ]  # fmt: skip


def growth(setting: Setting) -> list[Row]:
    """The main figures by the number of watches, as rows and as a picture."""
    points = []
    rows = []
    for watches in GRADES:
        runs: list[Steady] = setting.recall(watches) or [run(setting, watches)]
        setting.remember(watches, runs)
        found = (
            statistics.median(each.per_poll for each in runs) * 1e6,
            statistics.median(percentile(each.late, 0.99) for each in runs) * 1000,
            statistics.median(each.start for each in runs),
            statistics.median(each.memory for each in runs) / MIB,
        )
        points.append(found)
        rows.append(
            Row(
                f"{watches:,} watches, 1,000 polls/s",
                "{:.0f} us a poll, late {:.1f} ms, start {:.1f} s, {:.0f} MiB".format(*found),
            )
        )
    names = ("CPU a poll, µs", "lateness p99, ms", "start, s", "memory, MiB")
    panels = [Panel(name, list(GRADES), [point[index] for point in points]) for index, name in enumerate(names)]
    path = setting.picture or Path(__file__).with_name("growth.svg")
    path.write_text(picture("1,000 polls a second, by the number of watches", panels))
    print(f"  {path} drawn", flush=True)
    return rows
