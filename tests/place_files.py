"""What the tests of a place share: one file of one prediction, and a directory that is looked at from outside."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from notifier.model import Key
from notifier.outputs.directory import LocalDirectory
from notifier.outputs.names import Folder, folder_of
from notifier.outputs.places import Kept, Place

FOLDER = folder_of(Key("cometapi", "x1"))
NAME = "000-out.png"


@contextmanager
def prepared(directory: Path) -> Iterator[Place]:
    """A directory as a place; nothing may be left open."""
    before = set(os.listdir("/proc/self/fd"))
    place = LocalDirectory(directory)
    place.prepare()
    yield place
    assert set(os.listdir("/proc/self/fd")) == before, "a file was left open"


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
