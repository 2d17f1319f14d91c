"""The saver with a real store and a real directory; hosts are a double, and time is passed in."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from notifier.decide.files import source_of
from notifier.model import Address, Clock, Delivery, File, Key, Outputs, State, Status
from notifier.outputs import LocalDirectory, Manifests, Means, Owed, Saver
from notifier.outputs.saver import LANES
from notifier.store import Change, Store
from notifier.transport import Answer, Guard, Head, Kind, Limits, Sink, TransportError
from tests.standins.asker import until

KEY, OTHER = Key("here", "x"), Key("here", "y")
NOW = 1_800_000_000.0
DAY = 86400.0
DONE = State(NOW, status=Status.SUCCEEDED, has_output=True, done=True)


class Hosts:
    """Every file is there, and is its own URL; answers that are scripted come first, and URLs that are held wait."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.script: dict[str, list[int]] = defaultdict(list)
        self.held: set[str] = set()
        """Hosts that say nothing until that is let go."""
        self._let_go: dict[str, threading.Event] = defaultdict(threading.Event)
        self._closed = False
        self._lock = threading.Lock()

    def fetch(self, request: requests.PreparedRequest, *, sink: Sink, guard: Guard, limits: Limits) -> Answer:
        url = request.url or ""
        self.asked.append(url)
        if urlsplit(url).hostname in self.held:
            with self._lock:
                let_go = self._let_go[url]
            if not self._closed:
                let_go.wait()
            return TransportError(Kind.TIMEOUT, "time-out")
        answer = requests.Response()
        answer.status_code = self.script[url].pop(0) if self.script[url] else 200
        if answer.status_code == 200:
            data = url.encode()
            answer.headers["Content-Type"] = "image/png"
            if sink.begin(Head(200, answer.headers, 0, len(data), None, "")) is None:
                sink.write(data)
        return answer

    def let_go(self, url: str) -> None:
        """What is held fails."""
        self._let_go[url].set()

    def close(self) -> None:
        self._closed = True
        with self._lock:
            for let_go in self._let_go.values():
                let_go.set()


class World:
    """A saver and all around it; `now` is what both clocks say."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store, self.hosts = folder, store, Hosts()
        self.now = NOW
        self.said: list[str] = []
        """Of the place."""
        self.over: list[File] = []
        self.shelf: Any = store
        clock = Clock(wall=lambda: self.now, monotonic=lambda: self.now)
        self.saver = Saver(shelf=self, downloads=self.hosts, reports=Reports(self), clock=clock, chance=lambda: 0.5)

    def __getattr__(self, name: str) -> Any:
        """As a shelf it is the store, or what a test puts in its place."""
        return getattr(self.shelf, name)

    def owe(self, *urls: str, key: Key = KEY, **changes: Any) -> None:
        """The files of an output."""
        files = [
            File(key, number, source_of(url), url, created_at=self.now, due_at=self.now, expires_at=self.now + DAY)
            for number, url in enumerate(urls)
        ]
        self.store.record([Change(key, DONE, files=tuple(replace(file, **changes) for file in files))], self.now)
        self.saver.wake()

    def means(self, directory: str = "outputs", **settings: Any) -> Means:
        """What files are kept with."""
        place = LocalDirectory(self.folder / directory)
        outputs = Outputs(str(self.folder / directory), **{"min_free": 0, **settings})
        return Means(outputs, place, Manifests(place), lambda key, url: None)

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.saver.wake()

    def files(self, key: Key = KEY) -> list[File]:
        return list(self.store.files([key]).get(key, ()))

    def states(self, key: Key = KEY) -> list[str]:
        return [file.state.value for file in self.files(key)]

    def on_disk(self, directory: str = "outputs") -> list[str]:
        root = self.folder / directory
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


class Reports:
    """Notes what is reported; nobody is to be told of anything."""

    def __init__(self, world: World) -> None:
        self._world = world

    def begun(self, file: File) -> None:
        pass

    def owed(self, files: Sequence[File]) -> Sequence[Owed]:
        return ()

    def over(self, file: File, deliveries: Sequence[Delivery], released: Sequence[Address]) -> None:
        self._world.over.append(file)

    def place_fails(self, since: float, reason: str) -> None:
        self._world.said.append(f"fails: {reason}")

    def place_works(self) -> None:
        self._world.said.append("works")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Store.open(f"sqlite:///{tmp_path}/notifier.db", now=NOW) as store:
        world = World(tmp_path, store)
        yield world
        assert world.saver.stop(10)


def test_a_lane_that_looked_before_another_tried_does_not_try_again(world: World) -> None:
    url = "https://a.example/a.png"
    world.hosts.script[url] = [503, 503]
    world.owe(url)
    stale = world.store.due_files(NOW, 1)
    looks: list[int] = []

    class Stale:
        def due_files(self, now: float, limit: int, besides: Collection[str] = ()) -> list[File]:
            looks.append(1)
            return stale

        def __getattr__(self, name: str) -> Any:
            return getattr(world.store, name)

    world.shelf = Stale()
    world.saver.configure(world.means())
    until(lambda: len(looks) > 50)
    assert world.hosts.asked == [url]


@pytest.mark.parametrize("url", ["https://c.example/c.png", "https://c.example:8443", "data:,c"])
def test_behind_hundreds_of_files_of_hosts_that_hang_no_other_host_waits(world: World, url: str) -> None:
    world.hosts.held = {"a.example", "b.example"}
    world.owe(*(f"https://{host}.example/{number}" for host in "ab" for number in range(300)), key=OTHER)
    world.saver.configure(world.means())
    until(lambda: len(world.hosts.asked) == LANES)
    world.pass_(1.0)
    world.owe(url)
    world.hosts.let_go(next(each for each in world.hosts.asked if "b.example" in each))
    until(lambda: world.states() == ["saved"])


@pytest.mark.parametrize("url", ["http://A.example", "http://A.example/x", "http://a.example:1/x", "http://[::A]/x"])
def test_files_of_hosts_that_are_passed_over_are_not_among_those_that_are_due(world: World, url: str) -> None:
    others = ["http://a.example.org/x", "http://ba.example/x", "https://b.example/http://a.example/", "http://[::b]/x"]
    world.owe(url, *others)
    found = world.store.due_files(NOW, 10, [urlsplit(url).hostname or ""])
    assert [file.url for file in found] == others
    assert len(world.store.due_files(NOW, 10, ["data:", "a_example", "%"])) == 5
