"""A local directory as the place where files are kept.

Every file and folder below it is reached by its folder's descriptor, and never through a symbolic link: whatever is
planted there, nothing is written elsewhere. The directory itself may be a link, which is its owner's business. An
unfinished file is in the same folder as the file it becomes, so they are always on one file system.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from notifier.outputs import files
from notifier.outputs.names import Folder, is_api_folder, is_folder, part_name
from notifier.outputs.part import LocalPart, kept
from notifier.outputs.places import Kept

_PROBE = ".writable.part"
_TRIES = 20


class LocalDirectory:
    """A Place in a local directory: files are 0600, the folders it makes 0700. Holds nothing open between calls."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()

    def prepare(self) -> None:
        """See `Place`. The folder above the directory must exist: a disk that is not mounted is not made up for."""
        with files.explained(self._directory):
            root = self._root(make=True)
            try:
                os.close(files.take(root, _PROBE, wait=True))
                files.remove(root, _PROBE)
            finally:
                os.close(root)

    def examine(self) -> None:
        """See `Place`."""
        directory = self._directory
        with files.explained(directory):
            if directory.is_dir() or not os.path.lexists(directory):
                writable = directory if directory.is_dir() else directory.parent
                os.close(os.open(writable, files.FOLDER))
                if not os.access(writable, os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            else:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def part(self, folder: Folder, number: int) -> LocalPart:
        """See `Place`."""
        path = self._path(folder, part_name(number))
        with files.explained(path):
            at, file = self._taken(folder, path.name)
            part = LocalPart(path, at, file, lambda: self._tidy(folder))
            try:
                part.read_on()
            except BaseException:  # whatever it was, the files must not stay open
                part.close()
                raise
        return part

    def find(self, folder: Folder, name: str) -> Kept | None:
        """See `Place`."""
        files.check_name(name)
        with self._inside(folder, name) as at:
            return None if at is None else kept(at, name)

    def size_of(self, folder: Folder, name: str) -> int | None:
        """See `Place`."""
        with self._inside(folder, name) as at, files.opened(at, name) as file:
            return None if file is None else os.fstat(file).st_size

    def read(self, folder: Folder, name: str, *, max_size: int) -> bytes | None:
        """See `Place`."""
        with self._inside(folder, name) as at, files.opened(at, name) as file:
            if file is None or os.fstat(file).st_size > max_size:
                return None
            return b"".join(files.portions(file))

    def put(self, folder: Folder, name: str, content: bytes) -> None:
        """See `Place`."""
        files.check_name(name)
        path = self._path(folder, name)
        temporary = f"{name}.part"
        with files.explained(path):
            at, file = self._taken(folder, temporary, wait=True)
            try:
                os.ftruncate(file, 0)
                files.write(file, content)
                os.fsync(file)
                os.rename(temporary, name, src_dir_fd=at, dst_dir_fd=at)
                files.sync_folder(at)
            except BaseException:  # whatever it was, half a file is of no use
                files.remove(at, temporary)
                raise
            finally:
                os.close(file)
                os.close(at)

    def delete(self, folder: Folder, name: str) -> None:
        """See `Place`."""
        files.check_name(name)
        with self._inside(folder, name) as at:
            if at is not None:
                files.remove(at, name)
                files.sync_folder(at)
        self._tidy(folder)

    def folders(self) -> Iterator[Folder]:
        """See `Place`."""
        with files.explained(self._directory):
            # Others are not even looked into: `lost+found` is closed to us.
            for api in filter(is_api_folder, _folders_in(self._directory)):
                folders = (Folder(api, prediction) for prediction in _folders_in(self._directory / api))
                yield from filter(is_folder, folders)

    def files(self, folder: Folder) -> list[str]:
        """See `Place`."""
        with self._inside(folder) as at:
            return [] if at is None else sorted(os.listdir(at))

    def free(self) -> int:
        """See `Place`."""
        with files.explained(self._directory):
            found = os.statvfs(self._directory)
        return found.f_bavail * found.f_frsize

    def address(self, folder: Folder, name: str) -> str:
        """The file's path."""
        return str(self._path(folder, name))

    def _path(self, folder: Folder, name: str = "") -> Path:
        return self._directory / folder.api / folder.id / name

    def _root(self, *, make: bool) -> int:
        if make and not self._directory.is_dir():
            self._directory.mkdir(0o700, exist_ok=True)
            above = os.open(self._directory.parent, files.FOLDER)
            try:
                files.sync_folder(above)
            finally:
                os.close(above)
        return os.open(self._directory, files.FOLDER)

    def _enter(self, folder: Folder, *, make: bool) -> int:
        """Open a prediction's folder. Raises FileNotFoundError if it is not there and not to be made."""
        at = self._root(make=make)
        for name in folder:
            above = at
            try:
                at = files.enter(above, name, make=make)
            finally:
                os.close(above)
        return at

    def _taken(self, folder: Folder, name: str, *, wait: bool = False) -> tuple[int, int]:
        """The descriptors of a prediction's folder and of a file in it."""
        for _ in range(_TRIES):
            # Another thread may delete the folder with its last file, between the one step and the other.
            with suppress(FileNotFoundError):
                return self._take(folder, name, wait=wait)
        return self._take(folder, name, wait=wait)

    def _take(self, folder: Folder, name: str, *, wait: bool) -> tuple[int, int]:
        at = self._enter(folder, make=True)
        try:
            return at, files.take(at, name, wait=wait)
        except BaseException:  # whatever it was, the folder must not stay open
            os.close(at)
            raise

    @contextmanager
    def _inside(self, folder: Folder, name: str = "") -> Iterator[int | None]:
        """A prediction's folder, None if it does not exist."""
        with files.explained(self._path(folder, name)):
            try:
                at = self._enter(folder, make=False)
            except FileNotFoundError:
                yield None
                return
            try:
                yield at
            finally:
                os.close(at)

    def _tidy(self, folder: Folder) -> None:
        """Remove a prediction's folder that is empty, and its account's."""
        with suppress(OSError):
            root = os.open(self._directory, files.FOLDER)
            try:
                at = files.enter(root, folder.api, make=False)
                try:
                    os.rmdir(folder.id, dir_fd=at)
                finally:
                    os.close(at)
                os.rmdir(folder.api, dir_fd=root)
            finally:
                os.close(root)


def _folders_in(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
