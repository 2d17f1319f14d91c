"""The daemon as most have it: a thousand watches beside monit, next to nothing to do, and how quick the command is."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack

from tests.bench.api import Api, name_of
from tests.bench.measure import processor, spread
from tests.bench.program import Program, config_text, program
from tests.bench.setting import Setting
from tests.bench.table import Row

WATCHES = 1_000
EVERY = 10.0
IDLE_INTERVAL = 600.0

_READING = "import click, pydantic, rich, sqlalchemy, yaml"
_SENDING = "import apprise, certifi, humanize, jinja2; apprise.Apprise.instantiate('json://127.0.0.1:9/')"
_WORKING = "import apscheduler, prometheus_client, pycurl, requests, waitress; import requests.adapters"
_NEEDED = {
    "status": _READING,
    "check": f"{_READING}; {_SENDING}",
    "run": f"{_READING}; {_SENDING}; {_WORKING}",
}
"""Of each verb, the libraries that what it promises needs."""
_BARS = {"status": 0.5, "check": 0.9, "run": 2.0}


def beside_monit(setting: Setting) -> list[Row]:
    """CPU per check of both, at the same time, each with an API of its own."""
    monit = shutil.which("monit")
    if monit is None:
        print("  monit is not there (apt-get install monit): its row is left out", flush=True)
    with ExitStack() as stack:
        api, its_api = (stack.enter_context(Api(setting.folder, processes=1)) for _ in range(2))
        daemon = stack.enter_context(program(setting.folder, config_text({api.url: WATCHES}, EVERY)))
        its_pid = stack.enter_context(_monit(setting, monit, its_api)) if monit else None
        time.sleep(EVERY + 5.0)
        ours, theirs = [], []
        for _ in range(setting.pairs):
            before = processor(daemon.pid), api.count()
            its_before = (processor(its_pid), its_api.count()) if its_pid else (0.0, 0)
            time.sleep(EVERY * (1 if setting.quick else 2))
            ours.append((processor(daemon.pid) - before[0]) / (api.count() - before[1]))
            if its_pid:
                checks = its_api.count() - its_before[1]
                theirs.append((processor(its_pid) - its_before[0]) / checks)
    if not theirs:
        return [Row(f"CPU per poll, {WATCHES:,} watches every 10 s", spread(ours, 1e6, 0) + " us")]
    ratio = statistics.median(mine / its for mine, its in zip(ours, theirs, strict=True))
    return [
        Row(
            f"CPU per poll, {WATCHES:,} watches every 10 s",
            spread(ours, 1e6, 0) + " us", ratio, "x", 1.0, 0.7,
            "monit " + spread(theirs, 1e6, 0) + " us", ratio,
        )
    ]  # fmt: skip


class _monit:  # noqa: N801 - used as a function
    """monit with a check for each prediction; its process's id."""

    def __init__(self, setting: Setting, binary: str, api: Api) -> None:
        folder = setting.folder / "monit"
        folder.mkdir(exist_ok=True)
        lines = [f"set daemon {EVERY:g}", *(f"set {name}file {folder}/{name}" for name in ("pid", "id", "state"))]
        lines += [f"set log {folder}/log"]
        for number in range(WATCHES):
            lines += [
                f"check host {name_of(number)} with address 127.0.0.1",
                f"  if failed port {api.port} protocol http request /v1/predictions/{name_of(number)} then alert",
            ]
        path = folder / "monitrc"
        path.write_text("\n".join([*lines, ""]))
        path.chmod(0o600)
        self._command = [binary, "-I", "-c", str(path)]

    def __enter__(self) -> int:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self._process.pid

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


def idle(setting: Setting) -> list[Row]:
    """A thousand watches, each known already, every ten minutes."""
    with ExitStack() as stack:
        api = stack.enter_context(Api(setting.folder, processes=1))
        daemon = stack.enter_context(program(setting.folder, config_text({api.url: WATCHES}, 1.0)))
        time.sleep(3.0)
        daemon.stop()
        daemon.path.write_text(config_text({api.url: WATCHES}, IDLE_INTERVAL))
        daemon.begin()
        time.sleep(12.0)  # of the first ten polls, too, it is written when they were
        before, began, polls = processor(daemon.pid), time.monotonic(), api.count()
        time.sleep(30.0 if setting.quick else 90.0)
        share = (processor(daemon.pid) - before) / (time.monotonic() - began) * 100
        polls = api.count() - polls
        empty = _empty(setting)
    return [
        Row(
            f"idle: {WATCHES:,} watches every 10 minutes", f"{share:.3f} % of a core, {polls} polls", share,
            "%", 0.1, 0.02, f"no watch at all: {empty:.3f} %", share / empty,
        )
    ]  # fmt: skip


def _empty(setting: Setting) -> float:
    """Per cent of a core that the daemon needs for nothing."""
    with program(setting.folder, config_text({"http://127.0.0.1:9": 0}, IDLE_INTERVAL)) as daemon:
        time.sleep(3.0)
        before, began = processor(daemon.pid), time.monotonic()
        time.sleep(20.0)
        return (processor(daemon.pid) - before) / (time.monotonic() - began) * 100


def start(setting: Setting) -> list[Row]:
    """How long the command takes, beside a Python that only imports what it needs."""
    folder = setting.folder / "start"
    folder.mkdir()
    rows = []
    with Api(setting.folder, processes=1) as api, Program(folder, config_text({api.url: 10}, EVERY)) as daemon:
        daemon.path.chmod(0o600)
        daemon.begin()  # makes the store, and the caches of compiled Python warm
        daemon.stop()
        for verb, needed in _NEEDED.items():
            ours, theirs = [], []
            for _ in range(2 * setting.pairs + 1):
                theirs.append(_seconds([sys.executable, "-c", needed]))
                began = time.monotonic()
                if verb == "run":
                    daemon.begin()
                    ours.append(daemon.seconds_to_start)
                    daemon.stop()
                else:
                    daemon.command(verb)
                    ours.append(time.monotonic() - began)
            ratio = statistics.median(mine / its for mine, its in zip(ours, theirs, strict=True))
            rows.append(
                Row(
                    f"`{verb}`" + (" ready" if verb == "run" else ""), spread(ours, digits=2) + " s",
                    statistics.median(ours), "s", _BARS[verb], None,
                    "bare import " + spread(theirs, digits=2) + " s", ratio,
                )
            )  # fmt: skip
    return rows


def _seconds(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True)
    return time.monotonic() - began
