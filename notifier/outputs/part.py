"""A file on its way into a local directory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from notifier.errors import PlaceError
from notifier.outputs import files
from notifier.outputs.places import Kept


class LocalPart:
    """A Part in a local directory. Another process that wants the same one is refused while this one is open.

    What is there is gone on from after a restart of the daemon, but not of the machine: nobody knows then what of it
    had reached the disk.
    """

    def __init__(self, path: Path, folder: int, file: int, tidy: Callable[[], None]) -> None:
        self._path = path
        self._folder = folder
        self._file = file
        self._tidy = tidy
        self._name: str | None = None
        self._start()

    def _start(self) -> None:
        self._size = 0
        self._hash = hashlib.sha256()

    def read_on(self) -> None:
        """Take in what is there already."""
        for portion in files.portions(self._file):
            self._count(portion)

    @property
    def size(self) -> int:
        """How many bytes of it are there."""
        return self._size

    def so_far(self) -> Kept:
        """What is there, as the file that it would be."""
        return Kept(self._size, self._hash.hexdigest())

    def portions(self) -> Iterator[bytes]:
        """What is there, read from its beginning, a little at a time. Raises PlaceError."""
        with files.explained(self._path):
            yield from files.portions(self._file)

    def begin(self, name: str, *, offset: int = 0) -> None:
        """See `Part`."""
        files.check_name(name)
        if offset not in (0, self._size):
            raise ValueError(f"{self._size} bytes are there, so that it cannot go on at {offset}")
        if offset == 0:
            with files.explained(self._path):
                os.ftruncate(self._file, 0)
            self._start()
        self._name = name

    def write(self, data: bytes) -> None:
        """See `Part`."""
        if self._name is None:
            raise ValueError("the file has not begun")
        with files.explained(self._path):
            files.write(self._file, data, self._count)

    def _count(self, data: bytes | memoryview) -> None:
        self._hash.update(data)
        self._size += len(data)

    def commit(self) -> Kept:
        """See `Part`."""
        if self._name is None:
            raise ValueError("the file has not begun")
        target = self._path.with_name(self._name)
        whole = self.so_far()
        with files.explained(target):
            try:
                os.fsync(self._file)
            except OSError:
                # The system tells of a failed write once; the next fsync would say that all is well.
                files.remove(self._folder, self._path.name)
                raise
            # Nothing comes between this look and the renaming: the folder is ours alone, the number this part's.
            if not files.is_there(self._folder, self._name):
                os.rename(self._path.name, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            elif kept(self._folder, self._name) == whole:
                files.remove(self._folder, self._path.name)
            else:
                raise PlaceError(f"outputs cannot be kept: {target}: another file is in its place; move that away")
            files.sync_folder(self._folder)
        self._let_go()
        return whole

    def discard(self) -> None:
        """See `Part`."""
        try:
            with files.explained(self._path):
                files.remove(self._folder, self._path.name)
        finally:
            self._let_go()
        self._tidy()

    def close(self) -> None:
        """See `Part`. What holds nothing does not stay."""
        if self._file >= 0 and self._size == 0:
            with suppress(PlaceError):
                self.discard()
        self._let_go()

    def _let_go(self) -> None:
        for descriptor in (self._file, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._folder = -1
        self._name = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def kept(folder: int, name: str) -> Kept | None:
    """What stands under that name in an open folder, read from its beginning to its end; None if that is no file."""
    with files.opened(folder, name) as file:
        if file is None:
            return None
        size, content = 0, hashlib.sha256()
        for portion in files.portions(file):
            size += len(portion)
            content.update(portion)
        return Kept(size, content.hexdigest())
