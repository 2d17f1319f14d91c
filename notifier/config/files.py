"""Files found and read, within limits."""

from __future__ import annotations

import glob
import os
import stat
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 32 * 2**20
"""No file of the configuration may be longer."""


class UnreadableError(Exception):
    """Why a file's content cannot be had; fit to follow its name."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds; None where that is more than MAX_BYTES. `exposed`: everyone on this machine can read it."""

    data: bytes | None
    exposed: bool


def read(path: Path) -> Content:
    """A file's content; raises UnreadableError."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            # A pipe has no size to ask for, so the limit is kept while reading too.
            data = file.read(MAX_BYTES + 1) if status.st_size <= MAX_BYTES else None
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from None
    exposed = stat.S_ISREG(status.st_mode) and bool(status.st_mode & stat.S_IROTH)
    return Content(data if data is not None and len(data) <= MAX_BYTES else None, exposed)


def check_is_file(path: Path, way_out: str = "") -> None:
    """Raises UnreadableError for a folder, with the way out, a pipe and the like, or what is not there. Never waits."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        raise UnreadableError(f"cannot be read: it is a folder{way_out}")
    if not stat.S_ISREG(mode):
        raise UnreadableError("cannot be read: it is not a file")


def matching(folder: Path, pattern: str) -> list[Path]:
    """The files that a pattern, relative to `folder`, matches now, in the order of their names.

    `*`, `?` and `[...]` as in a shell, `**` for folders at any depth; names that begin with a dot must be written so.
    """
    try:
        return [folder / name for name in sorted(glob.glob(pattern, root_dir=folder, recursive=True))]
    except ValueError:  # a NUL, which no file's name has
        return []


def is_pattern(pattern: str) -> bool:
    """Whether it can match other names than itself."""
    return any(character in pattern for character in "*?[")
