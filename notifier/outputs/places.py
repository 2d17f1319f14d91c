"""What the stage needs of the place where files are kept: a directory, or an object store.

Nothing here asks for random access: a file is written from its beginning to its end, or gone on with at its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from notifier.outputs.names import Folder


class Kept(NamedTuple):
    """A whole file in a place."""

    size: int
    sha256: str
    """64 hexadecimal digits, in lower case."""


class Part(Protocol):
    """A file on its way into a place, for one thread at a time. As a context manager it closes itself.

    Whatever happens before `commit` has returned, nothing stands under the file's name that is not whole.
    """

    @property
    def size(self) -> int:
        """How many bytes of it are there."""

    def begin(self, name: str, *, offset: int = 0) -> None:
        """Say what the file will be called, and at which byte the next `write` goes on: at `size`, or at 0 to start
        anew. To be called before the first `write`, and again whenever the source begins again.

        Raises ValueError for any other offset, PlaceError.
        """

    def write(self, data: bytes) -> None:
        """Add bytes at the end. Raises PlaceFullError, PlaceError; `size` then tells how many of them are there."""

    def commit(self) -> Kept:
        """Give the file its name, once it is certain to outlive a power cut. To be called last.

        A file of that name with the same content is taken for this one: it was committed before, and that was not
        noted. Raises PlaceError if the name is another file's, which is left alone, and PlaceFullError.
        """

    def discard(self) -> None:
        """Throw away what is there. Raises PlaceError."""

    def close(self) -> None:
        """Let go of it; what is there can be gone on from, as far as the place keeps it. Never raises."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Place(Protocol):
    """Where files are kept, in a folder for each prediction. May be used by many threads at once.

    All its methods but `address` raise PlaceError when the place cannot be used, PlaceFullError when it has no room.
    Names are those of `names`: none leads out of its folder.
    """

    def prepare(self) -> None:
        """Make the place if it does not exist, and see whether it can be written to."""

    def examine(self) -> None:
        """Raise PlaceError where it is plain to see that it could not be used. Changes nothing, waits for nobody."""

    def part(self, folder: Folder, number: int) -> Part:
        """The unfinished file of that number: a new one, or as far as it got. Its caller is the only one to have it."""

    def find(self, folder: Folder, name: str) -> Kept | None:
        """What stands there under that name, read from its beginning to its end; None if there is no such file."""

    def size_of(self, folder: Folder, name: str) -> int | None:
        """How large it is; None if there is no such file."""

    def read(self, folder: Folder, name: str, *, max_size: int) -> bytes | None:
        """Its content; None if there is no such file, or if it is larger."""

    def put(self, folder: Folder, name: str, content: bytes) -> None:
        """Write a small file at once, over one of that name: whoever reads it finds the old one or the new one."""

    def delete(self, folder: Folder, name: str) -> None:
        """Delete a file, if it is there, and the folder with its last file."""

    def folders(self) -> Iterator[Folder]:
        """All predictions' folders, in any order."""

    def files(self, folder: Folder) -> list[str]:
        """The names in a folder, in order: files, unfinished ones, and whatever else was put there."""

    def free(self) -> int | None:
        """How many bytes may still be written; None where there is no end to it."""

    def address(self, folder: Folder, name: str) -> str:
        """Where people find it: a path, or a URL."""
