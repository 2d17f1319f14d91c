"""What the tests of a place share: one file of one prediction, and a directory that is looked at from outside."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from notifier.model import Key
from notifier.outputs.directory import LocalDirectory
from notifier.outputs.names import Folder, folder_of
from notifier.outputs.places import Kept, Place
from notifier.outputs.remote import RemotePlace
from tests.standins.azure import AzureStandIn
from tests.standins.s3 import S3StandIn

FOLDER = folder_of(Key("cometapi", "x1"))
NAME = "000-out.png"


@contextmanager
def prepared(directory: Path) -> Iterator[Place]:
    """A directory as a place; nothing may be left open."""
    place = LocalDirectory(directory)
    place.prepare()
    yield place
    assert open_below(directory) == [], "a file was left open"


def open_below(directory: Path) -> list[str]:
    """The files and folders there that this process has open."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # sockets of another test's place come and go
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return [path for path in found if Path(path).is_relative_to(directory)]


def remote(store: S3StandIn | AzureStandIn, spool: Path) -> RemotePlace:
    """A new bucket as a place."""
    at = f"s3://{store.bucket()}" if isinstance(store, S3StandIn) else f"az://{store.container()}"
    place = RemotePlace(f"{at}/some/prefix", spool=spool, environ=store.environ)
    place.prepare()
    return place


def kept_of(content: bytes) -> Kept:
    """What a place says of a file with that content."""
    return Kept(len(content), hashlib.sha256(content).hexdigest())


def save(place: Place, content: bytes, name: str = NAME, folder: Folder = FOLDER) -> Kept:
    """Keep that content as the first file of a prediction."""
    with place.part(folder, 0) as part:
        part.begin(name)
        part.write(content)
        return part.commit()


def content_below(directory: Path) -> dict[str, bytes]:
    """All files below it, by their paths."""
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}
