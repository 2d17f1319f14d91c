"""Thousands of damaged, half-saved and good writes of the configuration under the real daemon, which must not mind.

    python -m tests.reload_fuzz --writes 10000 --seed 1

Real files, store and API; channels send nowhere. The looks at the files are made by the run itself, and the seconds
between them are on a clock of its own, so that nothing has to be waited for. After each write:

- the daemon is alive, and its log shows neither a mistake of the program's nor a secret;
- its configuration is the new one if that is valid, else the last good one, and each refusal names a place;
- every watch of that one is scheduled with what is known of it, and nothing in the store is gone;
- no watch that was not touched is due at another time, nor is a poll in flight asked again.

A test plays some hundred.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import re
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from notifier import channels
from notifier.decide import is_over
from notifier.errors import ConfigError
from notifier.model import Config, IncidentKind, Key, Message
from notifier.service import Service, load_config, watching
from tests.mutations import HUNG_ID, SECRETS, damaged, pristine
from tests.standins.api import ApiStandIn, hang, plain

LOOK = 2.0
"""Seconds between two looks, on the run's own clock."""
HUNG = Key("here", HUNG_ID)
"""The watch whose poll is in flight all the time."""
NAMES = ["config.yaml"] * 5 + ["watchlist.d/one.yaml", "watchlist.d/two.yaml"] * 2 + ["secrets/here"]
"""What is written to, as often as it stands here."""
PLACE = re.compile(r"^/.+:\d+:\d+: ")


@dataclass
class Figures:
    """What became of the writes."""

    writes: int = 0
    applied: int = 0
    unchanged: int = 0
    refused: int = 0
    held: int = 0
    slowest: float = 0.0
    """Seconds of the longest look, with all that followed from it."""
    memory: list[int] = field(default_factory=list)
    """MiB that the process holds: at the start, and at the end."""
    files: list[int] = field(default_factory=list)
    """Open files, likewise."""
    watched: int = 0
    """Different watches that the store came to know."""


class Due(NamedTuple):
    """When a watch is due, when it was last asked about, and how often it is (monotonic seconds)."""

    at: float
    asked: float
    interval: float


class Log(logging.Handler):
    """Keeps what must not be there, and counts."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.wrong: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Look at a record."""
        text = logging.Formatter().format(record)
        if record.exc_info or "mistake in the program" in text or any(secret in text for secret in SECRETS):
            self.wrong.append(text)


