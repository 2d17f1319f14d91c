"""The process is killed between two steps of keeping a file: what is left is whole, or unfinished and gone on from."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from notifier.model import Key
from notifier.outputs.directory import LocalDirectory
from notifier.outputs.names import folder_of
from notifier.outputs.places import Kept

ROOT = Path(__file__).parents[1]
KEY = Key("cometapi", "x1")
FOLDER = folder_of(KEY)
NAME = "000-out.png"
CONTENT = bytes(range(256)) * 1000

SAVING = """
import os, signal, sys
from pathlib import Path
from notifier.outputs.directory import LocalDirectory
from tests.test_outputs_kills import CONTENT, FOLDER, NAME

step, when, call = sys.argv[2:]
left = int(when)
real = getattr(os, step)

def killed(*arguments, **named):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **named)

place = LocalDirectory(Path(sys.argv[1]))
place.prepare()
if call == "put":
    place.put(FOLDER, "manifest.json", b"old")
setattr(os, step, killed)
if call == "put":
    place.put(FOLDER, "manifest.json", CONTENT)
else:
    with place.part(FOLDER, 0) as part:
        part.begin(NAME)
        for start in range(0, len(CONTENT), 1000):
            part.write(CONTENT[start : start + 1000])
        part.commit()
"""


def killed_at(directory: Path, step: str, when: int, call: str) -> list[str]:
    """The files that a process leaves which is killed before that call of that function of `os`."""
    ended = subprocess.run(
        [sys.executable, "-c", SAVING, str(directory), step, str(when), call], cwd=ROOT, capture_output=True, timeout=60
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    return LocalDirectory(directory).files(FOLDER)


# The first two calls of fsync make the account's folder and the prediction's outlive a power cut.
@pytest.mark.parametrize(
    ("step", "when", "left", "size"),
    [
        ("write", 1, ["000.part"], 0),
        ("write", 100, ["000.part"], 99_000),
        ("fsync", 3, ["000.part"], len(CONTENT)),
        ("rename", 1, ["000.part"], len(CONTENT)),
        ("fsync", 4, [NAME], 0),
    ],
)
def test_a_file_is_whole_or_gone_on_from(tmp_path: Path, step: str, when: int, left: list[str], size: int) -> None:
    assert killed_at(tmp_path, step, when, "part") == left
    with LocalDirectory(tmp_path).part(FOLDER, 0) as part:
        assert part.size == size
        part.begin(NAME, offset=size)
        part.write(CONTENT[size:])
        assert part.commit() == Kept(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert LocalDirectory(tmp_path).files(FOLDER) == [NAME]
    assert (tmp_path / "cometapi/x1" / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_what_is_put_is_the_old_one_or_the_new_one(tmp_path: Path, step: str) -> None:
    assert killed_at(tmp_path, step, 1, "put") == ["manifest.json", "manifest.json.part"]
    place = LocalDirectory(tmp_path)
    assert place.read(FOLDER, "manifest.json", max_size=10) == b"old"
    place.put(FOLDER, "manifest.json", b"new")
    assert place.read(FOLDER, "manifest.json", max_size=10) == b"new"
    assert place.files(FOLDER) == ["manifest.json"]
