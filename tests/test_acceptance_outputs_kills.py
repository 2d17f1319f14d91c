"""SIGKILL at each named point between the final status and the word that its files are kept: in the end all is as if
nothing had happened, and nothing was fetched twice that a kill does not explain.
"""

from __future__ import annotations

import base64
import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notifier.model import File, Key
from notifier.store import Store
from tests.standins.api import ApiStandIn, plain
from tests.standins.asker import until
from tests.standins.files import FileStandIn, stalled, status
from tests.standins.receiver import Receiver
from tests.standins.slack import SlackStandIn
from tests.standins.smtp import SMTPStandIn
from tests.test_acceptance_kills import EVERY, Told, World, everywhere
from tests.test_acceptance_outputs import kept, manifest

LARGE = random.Random(5).randbytes(2 * 2**20 + 123)
SMALL = LARGE[:3000]
DONE: Told = ("one", "status", "succeeded")
SAVED: Told = ("one", "saved", "1 file kept")
FAILED: Told = ("one", "save_failed", "1 file not kept")


@pytest.fixture
def files() -> Iterator[FileStandIn]:
    with FileStandIn() as files:
        yield files


@pytest.fixture
def world(tmp_path: Path, api: ApiStandIn, slack: SlackStandIn, files: FileStandIn) -> Iterator[World]:
    with Receiver() as hook, SMTPStandIn() as smtp:
        world = World(tmp_path, api, slack, hook, smtp)
        world.change_config(
            "defaults: {interval: 1s}",
            f"""defaults: {{interval: 1s, save: true, events: [all]}}
outputs: {{directory: "{tmp_path}/outputs", allow_private: true, min_free: 1MiB}}""",
        )
        with world.program:
            yield world


def finish(world: World, *told: Told) -> None:
    """Start once more; all that was left is done, and each is told everywhere, in order and under one id."""
    world.program.start()
    world.wait_for(*told)
    events = [(notice.key.id, notice.event) for notice in world.finish() if notice.key]
    assert events == [(one, event) for one, event, _ in told]
    assert {channel: list(dict.fromkeys(each)) for channel, each in world.arrived().items()} == everywhere(*told)


def on_disk_is(folder: Path, **expected: bytes) -> None:
    """These files of `one`, whole, and in the manifest as they are."""
    assert {name: hashlib.sha256(data).hexdigest() for name, data in kept(folder).items()} == {
        f"here/one/{name}": hashlib.sha256(data).hexdigest() for name, data in expected.items()
    }
    entries = {entry["name"]: entry for entry in manifest(folder, "one")}
    assert entries.keys() == expected.keys()
    for name, data in expected.items():
        entry = entries[name]
        assert (entry["state"], entry["size"]) == ("saved", len(data))
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()


def stored(folder: Path) -> File:
    """The first file of `one` in the store."""
    with Store.open(f"sqlite:///{folder}/state/notifier.db", create=False) as store:
        return store.files()[Key("here", "one")][0]


def ranges(files: FileStandIn, name: str) -> list[str | None]:
    return [seen.headers.get("range") for seen in files.requests if seen.id == name]


def test_killed_on_the_whole_way_of_a_large_file_each_byte_is_fetched_once(
    world: World, tmp_path: Path, files: FileStandIn
) -> None:
    half = 3 * 2**19
    files.put("large.png", LARGE)
    files.script("large.png", [stalled(half)])
    part = tmp_path / "outputs/here/one/000.part"
    world.api.script("one", [plain("one", "succeeded", output=files.url("large.png"))])
    world.run_until_killed("record/done", "one,succeeded", EVERY)
    world.run_until_killed("attempt/begun", "one", EVERY)
    assert files.requests == []

    world.program.start()
    until(lambda: part.exists() and part.stat().st_size > 2**20)
    until(lambda: stored(tmp_path).validator is not None)
    until(lambda: set(world.states().values()) == {"sent"})
    world.program.kill()
    size = part.stat().st_size
    world.run_until_killed("commit/begun", "", EVERY)
    assert part.read_bytes() == LARGE
    world.run_until_killed("update/begun", "one", EVERY)
    assert kept(tmp_path) == {"here/one/000-large.png": LARGE}
    world.run_until_killed("end_file/uncommitted", "one", EVERY)
    world.run_until_killed("end_file/done", "one", EVERY)
    world.run_until_killed("send/begun", "lane hook,saved", "hook")
    world.run_until_killed("send/done", "lane hook,saved", "hook")
    finish(world, DONE, SAVED)
    # The last question has 416 for an answer: nothing was missing.
    assert ranges(files, "large.png") == [None, f"bytes={size}-", f"bytes={len(LARGE)}-"]
    on_disk_is(tmp_path, **{"000-large.png": LARGE})
    assert manifest(tmp_path, "one")[0]["content_type"] == "image/png"
    assert world.repeats() == {"hook": [SAVED]}


@pytest.mark.parametrize("number", [1, 3])
def test_killed_between_a_small_file_and_the_record_of_it_nothing_is_fetched_again(
    world: World, tmp_path: Path, files: FileStandIn, number: int
) -> None:
    names = [f"{number}.png" for number in range(3)]
    inline = "data:text/plain;base64," + base64.b64encode(b"words").decode()
    for name in names:
        files.put(name, SMALL + name.encode())
    output: dict[str, Any] = {"images": [files.url(name) for name in names], "words": inline}
    world.api.script("one", [plain("one", "succeeded", output=output)])
    for point in ("update/begun", "update/done", "end_file/begun"):
        world.run_until_killed(point, f"number={number}")
    finish(world, DONE, ("one", "saved", "4 files kept"))
    on_disk_is(
        tmp_path,
        **{f"{place:03d}-{name}": SMALL + name.encode() for place, name in enumerate(names)},
        **{"003-output.txt": b"words"},
    )
    types = [entry["content_type"] for entry in manifest(tmp_path, "one")]
    assert types == [*["image/png"] * 3, "text/plain"]
    asked = Counter(seen.id for seen in files.requests)
    assert sorted(asked) == names
    assert asked[f"{number}.png"] <= 1
    assert max(asked.values()) <= 4, "the others may have been under way at each of the three kills"
    assert world.repeats() == {}


def test_killed_while_a_file_is_lost_that_is_told_once_and_nothing_is_left_of_it(
    world: World, tmp_path: Path, files: FileStandIn
) -> None:
    files.put("lost.png", LARGE)
    files.script("lost.png", [stalled(3 * 2**19)], then=status(404))
    part = tmp_path / "outputs/here/one/000.part"
    world.api.script("one", [plain("one", "succeeded", output=files.url("lost.png"))])
    world.program.start()
    until(lambda: part.exists() and part.stat().st_size > 2**20)
    until(lambda: set(world.states().values()) == {"sent"})
    world.program.kill()

    for point in ("mark_file_failed/uncommitted", "mark_file_failed/done", "discard/begun", "discard/done"):
        world.run_until_killed(point, "", EVERY, KEEN="1")
    world.run_until_killed("end_file/uncommitted", "one", EVERY, KEEN="1")
    world.run_until_killed("end_file/done", "one", EVERY, KEEN="1")
    finish(world, DONE, FAILED)
    assert kept(tmp_path) == {}
    assert [(entry["state"], entry["reason"]) for entry in manifest(tmp_path, "one")] == [
        ("lost", "HTTP 404 Not Found")
    ]
    assert world.repeats() == {}
