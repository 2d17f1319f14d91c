"""One attempt at one file: from its URL, or out of it, into the place."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit

from notifier.errors import DataUriError, PlaceError, PlaceFullError
from notifier.model import File, FileState, Outputs
from notifier.outputs.content_types import likely_type, media_type
from notifier.outputs.data_uri import decode
from notifier.outputs.manifest import Manifests
from notifier.outputs.names import Folder, file_name, folder_of, is_file_name
from notifier.outputs.needs import Downloads, TokenFor
from notifier.outputs.places import Kept, Part, Place
from notifier.outputs.retries import Failure, failure_of
from notifier.transport import Answer, Guard, Head, Limits, TransportError, file_request

LONGEST = 3600.0
"""Seconds that one attempt may take; the next goes on where it has ended, where the host can."""
WORTH_NOTING = 2**20
"""Bytes from which on it is noted how a file can be gone on with, before it is whole."""
_LOOK_EVERY = 16 * 2**20
"""Bytes between two looks at how much room there is."""
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_SIZE = re.compile(r"bytes +\*/([0-9]{1,18})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Means:
    """What attempts are made with. Replaced as a whole when the configuration changes."""

    outputs: Outputs
    place: Place
    manifests: Manifests
    token_for: TokenFor

    @property
    def guard(self) -> Guard:
        """Where files may come from."""
        return Guard(self.outputs.hosts, self.outputs.allow_private)

    def lack_of_room(self, needed: int = 0) -> str | None:
        """Why so many more bytes may not be written, in words; None if they may. Raises PlaceError."""
        free = self.place.free()
        if free is None or free - needed >= self.outputs.min_free:
            return None
        file = f", of which the file needs {_mib(needed)}" if needed else ""
        return f"the disk has {_mib(free)} left{file}; `outputs.min_free` is {_mib(self.outputs.min_free)}"


def attempt(
    file: File, means: Means, downloads: Downloads, begun: Callable[[File], None] = lambda _: None
) -> tuple[File, Failure | None]:
    """Fetch a file and keep it. Returns the file as it is kept, save for the time; or, with why that failed, as it is
    known now.

    A file of its number that is there already is it: nothing has its name that is not whole. `begun` is called in the
    transport's thread, and must be quick, once it is known how a large file can be gone on with.
    """
    try:
        folder = folder_of(file.key)
        found = _found(means.place, folder, file.number)
        if found is not None:
            name, whole = found
            # What its host said of it was not recorded any more.
            known = replace(file, content_type=file.content_type or likely_type(name))
            return _saved(known, means.place, folder, name, whole), None
        url = file.url
        if url is None:
            return file, Failure("where it was is not known any more", final=True)
        if reason := means.lack_of_room():
            return file, Failure(reason, of_place=True)
        is_inline = url[:5].lower() == "data:"
        with means.place.part(folder, file.number) as part:
            if is_inline:
                file, name = _decoded(file, url, part, means.outputs.max_size)
            else:
                sink = _FileSink(file, part, means, begun)
                failure = _download(url, sink, means, downloads)
                file, name = sink.file, sink.name
                if failure is not None:
                    return file, failure
            if part.size == 0:
                return file, Failure("it is empty", final=is_inline)
            return _saved(file, means.place, folder, name, part.commit()), None
    except DataUriError as error:
        return file, Failure(error.reason, final=True)
    except PlaceError as error:
        return file, Failure(str(error), of_place=True)


def discard(file: File, place: Place) -> None:
    """Throw away what came of a file that is lost. Raises PlaceError."""
    with place.part(folder_of(file.key), file.number) as part:
        part.discard()


def _found(place: Place, folder: Folder, number: int) -> tuple[str, Kept] | None:
    for name in place.files(folder):
        if name.startswith(f"{number:03d}-") and is_file_name(name) and (kept := place.find(folder, name)):
            return name, kept
    return None


def _saved(file: File, place: Place, folder: Folder, name: str, kept: Kept) -> File:
    return replace(
        file,
        state=FileState.SAVED,
        url=None,
        name=name,
        place=place.address(folder, name),
        size=kept.size,
        sha256=kept.sha256,
        last_error=None,
    )


def _decoded(file: File, url: str, part: Part, max_size: int) -> tuple[File, str]:
    inline = decode(url, max_size=max_size)
    name = file_name(file.number, url, inline.content_type)
    part.begin(name)
    part.write(inline.content)
    return replace(file, content_type=inline.content_type), name


def _download(url: str, sink: _FileSink, means: Means, downloads: Downloads) -> Failure | None:
    """Let the sink have the file; why that failed, if it did."""
    size, url = sink.size, _in_ascii(url)
    answer = _fetch(url, sink, size, means, downloads)
    if size and not isinstance(answer, TransportError) and answer.status_code == 416:
        # There is no rest of it: either nothing of the file is missing, or this is not it.
        if _is_size(answer.headers.get("Content-Range", ""), size):
            sink.go_on()
            return None
        answer = _fetch(url, sink, 0, means, downloads)
    if sink.failure is None and not isinstance(answer, TransportError) and answer.ok:
        return None
    return sink.failure or failure_of(answer, time.time())


def _fetch(url: str, sink: _FileSink, size: int, means: Means, downloads: Downloads) -> Answer:
    validator = sink.file.validator if size else None
    request = file_request(url, token=means.token_for(sink.file.key, url), offset=size, validator=validator)
    limits = Limits(means.outputs.max_size, timeout=LONGEST)
    return downloads.fetch(request, sink=sink, guard=means.guard, limits=limits)


def _in_ascii(url: str) -> str:
    """The URL with what is not in ASCII as percent-encoded UTF-8 (RFC 3987, 3.1), and all else as it is: what is signed
    must not be written in another way.
    """
    return _NOT_ASCII.sub(lambda found: quote(found[0], errors="replace"), url)


def _is_size(content_range: str, size: int) -> bool:
    found = _SIZE.fullmatch(content_range.strip())
    return found is not None and int(found[1]) == size


class _FileSink:
    """Takes a download into a part. `failure` is why it would not, where it would not."""

    def __init__(self, file: File, part: Part, means: Means, begun: Callable[[File], None]) -> None:
        self.file = file
        """With what the last answer said of it."""
        self.name = ""
        self.failure: Failure | None = None
        self._part, self._means, self._begun = part, means, begun
        self._looked_at = 0

    @property
    def size(self) -> int:
        """Bytes that are there and can be gone on from."""
        return self._part.size if self.file.validator is not None else 0

    def go_on(self) -> None:
        """Take what is there for the whole file. Raises PlaceError."""
        self.name = file_name(self.file.number, self.file.url or "", self.file.content_type)
        self._part.begin(self.name, offset=self._part.size)

    def begin(self, head: Head) -> str | None:
        """See `Sink`."""
        url = self.file.url or ""
        content_type = self.file.content_type if head.offset else head.headers.get("Content-Type")
        if media_type(content_type or "") == "text/html" and not _is_html(url):
            return self._refuse(Failure("HTML came instead of the file"))
        try:
            if reason := self._means.lack_of_room(0 if head.total is None else head.total - head.offset):
                return self._refuse(Failure(reason, of_place=True))
            self.name = file_name(self.file.number, url, content_type)
            self._part.begin(self.name, offset=head.offset)
        except PlaceError as error:
            return self._refuse(Failure(str(error), of_place=True))
        self.file = replace(self.file, content_type=content_type, validator=head.validator)
        if head.validator is not None and (head.total is None or head.total >= WORTH_NOTING):
            self._begun(self.file)
        return None

    def write(self, data: bytes) -> None:
        """See `Sink`."""
        try:
            self._part.write(data)
            if self._part.size - self._looked_at >= _LOOK_EVERY:
                self._looked_at = self._part.size
                if reason := self._means.lack_of_room():
                    raise PlaceFullError(reason)
        except PlaceError as error:
            raise OSError(self._refuse(Failure(str(error), of_place=True))) from error

    def _refuse(self, failure: Failure) -> str:
        self.failure = failure
        return failure.reason


def _is_html(url: str) -> bool:
    return urlsplit(url).path.lower().endswith((".html", ".htm", ".xhtml"))


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
