"""An object store as the place where files are kept. What is unfinished is spooled on this machine's disk."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from notifier.errors import PlaceError
from notifier.outputs import files
from notifier.outputs.directory import LocalDirectory
from notifier.outputs.names import Folder, is_api_folder, is_folder
from notifier.outputs.objects import Bucket, Found, Limits
from notifier.outputs.part import LocalPart
from notifier.outputs.places import Kept

_PROBE = ".writable"
_MISSING = ".missing"
_UNFINISHED = re.compile(r"[0-9]{3,}\.part")


class RemotePlace:
    """A Place in an object store, as `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.

    Unfinished files are in the directory `spool`, where `free` looks too: that disk is what can be filled. What
    obstore is told is taken from `environ` (see `providers`); what is not there, it may take from the process's own.
    """

    def __init__(
        self, directory: str, *, spool: Path, environ: Mapping[str, str], limits: Limits | None = None
    ) -> None:
        self._spool = LocalDirectory(spool)
        self._above_spool = spool.parent
        self._bucket = Bucket(directory, environ, limits or Limits())
        self._prefix = directory.partition("://")[2].partition("/")[2].strip("/")

    def prepare(self) -> None:
        """See `Place`. A bucket is not made: whose it is and where is for its owner to say."""
        with files.explained(self._above_spool):
            self._above_spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._spool.prepare()
        probe = self._key(_PROBE)
        self._bucket.put(probe, b"")
        self._bucket.delete(probe)
        # S3 says that something is missing only to those who may list; to others, it is forbidden.
        self._bucket.look(self._key(_MISSING))

    def examine(self) -> None:
        """See `Place`: whether obstore is there."""
        self._bucket.examine()

    def part(self, folder: Folder, number: int) -> RemotePart:
        """See `Place`."""
        return RemotePart(self, folder, self._spool.part(folder, number))

    def find(self, folder: Folder, name: str) -> Kept | None:
        """See `Place`. Of a file that was uploaded from here, nothing is read: its size is what the store says, and its
        digest was noted as the file's metadata when it was uploaded, which go when another takes its place. A file
        without that note is read from its beginning to its end.
        """
        if _is_unfinished(name):
            return self._spool.find(folder, name)
        key = self._file(folder, name)
        found = self._bucket.look(key)
        return None if found is None else self._kept(key, found)

    def size_of(self, folder: Folder, name: str) -> int | None:
        """See `Place`."""
        if _is_unfinished(name):
            return self._spool.size_of(folder, name)
        found = self._bucket.look(self._file(folder, name))
        return None if found is None else found.size

    def read(self, folder: Folder, name: str, *, max_size: int) -> bytes | None:
        """See `Place`."""
        if _is_unfinished(name):
            return self._spool.read(folder, name, max_size=max_size)
        return self._bucket.read(self._file(folder, name), max_size)

    def put(self, folder: Folder, name: str, content: bytes) -> None:
        """See `Place`."""
        self._bucket.put(self._file(folder, name), content)

    def delete(self, folder: Folder, name: str) -> None:
        """See `Place`. There are no folders in an object store, which could stay."""
        if _is_unfinished(name):
            self._spool.delete(folder, name)
        else:
            self._bucket.delete(self._file(folder, name))

    def folders(self) -> Iterator[Folder]:
        """See `Place`."""
        spooled = set(self._spool.folders())
        yield from spooled
        for api in filter(is_api_folder, self._bucket.listed(self._prefix).folders):
            folders = (Folder(api, prediction) for prediction in self._bucket.listed(self._key(api)).folders)
            yield from (folder for folder in folders if is_folder(folder) and folder not in spooled)

    def files(self, folder: Folder) -> list[str]:
        """See `Place`."""
        return sorted({*self._spool.files(folder), *self._bucket.listed(self._key(*folder)).files})

    def free(self) -> int:
        """How many bytes the spool's disk takes: the store has no end, or does not tell."""
        return self._spool.free()

    def address(self, folder: Folder, name: str) -> str:
        """The file's URL, as the store's own tools have it."""
        return self._bucket.address(self._file(folder, name))

    def keep(self, folder: Folder, name: str, part: LocalPart) -> Kept:
        """Upload a part that is whole, unless it is there. Raises PlaceError if the name is another file's."""
        key = self._file(folder, name)
        whole = part.so_far()
        if found := self._bucket.look(key):
            if found.size != whole.size or self._kept(key, found) != whole:
                raise PlaceError(
                    f"outputs cannot be kept: {self._bucket.address(key)}: another file is in its place; move that away"
                )
            return whole
        self._bucket.upload(key, part.portions(), whole.size, whole.sha256)
        found = self._bucket.look(key)
        if found is None or found.size != whole.size:
            self._bucket.delete(key)  # else it would be in the way of the next attempt
            there = "nothing" if found is None else f"{found.size} bytes"
            raise PlaceError(
                f"outputs cannot be kept: {self._bucket.address(key)}: {there} of {whole.size} bytes came to be there; "
                "the store may have a limit, or a fault"
            )
        return whole

    def _kept(self, key: str, found: Found) -> Kept:
        if found.sha256 is not None:
            return Kept(found.size, found.sha256)
        content = hashlib.sha256()
        for portion in self._bucket.portions(key, found):
            content.update(portion)
        return Kept(found.size, content.hexdigest())

    def _file(self, folder: Folder, name: str) -> str:
        files.check_name(name)
        return self._key(*folder, name)

    def _key(self, *names: str) -> str:
        return "/".join(filter(None, (self._prefix, *names)))


class RemotePart:
    """A Part that is spooled in a local directory, and uploaded when it is whole.

    What is there is gone on from as a LocalPart is. An upload that fails begins anew with the next `commit`, in
    another try: the part is still whole.
    """

    def __init__(self, place: RemotePlace, folder: Folder, spooled: LocalPart) -> None:
        self._place = place
        self._folder = folder
        self._spooled = spooled
        self._name: str | None = None

    @property
    def size(self) -> int:
        """How many bytes of it are there."""
        return self._spooled.size

    def begin(self, name: str, *, offset: int = 0) -> None:
        """See `Part`."""
        self._spooled.begin(name, offset=offset)
        self._name = name

    def write(self, data: bytes) -> None:
        """See `Part`."""
        self._spooled.write(data)

    def commit(self) -> Kept:
        """See `Part`. How long it takes hangs on the line; as long as some of it is sent, there is no end to it."""
        if self._name is None:
            raise ValueError("the file has not begun")
        whole = self._place.keep(self._folder, self._name, self._spooled)
        self._name = None
        self._spooled.discard()
        return whole

    def discard(self) -> None:
        """See `Part`."""
        self._name = None
        self._spooled.discard()

    def close(self) -> None:
        """See `Part`. What holds nothing does not stay."""
        self._name = None
        self._spooled.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _is_unfinished(name: str) -> bool:
    """Whether `names.part_name` may have made it."""
    return _UNFINISHED.fullmatch(name) is not None
