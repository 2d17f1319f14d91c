"""Files and folders by their folder's descriptor, never through a symbolic link; what the system says, in words."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from notifier.errors import PlaceError, PlaceFullError

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_UNFOLLOWED = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""A pipe that was planted must not make its opener wait."""
_PORTION = 2**20
_TRIES = 20

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_WAYS_OUT = {
    errno.ENOSPC: "free some space on the disk",
    errno.EDQUOT: "free some space, or raise the quota",
    errno.EROFS: "mount it writable, or give `outputs.directory` another path",
    errno.EACCES: "check its owner and mode",
    errno.EPERM: "check its owner and mode",
    errno.EFBIG: "give `outputs.directory` a file system that takes files of that size",
    errno.ENOENT: "make the folder above it, or give `outputs.directory` another path",
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP), "move away what is in its place"),
}


class HeldError(Exception):
    """Another process is writing the file."""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise what the operating system says of `path` as a PlaceError or PlaceFullError, with the way out."""
    try:
        yield
    except OSError as error:
        way_out = _WAYS_OUT.get(error.errno or 0)
        kind = PlaceFullError if error.errno in _FULL else PlaceError
        raise kind(
            f"outputs cannot be kept: {path}: {error.strerror or error}{f'; {way_out}' if way_out else ''}"
        ) from error
    except HeldError as error:
        raise PlaceError(
            f"outputs cannot be kept: {path}: another process is writing it; let that end first"
        ) from error


# --- folders -----------------------------------------------------------------------------------------------------


def enter(parent: int, name: str, *, make: bool) -> int:
    """Open a folder in a folder, made (0700) if need be. Raises FileNotFoundError if it is not there."""
    check_name(name)
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
            sync_folder(parent)
    return os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=parent)


def sync_folder(folder: int) -> None:
    """Have the names in it outlive a power cut."""
    try:
        os.fsync(folder)
    except OSError as error:
        # Network file systems do not all know this of folders; those that do not write names at once.
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise


def check_name(name: str) -> None:
    """Raise ValueError for a name that leads elsewhere: whoever made it made a mistake."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"not the name of a file or folder: {name!r}")


# --- files -------------------------------------------------------------------------------------------------------


@contextmanager
def opened(folder: int | None, name: str) -> Iterator[int | None]:
    """A file, for reading; None if there is none of that name, something that is no file, or no folder."""
    check_name(name)
    file = None if folder is None else _open(folder, name, os.O_RDONLY)
    try:
        yield file
    finally:
        if file is not None:
            os.close(file)


def is_there(folder: int, name: str) -> bool:
    """Whether anything has that name."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def take(folder: int, name: str, *, wait: bool = False) -> int:
    """Open a file for reading and for adding to its end, and hold it until it is closed; make it (0600) if need be.

    Of what is there, that is kept which has no other name and is certain to be as it was written; anything else goes.
    Raises HeldError if another holds it, or, with `wait`, waits for that.
    """
    check_name(name)
    for _ in range(_TRIES):
        file = _open(folder, name, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        if file is None:
            remove(folder, name)
            continue
        try:
            if _is_held(file, folder, name, wait=wait):
                return file
        except BaseException:  # whatever it was, the file must not stay open
            os.close(file)
            raise
        os.close(file)
    raise HeldError


def _open(folder: int, name: str, flags: int) -> int | None:
    """None for nothing, and for what is no file, but a link, a folder, a socket or a pipe."""
    try:
        file = os.open(name, flags | _UNFOLLOWED, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO) or (error.errno == errno.ENOENT and not flags & os.O_CREAT):
            return None
        raise
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    return None


def _is_held(file: int, folder: int, name: str, *, wait: bool) -> bool:
    """Hold it; False if it has lost its name meanwhile, or was to lose it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise HeldError from None
    found = os.fstat(file)
    try:
        named = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not os.path.samestat(found, named):
        return False
    if found.st_nlink == 1 and (found.st_size == 0 or _is_of_this_boot(found.st_mtime)):
        return True
    remove(folder, name)
    return False


def _is_of_this_boot(written_at: float) -> bool:
    """Whether all that was written is there: a power cut leaves a file's size, and zeros for what was on its way."""
    now = time.time()
    return now - time.clock_gettime(time.CLOCK_BOOTTIME) < written_at <= now


def remove(folder: int, name: str) -> None:
    """Delete a file or a link, if it is there."""
    check_name(name)
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def write(file: int, data: bytes, written: Callable[[memoryview], None] = lambda _: None) -> None:
    """Write all of it; `written` is told of each portion as it is done, for the disk may be full after some."""
    view = memoryview(data)
    while view:
        count = os.write(file, view)
        written(view[:count])
        view = view[count:]


def portions(file: int) -> Iterator[bytes]:
    """What is in an open file, from its beginning."""
    offset = 0
    while portion := os.pread(file, _PORTION, offset):
        yield portion
        offset += len(portion)
