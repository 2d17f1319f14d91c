"""The saver with a real store and a real directory; hosts are a double, and time is passed in."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from notifier.decide.files import source_of
from notifier.errors import PlaceError, StoreWriteError
from notifier.model import Address, Clock, Delivery, File, Key, Outputs, State, Status
from notifier.outputs import LocalDirectory, Manifests, Means, Owed, Saver
from notifier.outputs.retries import WAITS
from notifier.outputs.saver import LANES, TIDIED_EVERY
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

    def means(self, directory: str = "outputs", place: LocalDirectory | None = None, **settings: Any) -> Means:
        """What files are kept with."""
        place = place or LocalDirectory(self.folder / directory)
        outputs = Outputs(str(self.folder / directory), **{"min_free": 0, **settings})
        return Means(outputs, place, Manifests(place), lambda key, url: None)

    def pass_(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.saver.wake()

    def comes_to(self, condition: Callable[[], bool]) -> bool:
        """Let a second pass, unless the condition is met."""
        if not condition():
            self.pass_(1.0)
        return condition()

    def files(self, key: Key = KEY) -> list[File]:
        return list(self.store.files([key]).get(key, ()))

    def states(self, key: Key = KEY) -> list[str]:
        return [file.state.value for file in self.files(key)]

    def on_disk(self, directory: str = "outputs") -> list[str]:
        root = self.folder / directory
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


class SmallDirectory(LocalDirectory):
    """A directory on a disk of its own, of so many bytes."""

    def __init__(self, directory: Path, size: int) -> None:
        super().__init__(directory)
        self._files, self._size = directory, size

    def free(self) -> int:
        return self._size - sum(path.stat().st_size for path in self._files.rglob("*.png"))


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


def manifest(world: World, key: Key = KEY) -> dict[int, str]:
    """The states that it says."""
    found = world.means().manifests.read(key)
    return {} if found is None else {entry.number: entry.state.value for entry in found.files}


def test_files_are_removed_when_they_were_kept_for_long_enough_and_not_before(world: World) -> None:
    world.saver.configure(world.means(keep=30 * DAY))
    world.owe("https://a.example/a.png")
    until(lambda: world.states() == ["saved"])
    world.pass_(10 * DAY)
    world.owe("https://a.example/b.png", number=1)
    until(lambda: world.states() == ["saved", "saved"])
    world.pass_(20 * DAY - TIDIED_EVERY)
    world.owe("https://a.example/c.png", key=OTHER)
    until(lambda: world.states(OTHER) == ["saved"])
    assert world.states() == ["saved", "saved"]
    world.pass_(2 * TIDIED_EVERY)
    until(lambda: world.states() == ["removed", "saved"])
    assert world.on_disk() == ["here/x/001-b.png", "here/x/manifest.json", "here/y/000-c.png", "here/y/manifest.json"]
    assert manifest(world) == {0: "removed", 1: "saved"}
    world.pass_(10 * DAY)
    until(lambda: world.states() == ["removed", "removed"])
    until(lambda: world.on_disk() == ["here/y/000-c.png", "here/y/manifest.json"])
    assert world.states(OTHER) == ["saved"]


def test_what_is_kept_elsewhere_or_is_of_others_is_left_alone(world: World) -> None:
    world.saver.configure(world.means("before", keep=DAY))
    world.owe("https://a.example/a.png")
    until(lambda: world.states() == ["saved"])
    world.saver.configure(world.means(keep=DAY))
    world.owe("https://a.example/b.png", key=OTHER)
    until(lambda: world.states(OTHER) == ["saved"])
    mine = world.folder / "outputs/here/y/notes.txt"
    mine.write_text("of somebody")
    world.pass_(2 * DAY)
    until(lambda: world.states(OTHER) == ["removed"])
    until(lambda: world.on_disk() == ["here/y/notes.txt"])
    assert world.states() == ["saved"]
    assert world.on_disk("before") == ["here/x/000-a.png", "here/x/manifest.json"]


def test_a_full_disk_is_no_reason_not_to_remove_what_was_kept_for_long_enough(world: World) -> None:
    url = "https://a.example/a.png"
    place = SmallDirectory(world.folder / "outputs", 3 * len(url))
    world.saver.configure(world.means(place=place, keep=30 * DAY, min_free=len(url)))
    world.owe(url)
    until(lambda: world.states() == ["saved"])
    others = world.folder / "outputs/others.png"
    others.write_bytes(bytes(2 * len(url)))
    world.owe("https://a.example/b.png", key=OTHER, expires_at=NOW + 60 * DAY)
    until(lambda: world.comes_to(lambda: len(world.said) == 1))
    assert world.said[0].startswith("fails: the disk has 0 MiB left")
    assert (world.states(), world.states(OTHER)) == (["saved"], ["waiting"])
    world.pass_(30 * DAY)
    until(lambda: world.comes_to(lambda: world.states() == ["removed"]))
    others.write_bytes(b"")
    until(lambda: world.comes_to(lambda: world.states(OTHER) == ["saved"]))
    assert world.said[1:] == ["works"]


def test_the_trouble_of_a_place_that_is_not_used_any_more_is_nobodys(world: World) -> None:
    """A directory on a server that hangs: its error comes after an edit has named another."""
    began, hangs = threading.Event(), threading.Event()

    class Hangs(LocalDirectory):
        def prepare(self) -> None:
            began.set()
            hangs.wait(10)
            raise PlaceError("the server is gone")

    world.saver.configure(world.means("before", place=Hangs(world.folder / "before")))
    assert began.wait(10)
    world.saver.configure(world.means())
    world.owe("https://a.example/a.png")
    until(lambda: world.states() == ["saved"])
    hangs.set()
    assert world.saver.stop(10)
    assert world.said == []


def test_while_the_store_takes_nothing_no_host_is_asked_again_and_again(world: World) -> None:
    class Full:
        def mark_file_failed(self, *_: Any, **__: Any) -> None:
            raise StoreWriteError("the disk is full")

        def __getattr__(self, name: str) -> Any:
            return getattr(world.store, name)

    world.shelf = Full()
    url = "https://a.example/a.png"
    world.hosts.script[url] = [503, 503]
    world.saver.configure(world.means())
    world.owe(url)
    until(lambda: len(world.hosts.asked) == 1)
    time.sleep(0.2)  # eight lanes would have asked by now
    assert len(world.hosts.asked) == 1
    world.pass_(WAITS[0])
    until(lambda: len(world.hosts.asked) == 2)
    world.shelf = world.store
    until(lambda: world.comes_to(lambda: world.states() == ["saved"]))
