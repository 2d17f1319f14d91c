"""Every way in which a file can fail to come, each at a prediction of its own, in one run of the real daemon."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from notifier.model import DeliveryState
from notifier.store import Store
from tests.standins.api import Answer, ApiStandIn, Seen, plain
from tests.standins.daemon import Daemon
from tests.standins.files import (
    FileStandIn,
    Play,
    Turn,
    chunked,
    claims,
    dripping,
    empty,
    gzipped,
    honest,
    html,
    range_ignored,
    redirect,
    reset,
    silent,
    stalled,
    status,
    truncated,
    until_closed,
)
from tests.standins.receiver import Receiver
from tests.test_acceptance_outputs import configuration, kept, manifest

SIZE = 3000
MAX_SIZE = 2**20
CHANCE = random.Random(6)
GONE_SOON = 8.0
"""Seconds after which a file that never comes is given up: what the host's files live, less what is over of it."""
OTHER_LIFE = 86400.0


@pytest.fixture
def files() -> Iterator[FileStandIn]:
    with FileStandIn() as files:
        yield files


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@dataclass
class Fault:
    """A prediction, what its output is, how its files come, and what is to become of each of them, by its name."""

    id: str
    kept: dict[str, bytes] = field(default_factory=dict)
    lost: dict[int, str] = field(default_factory=dict)
    """By number, a pattern of the reason."""
    output: Any = None
    asked: Callable[[list[Seen]], bool] = lambda seen: True
    """What is to be true of the requests for the file that is called as the prediction."""
    ends_soon: bool = False


def content(size: int = SIZE) -> bytes:
    return CHANCE.randbytes(size)


def ranges(*expected: str | None) -> Callable[[list[Seen]], bool]:
    """These were asked for, one after the other."""
    return lambda seen: [each.headers.get("range") for each in seen] == list(expected)


def times(count: int) -> Callable[[list[Seen]], bool]:
    return lambda seen: len(seen) == count


def again(seen: list[Seen]) -> bool:
    return len(seen) > 1


def apart(seconds: float) -> Callable[[list[Seen]], bool]:
    """Asked for twice, and not before it was to be."""
    return lambda seen: len(seen) == 2 and seen[1].time - seen[0].time >= seconds


