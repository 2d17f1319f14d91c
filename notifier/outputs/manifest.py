"""`manifest.json`: what stands beside a prediction's files, for people and other programs. The store is what counts.

Times in it are ISO 8601 in UTC, to the second.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, TypeGuard

from notifier.model import File, FileState, JSONObject, Key
from notifier.outputs.names import MANIFEST, folder_of, is_file_name
from notifier.outputs.places import Place

MAX_SIZE = 32 * 2**20
"""Bytes; a thousand files with the longest of URLs need a third of it."""
_MAX_TEXT = 8192
_END_OF_TIME = 253_402_300_800.0
"""The year 10000, which cannot be written."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an output. `url` is without credentials, query and fragment (see `model.File.source`)."""

    number: int
    name: str | None
    """None as long as it is not known: it hangs on the content type."""
    url: str
    state: FileState
    size: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    etag: str | None = None
    """What a download is gone on from with."""
    saved_at: float | None = None
    """Unix seconds."""
    reason: str | None = None
    """Why it is lost, or not there yet."""


def entry_of(file: File, wall: float) -> Entry:
    """What a manifest says of a file that is over since `wall` (Unix seconds)."""
    return Entry(
        number=file.number,
        name=file.name,
        url=file.source,
        state=file.state,
        size=file.size,
        sha256=file.sha256,
        content_type=file.content_type,
        etag=file.validator,
        saved_at=wall if file.state is FileState.SAVED else None,
        reason=file.last_error,
    )


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a prediction's files, by their numbers. `written_at` is in Unix seconds."""

    key: Key
    written_at: float
    files: tuple[Entry, ...]

    def dumps(self) -> bytes:
        """As JSON, for people to read as well."""
        content = {
            "prediction": self.key.id,
            "api": self.key.api,
            "written_at": _moment(self.written_at),
            "files": [{**asdict(entry), "saved_at": _moment(entry.saved_at)} for entry in self.files],
        }
        return json.dumps(content, ensure_ascii=False, indent=2).encode("utf-8", "replace") + b"\n"


def loads(content: bytes, key: Key) -> Manifest | None:
    """The manifest of that prediction; None if it is damaged, or another's. Entries that are damaged are left out."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or [found.get("api"), found.get("prediction")] != list(key):
        return None
    written_at, files = _seconds(found.get("written_at")), found.get("files")
    if written_at is None or not isinstance(files, list):
        return None
    return Manifest(key, written_at, _by_number(entry for entry in map(_entry, files) if entry))


def merge(before: Manifest | None, entries: Iterable[Entry], key: Key, now: float) -> Manifest:
    """With those entries in place of what their numbers had; files that left the output stay as they were."""
    return Manifest(key, now, _by_number((*(before.files if before else ()), *entries)))


class Manifests:
    """The manifests in a place. Many threads may update the same one at once."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._updating = threading.Lock()

    def read(self, key: Key) -> Manifest | None:
        """The manifest of a prediction; None if there is none, or a damaged one. Raises PlaceError."""
        content = self._place.read(folder_of(key), MANIFEST, max_size=MAX_SIZE)
        return None if content is None else loads(content, key)

    def update(self, key: Key, entries: Iterable[Entry], now: float) -> Manifest:
        """Write what is new of a prediction's files beside what was written before. Raises PlaceError.

        Of a manifest that is damaged, only what can be read is kept.
        """
        with self._updating:
            manifest = merge(self.read(key), entries, key, now)
            self._place.put(folder_of(key), MANIFEST, manifest.dumps())
        return manifest


def _by_number(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Of each number the last one."""
    found = {entry.number: entry for entry in entries}
    return tuple(found[number] for number in sorted(found))


def _entry(value: Any) -> Entry | None:
    if not isinstance(value, dict):
        return None
    number, name, url, state = (value.get(name) for name in ("number", "name", "url", "state"))
    if not _is_count(number) or not isinstance(url, str) or not isinstance(state, str) or state not in [*FileState]:
        return None
    if name is not None and not (isinstance(name, str) and is_file_name(name)):
        return None
    size, sha256, saved_at = value.get("size"), value.get("sha256"), _seconds(value.get("saved_at"))
    if not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
        sha256 = None
    if not _is_count(size):
        size = None
    if state == FileState.SAVED and None in (name, size, sha256, saved_at):
        return None
    return Entry(
        number=number,
        name=name,
        url=url[:_MAX_TEXT],
        state=FileState(state),
        size=size,
        sha256=sha256,
        saved_at=saved_at,
        content_type=_text(value, "content_type"),
        etag=_text(value, "etag"),
        reason=_text(value, "reason"),
    )


def _text(value: JSONObject, name: str) -> str | None:
    text = value.get(name)
    return text[:_MAX_TEXT] if isinstance(text, str) else None


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _seconds(value: Any) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        seconds = moment.timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if moment.tzinfo is not None and 0 <= seconds < _END_OF_TIME else None