class Run:
    """The daemon, its files, and everything that is asserted."""

    def __init__(self, folder: Path, api: ApiStandIn, seed: int) -> None:
        self.folder, self.api, self.chance = folder, api, random.Random(seed)
        self.figures, self.log = Figures(), Log()
        self.now, self.version = 0.0, 0
        self.texts = pristine(api.base_url)
        self.path = folder / "config.yaml"
        self.environ = {
            "STATE_DIRECTORY": str(folder / "state"),
            "THERE": api.base_url,
            "TOKEN": SECRETS[1],
            "HOOK": SECRETS[2],
        }
        for name, text in self.texts.items():
            self.file(name).parent.mkdir(exist_ok=True)
            self.file(name).write_text(text)
        self.good = load_config(self.path, self.environ)
        self.first = self.good
        self.service = Service(self.good, environ=self.environ)
        self.service._reloading._watch._monotonic = lambda: self.now
        self.rows: set[tuple[str, str]] = set()
        self.polled: set[Key] = set()
        """Watches that the API has answered for: what is known of them must stay known."""
        self.hung_since: float | None = None
        self.happening = "the start"

    def file(self, name: str) -> Path:
        """Where one of the files stands."""
        return self.folder / name

    # --- one write ---

    def step(self) -> None:
        """One write and what follows it; mostly all is as it was at the start before the next."""
        name = self.chance.choice(NAMES)
        self.figures.writes += 1
        if self.chance.random() < 0.05:
            self.spoil(name)
        else:
            data = damaged(self.chance, self.texts[name])
            style = self.chance.choice([self.in_place, self.in_portions, self.at_once, self.with_backup, self.by_link])
            self.happening = f"write {self.figures.writes}, {name} {style.__name__}: {data[:3000]!r}"
            style(self.file(name), data)
        is_held = self.follow()
        if is_held or self.chance.random() < 0.6:
            self.restore()

    def restore(self) -> None:
        """Save every good file again."""
        self.happening = f"restored after {self.happening}"
        for name, text in self.texts.items():
            self.at_once(self.file(name), text.encode())
        was_held = self.follow()
        assert parts(self.good) == parts(self.first) or was_held, self.happening

    def clear(self, path: Path) -> None:
        """Make room for a file."""
        path.parent.mkdir(exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            path.rmdir()

    def spoil(self, name: str) -> None:
        """Put something else in the file's place."""
        path = self.file(name)
        kind = self.chance.choice(["nothing", "folder", "pipe", "link into nowhere", "loop", "no folder"])
        self.happening = f"write {self.figures.writes}, {name} became: {kind}"
        self.clear(path)
        path.unlink(missing_ok=True)
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "link into nowhere":
            path.symlink_to("nowhere")
        elif kind == "loop":
            path.symlink_to(path.name)
        elif kind == "no folder" and path.parent != self.folder:
            shutil.rmtree(path.parent)

    # --- styles of saving ---

    def at_once(self, path: Path, data: bytes) -> None:
        self.clear(path)
        temporary = self.folder / ".saved"
        temporary.write_bytes(data)
        temporary.chmod(0o600)
        temporary.replace(path)

    def in_place(self, path: Path, data: bytes) -> None:
        if path.is_file():
            path.write_bytes(data)
        else:  # a pipe, say: nobody writes into that
            self.at_once(path, data)

    def in_portions(self, path: Path, data: bytes) -> None:
        """With a look between any two of them: none of what is only half there may be acted on."""
        if not path.is_file():
            self.at_once(path, data)
            return
        before = self.service._reloading._wanted, self.service._reloading._refused
        with path.open("wb", buffering=0) as file:
            for start in range(0, len(data), size := max(1, len(data) // 3)):
                self.look()
                file.write(data[start : start + size])
                self.let_time_show()
                assert (self.service._reloading._wanted, self.service._reloading._refused) == before, self.happening

    def with_backup(self, path: Path, data: bytes) -> None:
        """The file is not there at one look."""
        self.clear(path)
        if path.is_symlink() or path.exists():
            path.rename(self.folder / "backup~")
            self.look()
            (self.folder / "backup~").unlink()
        path.write_bytes(data)

    def by_link(self, path: Path, data: bytes) -> None:
        """As Kubernetes swaps a ConfigMap; the file that was there becomes a link first."""
        self.clear(path)
        self.version += 1
        data_folder = self.folder / f"..{path.name}"
        version = self.folder / f"..{path.name}.{self.version}"
        version.mkdir()
        (version / path.name).write_bytes(data)
        swapped = self.folder / "..swapped"
        swapped.symlink_to(version.name)
        before = data_folder.resolve() if data_folder.is_symlink() else None
        swapped.replace(data_folder)
        if not path.is_symlink():
            swapped.symlink_to(data_folder / path.name)
            swapped.replace(path)
        if before is not None:
            shutil.rmtree(before)

    def let_time_show(self) -> None:
        """Wait for the file system's clock to go on: looks that are truly two seconds apart need not."""
        probe = self.folder / ".probe"
        probe.touch()
        begun = probe.stat().st_mtime_ns
        while probe.stat().st_mtime_ns == begun:
            time.sleep(0.0005)
            probe.touch()

    # --- what the daemon makes of it ---

    def look(self) -> None:
        """A look, and two seconds more."""
        begun = time.monotonic()
        self.service._reloading.look()
        self.figures.slowest = max(self.figures.slowest, time.monotonic() - begun)
        self.now += LOOK

    def follow(self) -> bool:
        """Let the daemon take its looks, and check what it made of them; whether the edit is held back still."""
        self.let_time_show()
        due = self.due_times()
        for _ in range(4):
            self.look()
        expected = self.expected()
        is_held = isinstance(expected, Config) and may_be_half(self.good, expected)
        if is_held:
            self.figures.held += 1
            self.check(self.good, due)
            pick = self.chance.random()
            if pick < 0.3:
                return True
            if pick < 0.6:
                self.service._reloading._reload(asked=True)  # as on SIGHUP
            else:
                self.now += watching.SHRINK_WAIT
                self.look()
        if isinstance(expected, ConfigError):
            self.figures.refused += 1
            assert expected.mistakes, self.happening
            assert not [mistake for mistake in expected.mistakes if not PLACE.match(str(mistake))], self.happening
            self.check(self.good, due)
        else:
            is_new = parts(expected) != parts(self.good)
            self.figures.applied += is_new
            self.figures.unchanged += not is_new
            self.check(expected, due)
        return False

    def expected(self) -> Config | ConfigError:
        """What stands in the files."""
        try:
            return load_config(self.path, self.environ)
        except ConfigError as error:
            return error

    def due_times(self) -> dict[Key, Due]:
        """When each waiting watch is due that waits for its interval, with what decides on it."""
        table = self.service._table
        with table._lock:
            rows = {key: row for account in table._accounts.values() for key, row in account.rows.items()}
            return {
                watch.key: Due(row.due, row.asked, row.interval)
                for watch in self.good.watches
                if (row := rows.get(watch.key)) and not row.flying and row.due <= row.started + row.interval + 1
            }

    def check(self, expected: Config, due: dict[Key, Due]) -> None:
        """Everything that is promised."""
        service, table = self.service, self.service._table
        assert service._keeper.alive, self.happening
        assert service._transport.alive, self.happening
        assert service._scheduler.alive, self.happening
        states, in_force = self.in_keeper(lambda: (dict(service._keeper._known.states), service._config))
        assert parts(in_force) == parts(expected), self.happening
        assert states.keys() == set(keys(expected)), self.happening
        for watch in expected.watches:
            state = states[watch.key]
            is_over_now = is_over(state, watch, service._clock.steady())
            assert is_over_now or table.seconds_to(watch.key) is not None, (self.happening, watch)
            assert watch.key not in self.polled or state.status == "processing", (self.happening, watch, state)
            if state.status is not None:
                self.polled.add(watch.key)
        self.good = in_force
        for key, now in self.due_times().items():
            before = due.get(key, now)
            # It may have been asked meanwhile, but no sooner than due; and another interval makes another time.
            is_asked = now.asked > before.asked and now.asked > before.at - 1
            assert is_asked or now.at == before.at or now.interval != before.interval, (
                self.happening,
                key,
                before,
                now,
            )
        if HUNG in states:
            hung = table._accounts[HUNG.api].rows[HUNG]
            self.hung_since = self.hung_since or hung.asked
            if time.monotonic() < self.hung_since + 570:  # the poll itself ends after 600
                assert (hung.flying, hung.asked) == (True, self.hung_since), self.happening
        assert not self.log.wrong, (self.happening, self.log.wrong)

    def in_keeper(self, call: Callable[[], Any]) -> Any:
        """What a call says in the keeper's thread, after all that was handed to it before."""
        said: list[Any] = []
        done = threading.Event()

        def answer() -> None:
            said.append(call())
            done.set()

        self.service._keeper.post(answer)
        assert done.wait(30), self.happening
        return said[0]

    def check_store(self) -> None:
        """No row that was there is gone."""
        with closing(sqlite3.connect(f"file:{self.folder}/state/notifier.db?mode=ro", uri=True)) as connection:
            rows = set(connection.execute("SELECT api, id FROM watches"))
        assert rows >= self.rows, (self.happening, self.rows - rows)
        self.rows = rows
        self.figures.watched = len(rows)

    def sample(self) -> None:
        """Note what the process uses."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.figures.memory.append(pages * os.sysconf("SC_PAGE_SIZE") // 2**20)
        self.figures.files.append(len(os.listdir("/proc/self/fd")))


def keys(config: Config) -> list[Key]:
    """The keys of its watches."""
    return [watch.key for watch in config.watches]


def may_be_half(before: Config, after: Config) -> bool:
    """Whether an edit is to wait: it removes more than half of ten or more watches."""
    removed = set(keys(before)) - set(keys(after))
    return len(before.watches) >= 10 and len(removed) > len(before.watches) / 2


def parts(config: Config) -> tuple[object, ...]:
    """All of it that is applied."""
    return config.watches, config.apis, config.channels, config.operators


def taken(_target: channels.Target, _words: Message) -> None:
    """In place of a channel, which says yes. (A mock would keep every message.)"""


@contextmanager
def running(folder: Path, api: ApiStandIn, seed: int) -> Iterator[Run]:
    """A run whose daemon is up, takes no look by itself, and whose channels take everything and tell nobody."""
    interval = sys.getswitchinterval()
    with (
        mock.patch.object(channels, "send", taken),
        mock.patch("notifier.service.LOOK_EVERY", 10**9),
    ):
        run = Run(folder, api, seed)
        daemon = threading.Thread(target=run.service.run, kwargs={"take_signals": False}, name="daemon")
        logger = logging.getLogger("notifier")
        level = logger.level
        logger.addHandler(run.log)
        logger.setLevel(logging.INFO)
        daemon.start()
        try:
            yield run
        finally:
            run.service.stop()
            daemon.join()
            logger.removeHandler(run.log)
            logger.setLevel(level)
            sys.setswitchinterval(interval)


def play(folder: Path, *, writes: int, seed: int) -> Figures:
    """So many writes; raises AssertionError at the first that the daemon minds."""
    with ApiStandIn() as api:
        for name, text in pristine(api.base_url).items():
            for prediction_id in re.findall(r"id: (\w+)", text) if name.endswith("yaml") else ():
                api.script(prediction_id, [plain(prediction_id, "processing")])
        api.script(HUNG.id, [hang])
        with running(folder, api, seed) as run:
            api.wait_for(1, HUNG.id)
            for number in range(writes):
                if number % max(1, writes // 10) == 0:
                    run.sample()
                run.step()
                if number % 100 == 0:
                    run.check_store()
            for _ in range(2):  # the first may be held back
                run.restore()
            run.service._reloading._reload(asked=True)
            run.follow()
            assert parts(run.good) == parts(run.first)
            assert set(keys(run.first)) <= {Key(*row) for row in run.rows}
            run.check_store()
            run.sample()
            open_now = run.in_keeper(lambda: list(run.service._keeper._known.incidents))
            assert not [kind for kind, _ in open_now if kind is IncidentKind.CONFIG]
            return run.figures


def main() -> None:
    """Play as many as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writes", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    asked = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        figures = play(Path(folder), writes=asked.writes, seed=asked.seed)
    sys.stdout.write(f"seed {asked.seed}: {asked.writes} writes in {time.monotonic() - begun:.0f} s: {figures}\n")


if __name__ == "__main__":
    main()