class Table:
    """The faults; each method adds some of them, with what the servers are to play."""

    def __init__(self, api: ApiStandIn, files: FileStandIn) -> None:
        self.faults: list[Fault] = []
        self._api, self._files = api, files
        self.comes_in_the_end()
        self.changes()
        self.redirects()
        self.never_comes()
        self.inline()
        self.names()
        self.tokens()

    def _put(self, name: str, plays: Iterable[Play], *, then: Play = honest, **settings: Any) -> bytes:
        data = content()
        self._files.put(f"{name}.png", data, **settings)
        self._files.script(f"{name}.png", plays, then=then)
        return data

    def _comes(self, name: str, *plays: Play, asked: Callable[[list[Seen]], bool], **settings: Any) -> None:
        data = self._put(name, plays, **settings)
        self.faults.append(Fault(name, {f"000-{name}.png": data}, asked=asked))

    def _fails(
        self, name: str, reason: str, *plays: Play, then: Play, asked: Callable[[list[Seen]], bool], soon: bool = False
    ) -> None:
        self._put(name, plays, then=then)
        self.faults.append(Fault(name, lost={0: reason}, asked=asked, ends_soon=soon))

    def comes_in_the_end(self) -> None:
        """What is mended by asking again."""
        rest = f"bytes={SIZE // 3}-"
        self._comes("truncated", truncated(SIZE // 3), asked=ranges(None, rest))
        self._comes("reset", reset(SIZE // 3), asked=ranges(None, rest))
        self._comes("stalled", stalled(SIZE // 3), asked=ranges(None, rest))
        self._comes("silent", silent, asked=ranges(None, None))
        self._comes("dripped", dripping(), asked=lambda seen: len(seen) == 2 and "range" in seen[1].headers)
        self._comes("unversioned", truncated(SIZE // 3), asked=ranges(None, None), etag=None, last_modified=None)
        self._comes("weakly", truncated(SIZE // 3), asked=ranges(None, None), etag='W/"1"')
        self._comes("again", truncated(SIZE // 3), range_ignored, asked=ranges(None, rest))
        self._comes("busy", status(503, Retry_After="2"), asked=apart(2.0))
        self._comes("throttled", status(429, Retry_After="2"), asked=apart(2.0))
        self._comes("odd", status(500), status(599), status(408), asked=times(4))
        self._comes("not-yet", status(404), status(404), asked=times(3))
        self._comes("a-page", html, asked=times(2))
        self._comes("empty", empty, asked=times(2))
        self._comes("says-more", claims(SIZE + 1000), asked=ranges(None, f"bytes={SIZE}-"))
        self._comes("gzipped", gzipped, asked=times(1))
        self._comes("chunked", chunked, asked=times(1))
        self._comes("closed", until_closed, asked=times(1))
        # By its own headers it is whole: nobody can tell.
        data = self._put("says-less", [claims(SIZE - 500)])
        self.faults.append(Fault("says-less", {"000-says-less.png": data[:-500]}, asked=times(1)))

    def changes(self) -> None:
        """Another version comes between two tries: never a mixture of both."""

        def gives_way(name: str, to: bytes) -> Play:
            async def play(turn: Turn) -> None:
                await truncated(SIZE // 3)(turn)
                self._files.put(f"{name}.png", to)

            return play

        for name in ("changed", "changed-unsaid"):
            data = content(SIZE + 1)
            mixture = status(
                206,
                data[SIZE // 3 :],
                Content_Range=f"bytes {SIZE // 3}-{SIZE}/{SIZE + 1}",
                ETag='"another"',
                Content_Type="image/png",
            )
            self._put(name, [gives_way(name, data), *([mixture] if name == "changed-unsaid" else [])])
            self.faults.append(Fault(name, {f"000-{name}.png": data}))

    def redirects(self) -> None:
        """Followed as far as is sensible."""
        url = self._files.url
        data = self._put("target", [truncated(SIZE // 3)])
        self._files.script("moved.png", [], then=redirect(url("target.png")))
        self.faults.append(Fault("moved", {"000-moved.png": data}, asked=ranges(None, f"bytes={SIZE // 3}-")))
        self._fails("loop", "over 5 redirects", then=redirect(url("loop.png")), asked=times(6))
        for step in range(6):
            self._files.script(f"hop{step}.png", [], then=redirect(url(f"hop{step + 1}.png")))
        self._fails("far", "over 5 redirects", then=redirect(url("hop0.png")), asked=times(1))
        self._fails("elsewhere", "neither http nor https", then=redirect("file:///etc/passwd"), asked=times(1))
        self._fails(
            "named", "user name", then=redirect("http://user:very-secret@127.0.0.1/"), asked=times(1)
        )  # fmt: skip

    def never_comes(self) -> None:
        """Lost, at once or in the end."""
        for name, code in (("nowhere", 404), ("forbidden", 403), ("gone", 410)):
            self._fails(name, f"HTTP {code}", then=status(code), asked=times(3))
        self._fails("large", "too large", then=claims(MAX_SIZE + 1), asked=times(1))

        async def endless(turn: Turn) -> None:
            await turn.head(200, {"Content-Length": None})
            while True:
                await turn.send(bytes(2**16))
                await asyncio.sleep(0.001)

        self._fails("endless", "too large", then=endless, asked=times(1))
        self._fails("half", "HTTP 500", truncated(SIZE // 3), then=status(500), asked=again, soon=True)
        self._fails("pages", "HTML", then=html, asked=again, soon=True)
        self._fails("nothing", "empty", then=empty, asked=again, soon=True)
        credentials = f"http://user:very-secret@127.0.0.1:{self._files.port}/credentials.png"
        self.faults.append(Fault("credentials", lost={0: "user name or password"}, output=credentials, asked=times(0)))

    def inline(self) -> None:
        """`data:` URIs that hold what they should not."""
        large = "data:image/png;base64," + base64.b64encode(bytes(MAX_SIZE + 1)).decode()
        self.faults += [
            Fault("bad-base64", lost={0: "base64"}, output="data:image/png;base64,@@@@"),
            Fault("large-data", lost={0: str(MAX_SIZE + 1)}, output=large),
            Fault("no-data", {"001-output.txt": b"x"}, {0: "empty"}, ["data:image/png;base64,", "data:,x"]),
        ]

    def names(self) -> None:
        """Whatever files are called."""
        many = {f"many/{number}.png": content(10 + number) for number in range(300)}
        odd = {
            "../../../etc/passwd": "000-etc_passwd.png",
            "..\\..\\x.png": "001-x.png",
            ".hidden": "002-output.hidden",
            "-rf.png": "003-rf.png",
            "a\0b.png": "004-ab.png",
            "x" * 300 + ".png": "005-" + "x" * 92 + ".png",
            "manifest.json": "006-manifest.json",
            "007.part": "007-007.part",
        }
        same = {f"{number}/out-0.png": content() for number in range(3)}
        for name, data in (*many.items(), *same.items()):
            self._files.put(name, data)
        for name in odd:
            self._files.put(name, name.encode())
        url = self._files.url
        self.faults += [
            Fault(
                "many",
                {f"{number:03d}-{number}.png": data for number, data in enumerate(many.values())},
                output=[url(name, "localhost") for name in many],  # lanes of their own
            ),
            Fault(
                "odd-names",
                {called: name.encode() for name, called in odd.items()},
                output=[f"http://127.0.0.1:{self._files.port}/{_all_quoted(name)}" for name in odd],
            ),
            Fault(
                "same-names",
                {f"{number:03d}-out-0.png": data for number, data in enumerate(same.values())},
                output=list(map(url, same)),
            ),
        ]
        self._files.put("кот.png", b"a cat")
        raw = f"http://127.0.0.1:{self._files.port}/кот.png?для=нас"
        self.faults.append(Fault("not-ascii", {"000-кот.png": b"a cat"}, output=raw))

    def tokens(self) -> None:
        """To the API's very origin, and nowhere else; no redirect takes it along."""
        data = content()
        image = {"Content-Type": "image/png"}
        self._api.script("own-file", [Answer(body=data, headers=image)])
        self.faults.append(Fault("own", {"000-own-file.png": data}, output=self._api.url("own-file")))
        data = self._put("led-away", [])
        self._api.script("leads-away", [Answer(302, b"", {"Location": self._files.url("led-away.png")})])
        self.faults.append(Fault("away", {"000-leads-away.png": data}, output=self._api.url("leads-away")))
        other_name = self._api.url("own-file").replace("127.0.0.1", "localhost")
        self.faults.append(Fault("other-name", {"000-own-file.png": self.faults[-2].kept["000-own-file.png"]},
                                 output=other_name))  # fmt: skip


def _all_quoted(name: str) -> str:
    return "".join(f"%{byte:02x}" for byte in name.encode())


def test_whatever_a_host_does_there_are_whole_files_or_none_and_one_word_on_it(
    tmp_path: Path, api: ApiStandIn, files: FileStandIn, receiver: Receiver
) -> None:
    faults = Table(api, files).faults
    ending = datetime.fromtimestamp(time.time() - OTHER_LIFE + GONE_SOON, UTC).isoformat()
    for fault in faults:
        output = files.url(f"{fault.id}.png") if fault.output is None else fault.output
        times_of_it = {"completed_at": ending} if fault.ends_soon else {}
        api.script(fault.id, [plain(fault.id, "succeeded", output=output, **times_of_it)])
    outputs = {"max_size": str(MAX_SIZE), "min_free": "1MiB"}
    config = configuration(tmp_path, api, receiver, [fault.id for fault in faults], outputs)
    with Daemon(tmp_path, config) as daemon:
        daemon.launch(module=("tests.standins.keen",))
        daemon.wait_for_log(lambda lines: any("started watches=" in line for line in lines))
        deadline = time.monotonic() + 60
        while untold := _untold(tmp_path, faults):
            assert time.monotonic() < deadline, "\n".join([f"never told: {untold}", *daemon.log])
            time.sleep(0.1)
        daemon.stop()
        history = daemon.json("history")
    expected = {f"here/{fault.id}/{name}": data for fault in faults for name, data in fault.kept.items()}
    found = kept(tmp_path)
    assert {name: _sha256(data) for name, data in found.items()} == {
        name: _sha256(data) for name, data in expected.items()
    }
    problems = [problem for fault in faults for problem in _judged(fault, tmp_path, files, history)]
    assert problems == []
    log = "\n".join(daemon.log)
    assert "very-secret" not in log
    assert "Traceback" not in log
    at_the_api = Counter(
        (seen.path.rpartition("/")[2], seen.headers.get("authorization")) for seen in api.requests if "-file" in seen.id
    )
    assert at_the_api == {("own-file", "Bearer secret-token"): 1, ("own-file", None): 1}
    assert not any("secret-token" in str(seen.headers) for seen in files.requests)
    assert all(not seen.headers.get("cookie") for seen in files.requests)


def _untold(folder: Path, faults: list[Fault]) -> list[str]:
    """The predictions of whose files not everybody was told."""
    with Store.open(f"sqlite:///{folder}/state/notifier.db", create=False) as store:
        told = {
            row.key.id
            for row in store.history(None, None)
            if row.event in ("saved", "save_failed") and row.key is not None
            if all(each.state is DeliveryState.SENT for each in row.deliveries)
        }
    return [fault.id for fault in faults if fault.id not in told]


def _judged(fault: Fault, folder: Path, files: FileStandIn, history: list[dict[str, Any]]) -> Iterator[str]:
    """What is wrong with what became of a fault."""
    entries = {entry["number"]: entry for entry in manifest(folder, fault.id)}
    for name, data in fault.kept.items():
        entry = entries.pop(int(name[:3]), {})
        if (entry.get("state"), entry.get("name"), entry.get("size")) != ("saved", name, len(data)):
            yield f"{fault.id}: {name} is {entry}"
        if entry.get("sha256") != _sha256(data):
            yield f"{fault.id}: {name} has another sha256"
    for number, reason in fault.lost.items():
        entry = entries.pop(number, {})
        if entry.get("state") != "lost" or not re.search(reason, entry.get("reason") or ""):
            yield f"{fault.id}: {number} is {entry}"
    if entries:
        yield f"{fault.id}: nobody expects {entries}"
    if "very-secret" in json.dumps(manifest(folder, fault.id)):
        yield f"{fault.id}: a password is in the manifest"
    told = [notice["event"] for notice in history if notice["id"] == fault.id and notice["event"].startswith("save")]
    if told != ["save_failed" if fault.lost else "saved"]:
        yield f"{fault.id}: told was {told}"
    seen = [each for each in files.requests if each.id == f"{fault.id}.png"]
    if not fault.asked(seen):
        yield f"{fault.id}: asked for were {[(each.time, each.headers.get('range')) for each in seen]}"


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
