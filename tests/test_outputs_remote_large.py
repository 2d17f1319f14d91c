"""Large files on their way to an object store: in flat memory, and killed in the middle."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from notifier.outputs.remote import RemotePlace
from tests.place_files import FOLDER, NAME, kept_of, remote
from tests.standins.azure import AzureStandIn
from tests.standins.s3 import S3StandIn

ROOT = Path(__file__).parents[1]
MB = 10**6
LARGE = 300 * MB
CONTENT = bytes(range(256)) * 50_000
"""12.8 MB: three portions, the last one short."""

UPLOADING = """
import json, os, sys
from pathlib import Path
from notifier.outputs import RemotePlace
from tests.place_files import FOLDER

def most():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024

place = RemotePlace(sys.argv[1], spool=Path(sys.argv[2]), environ=json.loads(sys.argv[3]))
place.prepare()
portion = bytes(range(256)) * 3906 + bytes(64)
before = 0
for number, megabytes in enumerate((20, int(sys.argv[4]))):
    with place.part(FOLDER, number) as part:
        part.begin(f"{number:03d}-x")
        for _ in range(megabytes):
            part.write(portion)
        kept = part.commit()
    used, before = most() - before, most()
print(json.dumps([used, *kept]))
"""

KILLED = """
import json, os, signal, sys
from pathlib import Path
from notifier.outputs import RemotePlace, files
from tests.place_files import FOLDER, NAME
from tests.test_outputs_remote_large import CONTENT

place = RemotePlace(sys.argv[1], spool=Path(sys.argv[2]), environ=json.loads(sys.argv[3]))
with place.part(FOLDER, 0) as part:
    part.begin(NAME)
    part.write(CONTENT)
    real, kill = files.portions, lambda: os.kill(os.getpid(), signal.SIGKILL)

    def portions(file):
        for number, portion in enumerate(real(file)):
            if number == 11:
                kill()
            yield portion

    if sys.argv[4] == "uploading":
        files.portions = portions
    else:
        files.remove = lambda *_: kill()
    part.commit()
"""


def child(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=110
    )


def directory_of(place: RemotePlace) -> str:
    return place.address(FOLDER, NAME).removesuffix(f"/cometapi/x1/{NAME}")


def test_a_large_file_is_uploaded_in_flat_memory(s3: S3StandIn, tmp_path: Path) -> None:
    place = remote(s3, tmp_path / "spool")
    arguments = [directory_of(place), str(tmp_path / "spool"), json.dumps(s3.environ), str(LARGE // MB)]
    ended = child(UPLOADING, *arguments)
    assert ended.returncode == 0, ended.stderr
    used, size, sha256 = json.loads(ended.stdout)
    assert used < 16 * MB
    content = s3.ask("GET", place.address(FOLDER, "001-x").removeprefix("s3:/"))
    assert (len(content), hashlib.sha256(content).hexdigest()) == (size, sha256)
    assert size == LARGE
    assert place.find(FOLDER, "001-x") == (size, sha256)
    assert list((tmp_path / "spool").iterdir()) == []
    s3.ask("DELETE", place.address(FOLDER, "001-x").removeprefix("s3:/"))


@pytest.fixture(params=["s3", "azure"])
def store(request: pytest.FixtureRequest) -> S3StandIn | AzureStandIn:
    store: S3StandIn | AzureStandIn = request.getfixturevalue(request.param)
    return store


@pytest.mark.parametrize(("when", "left"), [("uploading", ["000.part"]), ("tidying", [NAME, "000.part"])])
def test_a_process_that_is_killed_leaves_the_whole_file_or_none(
    store: S3StandIn | AzureStandIn, tmp_path: Path, when: str, left: list[str]
) -> None:
    place = remote(store, tmp_path / "spool")
    ended = child(KILLED, directory_of(place), str(tmp_path / "spool"), json.dumps(store.environ), when)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert place.files(FOLDER) == sorted(left)
    assert place.find(FOLDER, NAME) == (None if when == "uploading" else kept_of(CONTENT))
    with place.part(FOLDER, 0) as part:
        assert part.size == len(CONTENT)
        part.begin(NAME, offset=part.size)
        assert part.commit() == kept_of(CONTENT)
    assert place.files(FOLDER) == [NAME]
    assert place.find(FOLDER, NAME) == kept_of(CONTENT)
    assert place.read(FOLDER, NAME, max_size=len(CONTENT)) == CONTENT
    assert os.listdir(tmp_path / "spool") == []
