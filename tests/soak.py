"""The daemon at work for a long time, with everything that can go wrong going wrong: what it uses must stay flat.

Hundreds of predictions polled each second change at random; some answer with a fault for a while; channels of every
temper are told; the configuration is edited, well and badly. A sample of what the process uses is taken every second.

    python -m tests.soak --minutes 60 --watches 500 --seed 7

The tests play some seconds of it, which say nothing about growth: memory, and the log of the store, take minutes until
they are as large as they get.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import BODIES, CODES, WIRE
from tests.kill_loop import Spells, slow
from tests.standins.api import ApiStandIn, plain
from tests.standins.daemon import Daemon
from tests.standins.receiver import Receiver
from tests.standins.smtp import SMTPStandIn

FAULTS = {**WIRE, **BODIES, **CODES}
FAULTY = 0.02
"""Of the watches, how many begin to answer with a fault each second, and how many of those that do are mended."""
MENDED = 0.3
CHANGING = 0.01
"""Of the watches, how many change their status each second."""
EDIT_EVERY, SIGHUP_EVERY = 10, 35
"""Seconds between edits of the configuration, every third of which is a bad one, and between SIGHUPs."""
GROWTH = 1.1
"""By how much the last quarter's median may be over the second's, beside FREE."""
PARTS = ("memory", "threads", "files", "log")


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process uses at one moment."""

    memory: int
    """KiB of resident memory."""
    threads: int
    files: int
    log: int
    """KiB of the store's write-ahead log."""


FREE = Sample(memory=10 * 1024, threads=5, files=20, log=1024)
"""So much of each may come and go."""


@dataclass
class Figures:
    """What came of it: for each of PARTS the medians of four quarters and the most."""

    seed: int
    watches: int
    seconds: float = 0.0
    polls: int = 0
    messages: int = 0
    edits: int = 0
    parts: dict[str, tuple[list[float], float]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    growth: list[str] = field(default_factory=list)
    """What was not flat."""


def soak(folder: Path, *, seed: int, watches: int, seconds: float) -> Figures:
    """Let the daemon work for so many seconds, and judge what it used."""
    chance = random.Random(seed)
    figures = Figures(seed, watches)
    samples: list[Sample] = []
    with ExitStack() as stack:
        api = stack.enter_context(ApiStandIn())
        hooks = {name: stack.enter_context(Receiver()) for name in ("steady", "spells", "slow")}
        hooks["spells"].rule, hooks["slow"].rule = Spells(chance), slow
        smtp = stack.enter_context(SMTPStandIn())
        names = [f"p{number:04}" for number in range(watches)]
        for name in names:
            api.script(name, [plain(name, "starting")])
        program = stack.enter_context(Daemon(folder, _config(api, hooks, smtp, names)))
        program.start()
        turns = _turns(api, names, chance)
        start, second = time.monotonic(), 0
        while time.monotonic() < start + seconds:
            second += 1
            next(turns)
            if second % EDIT_EVERY == 0:
                figures.edits += 1
                text = _config(api, hooks, smtp, chance.sample(names, len(names) * 9 // 10))
                program.path.write_text(text if figures.edits % 3 else text.replace("interval", "intervall"))
            if second % SIGHUP_EVERY == 0:
                program.signal(signal.SIGHUP)
            samples.append(_sample(program.pid, folder))
            time.sleep(max(0.0, start + second - time.monotonic()))
        if program.stop() != 0:
            figures.problems.append("the daemon did not end with 0")
        figures.problems += [line for line in program.log if "Traceback" in line or "mistake in the program" in line]
        figures.polls = len(api.requests)
        figures.messages = sum(len(hook.posts) for hook in hooks.values()) + len(smtp.mails)
    figures.seconds = round(time.monotonic() - start, 1)
    figures.growth += _judge(figures, samples)
    return figures


def _turns(api: ApiStandIn, names: list[str], chance: random.Random) -> Iterator[None]:
    """Each turn some predictions change, some become faulty, and some that are recover."""
    status = dict.fromkeys(names, "starting")
    faulty: set[str] = set()
    while True:
        for name in [each for each in sorted(faulty) if chance.random() < MENDED]:
            faulty.discard(name)
            api.script(name, [plain(name, status[name])])
        for name in chance.sample(names, round(len(names) * CHANGING)):
            if name not in faulty:
                status[name] = "processing" if status[name] == "starting" else "starting"
                api.script(name, [plain(name, status[name], logs="x" * chance.randrange(20_000))])
        for name in chance.sample(names, round(len(names) * FAULTY)):
            faulty.add(name)
            api.script(name, [FAULTS[chance.choice(sorted(FAULTS))].make(name)])
        yield


def _config(api: ApiStandIn, hooks: dict[str, Receiver], smtp: SMTPStandIn, ids: list[str]) -> str:
    return f"""
apis: {{here: {{base_url: '{api.base_url}', token: some-token, rate: 1000/s, timeout: 5s, concurrency: 1000}}}}
channels:
  steady: {{url: '{hooks["steady"].url}', rate: 1000/s}}
  spells: {{url: '{hooks["spells"].url}', rate: 1000/s, retry_after: [0.2s, 1s]}}
  slow: {{url: '{hooks["slow"].url}', rate: 1000/s}}
  mail: {{url: 'mailto://127.0.0.1:{smtp.port}/oncall@example.com?from=bot@example.com', rate: 10/s}}
defaults: {{interval: 1s}}
watchlist: [{", ".join(ids)}]
"""


def _sample(pid: int, folder: Path) -> Sample:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    log = folder / "state" / "notifier.db-wal"
    return Sample(
        memory=int(status["VmRSS"].split()[0]),
        threads=int(status["Threads"]),
        files=len(os.listdir(f"/proc/{pid}/fd")),
        log=log.stat().st_size // 1024 if log.exists() else 0,
    )


def _judge(figures: Figures, samples: list[Sample]) -> Iterator[str]:
    quarter = max(1, len(samples) // 4)
    for part in PARTS:
        values = [getattr(sample, part) for sample in samples]
        medians = [statistics.median(values[number * quarter : (number + 1) * quarter]) for number in range(4)]
        figures.parts[part] = (medians, max(values))
        if medians[3] > medians[1] * GROWTH + getattr(FREE, part):
            yield f"{part}: {medians}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--watches", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = soak(Path(place), seed=given.seed, watches=given.watches, seconds=given.minutes * 60)
    for what in ("seed", "watches", "seconds", "polls", "messages", "edits"):
        print(f"{what:10} {getattr(found, what)}")
    for name, (quarters, most) in found.parts.items():
        print(f"{name:10} {'  '.join(f'{median:.0f}' for median in quarters)}  most {most:.0f}")
    print("growth    ", found.growth or "none")
    print("problems  ", found.problems or "none")
    raise SystemExit(bool(found.growth or found.problems))
