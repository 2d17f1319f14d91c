"""Outputs are kept before they vanish: the real daemon, a scripted API, and a file server that dies after a while."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.standins.api import ApiStandIn, plain
from tests.standins.asker import until as wait_until
from tests.standins.daemon import Daemon
from tests.standins.files import FileStandIn
from tests.standins.receiver import Receiver

CONFIG = """
apis: {{here: {{base_url: "{api}", token: secret-token, rate: 100/s}}}}
channels: {{team: {{url: "{channel}", rate: 100/s, digest_over: 1000}}}}
defaults: {{interval: 1s, save: true, events: [all]}}
outputs:
  directory: "{directory}"
  allow_private: true
{outputs}
watchlist: {watchlist}
"""


@pytest.fixture
def api() -> Iterator[ApiStandIn]:
    with ApiStandIn() as api:
        yield api


@pytest.fixture
def files() -> Iterator[FileStandIn]:
    with FileStandIn() as files:
        yield files


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def configuration(
    folder: Path, api: ApiStandIn, receiver: Receiver, watchlist: list[str], outputs: Mapping[str, str] | None = None
) -> str:
    return CONFIG.format(
        api=api.base_url,
        channel=receiver.url,
        directory=folder / "outputs",
        outputs="\n".join(f"  {key}: {value}" for key, value in (outputs or {}).items()),
        watchlist=json.dumps(watchlist),
    )


def kept(folder: Path) -> dict[str, bytes]:
    """What is on the disk by its path below the directory, without manifests and what is unfinished."""
    root = folder / "outputs"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not re.fullmatch(r"manifest\.json|(manifest\.json|\d+)\.part", path.name)
    }


def manifest(folder: Path, prediction_id: str) -> list[dict[str, Any]]:
    content = json.loads((folder / "outputs/here" / prediction_id / "manifest.json").read_text())
    assert content["prediction"] == prediction_id
    entries: list[dict[str, Any]] = content["files"]
    return entries


def told(daemon: Daemon, event: str) -> list[dict[str, Any]]:
    """The notices of that event that every channel has."""
    return [
        notice
        for notice in daemon.json("history", "--json")
        if notice["event"] == event and all(each["state"] == "sent" for each in notice["deliveries"])
    ]


def test_every_shape_of_output_is_on_the_disk_byte_by_byte(
    tmp_path: Path, api: ApiStandIn, files: FileStandIn, receiver: Receiver
) -> None:
    dies_at = time.monotonic() + 20.0
    content = {f"out-{number}.png": os.urandom(1000 * number + 1) for number in range(6)}
    for name, data in content.items():
        files.put(name, data, expires_at=dies_at)
    files.put("no-extension", b"a film", content_type="video/mp4", expires_at=dies_at)
    inline = os.urandom(300)
    url = files.url
    shapes: dict[str, Any] = {
        "text": "only words",
        "single": url("out-0.png"),
        "list": [url("out-1.png"), url("out-2.png"), url("out-1.png")],
        "nested": {"images": [{"file": url("out-3.png")}], "seed": 7},
        "pairs": [[url("out-4.png")], [url("out-5.png")]],
        "inline": ["data:image/webp;base64," + base64.b64encode(inline).decode(), "data:,words%20here"],
        "film": {"video": url("no-extension") + "?sig=very-secret"},
    }
    expected = {
        "single/000-out-0.png": content["out-0.png"],
        "list/000-out-1.png": content["out-1.png"],
        "list/001-out-2.png": content["out-2.png"],
        "nested/000-out-3.png": content["out-3.png"],
        "pairs/000-out-4.png": content["out-4.png"],
        "pairs/001-out-5.png": content["out-5.png"],
        "inline/000-output.webp": inline,
        "inline/001-output.txt": b"words here",
        "film/000-no-extension.mp4": b"a film",
    }
    for name, output in shapes.items():
        api.script(name, [plain(name, "processing"), plain(name, "succeeded", output=output)])
    with Daemon(tmp_path, configuration(tmp_path, api, receiver, list(shapes))) as daemon:
        daemon.start()
        wait_until(lambda: len(kept(tmp_path)) == len(expected))
        wait_until(lambda: len(told(daemon, "saved")) == len(shapes) - 1)
        daemon.stop()
    assert kept(tmp_path) == {f"here/{name}": data for name, data in expected.items()}
    asked = [seen.path for seen in files.requests]
    assert sorted(asked) == sorted(set(asked)), "nothing is fetched twice"
    assert all("authorization" not in seen.headers for seen in files.requests)
    for name in shapes:
        if name == "text":
            assert not (tmp_path / "outputs/here/text").exists()
            continue
        for entry in manifest(tmp_path, name):
            data = expected[f"{name}/{entry['name']}"]
            assert (entry["state"], entry["size"]) == ("saved", len(data))
            assert entry["sha256"] == hashlib.sha256(data).hexdigest()
            assert "very-secret" not in json.dumps(entry)
    assert "very-secret" not in "".join(daemon.log)
