"""Files found and read, within limits."""

from __future__ import annotations

import glob
import hashlib
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

    @property
    def digest(self) -> str:
        """The same for the same content."""
        return f"longer than {MAX_BYTES} bytes" if self.data is None else hashlib.sha256(self.data).hexdigest()


def read(path: Path) -> Content:
    """A file's content; raises UnreadableError for a folder, a pipe and the like, or what is not there. Never waits."""
    look(path)  # before it is opened, which does something to some devices
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = _checked(os.fstat(file.fileno()))
            # It may be growing, so the limit is kept while reading too.
            data = file.read(MAX_BYTES + 1) if status.st_size <= MAX_BYTES else None
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from None
    exposed = bool(status.st_mode & stat.S_IROTH)
    return Content(data if data is not None and len(data) <= MAX_BYTES else None, exposed)


def look(path: Path) -> tuple[int, ...]:
    """How a file looks from outside: other than before when it was written since. Raises UnreadableError as `read`."""
    try:
        status = _checked(path.stat())
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from None
    except ValueError:  # a NUL, or half a character
        raise UnreadableError("cannot be a file's name") from None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _checked(status: os.stat_result) -> os.stat_result:
    if stat.S_ISDIR(status.st_mode):
        raise UnreadableError("cannot be read: it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableError("cannot be read: it is not a file")
    return status


def _open_at_once(path: str, flags: int) -> int:
    """A pipe may have taken the file's place since it was looked at, and would be waited for until somebody writes."""
    return os.open(path, flags | os.O_NONBLOCK)


def matching(folder: Path, pattern: str) -> list[Path]:
    """The files that a pattern, relative to `folder`, matches now, in the order of their names.

    `*`, `?` and `[...]` as in a shell, `**` for folders at any depth; names that begin with a dot must be written so.
    """
    try:
        return [folder / name for name in sorted(glob.glob(pattern, root_dir=folder, recursive=True))]
    except ValueError:  # a NUL, which no file's name has
        return []


def check_can_be_searched(folder: Path, pattern: str) -> None:
    """Raises UnreadableError where the folder that a pattern searches is there and may not be read: `matching` finds
    nothing there, as if it were empty.
    """
    parts = Path(pattern).parts[:-1]
    fixed = next((number for number, part in enumerate(parts) if is_pattern(part)), len(parts))
    searched = folder.joinpath(*parts[:fixed])
    try:
        with os.scandir(searched):
            pass
    except PermissionError as error:
        raise UnreadableError(f"is in a folder that cannot be read: {searched}: {error.strerror}") from None
    except (OSError, ValueError):  # it is not there, which is no mistake
        return


def is_pattern(pattern: str) -> bool:
    """Whether it can match other names than itself."""
    return any(character in pattern for character in "*?[")
