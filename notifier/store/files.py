"""The files of a store, whatever is in them: what a daemon holds locked, what it must notice, what the system says."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from notifier.errors import AlreadyRunningError, StoreError

_PATIENCE = 0.3
"""Seconds to try for the lock: `is_running` of another process may hold it for an instant."""

_WAYS_OUT = {
    errno.ENOSPC: "free some space on the disk",
    errno.EDQUOT: "free some space, or raise the quota",
    errno.EROFS: "mount it writable, or give `store` another path",
    errno.EACCES: "check its owner and mode, and those of its folder",
    errno.EPERM: "check its owner and mode, and those of its folder",
    **dict.fromkeys(
        (errno.EEXIST, errno.EISDIR, errno.ENOTDIR), "move away what is in its place, or give `store` another path"
    ),
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise what the operating system says about the files as a StoreError."""
    try:
        yield
    except OSError as error:
        way_out = _WAYS_OUT.get(error.errno or 0)
        raise StoreError(
            f"the store {path} cannot be used: {error.filename or path}: {error.strerror or error}"
            f"{f'; {way_out}' if way_out else ''}"
        ) from error


def beside(path: Path, suffix: str) -> Path:
    """One of the files that stand beside a database."""
    return path.with_name(path.name + suffix)


def sync_folder(path: Path) -> None:
    """Have the names of the files outlive a power cut, too."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# --- the lock --------------------------------------------------------------------------------------------------------


class Lock:
    """The lock of one daemon, from construction to `release`; the kernel frees it when the process ends in any way.

    Raises AlreadyRunningError when another process (or another Lock) has it.
    """

    def __init__(self, path: Path) -> None:
        self.path = beside(path, ".lock")
        with explained(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(path)
        except BaseException:  # whatever it was, the file must not stay open
            self.release()
            raise
        # Only for the person who looks: a full disk must not matter here.
        with suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def _take(self, path: Path) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not try_lock(self._file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                holder = os.pread(self._file, 20, 0).decode("ascii", "replace").strip()
                raise AlreadyRunningError(
                    f"another notifier{f' (process {holder})' if holder else ''} holds the store {path}; "
                    "stop it first, or give this one another `store`"
                )
            time.sleep(0.02)

    def release(self) -> None:
        """Let others have it. Does nothing the second time."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def try_lock(file: int, kind: int) -> bool:
    """Take a lock (fcntl.LOCK_EX or LOCK_SH) on an open file, until it is closed; whether that went well at once."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# --- the files under a running daemon --------------------------------------------------------------------------------


class Identity:
    """Which files a store is, to notice when they are replaced, renamed or removed under a running daemon.

    SQLite itself notices nothing: it goes on writing into a file that no longer has a name.
    """

    def __init__(self, path: Path) -> None:
        self._files = {file: _number(file) for file in (path, beside(path, "-wal"), beside(path, ".lock"))}

    def check(self) -> None:
        """Raise StoreError when one of the files is not the one it was."""
        for file, number in self._files.items():
            found = _number(file)
            if found != number:
                happened = "is gone" if found is None else "was replaced"
                raise StoreError(
                    f"the store's {file} {happened} while notifier was running. Put the right one back and start "
                    "notifier again"
                )


def _number(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"the store's {file} cannot be reached any more: {error.strerror}") from error
    return found.st_dev, found.st_ino
