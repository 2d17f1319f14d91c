"""Seeing that the configuration's files were edited, and when an edit is ready to be acted on."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from notifier.config import files_of
from notifier.config.files import MAX_BYTES
from notifier.model import Config, Key

SHRINK_WAIT = 30.0
"""Seconds that an edit which removes more than half of the watches waits: it may be a half-saved file."""
MANY_WATCHES = 10
"""With fewer watches than this an edit may remove any number at once."""

NOT_LOOKED_AT = "not looked at"

Fingerprint = tuple[tuple[Path, str], ...]


def shrinks(before: Collection[Key], after: Collection[Key]) -> bool:
    """Whether an edit removes so much that it may be half a file."""
    kept = set(after)
    removed = sum(key not in kept for key in before)
    return len(before) >= MANY_WATCHES and removed * 2 > len(before)


@dataclass(frozen=True, slots=True)
class _Read:
    """A file's content as it was read, and how the file looked from outside."""

    outside: tuple[int, ...]
    digest: str
    again: bool = False
    """Read at two looks: what is written within one tick of the file system's clock does not show from outside."""


class ConfigurationWatch:
    """Compares the files' content with what was last acted on. For one thread; never waits, whatever the files are."""

    def __init__(self, config: Config, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._read: dict[Path, _Read] = {}
        self._config = config
        self._also: tuple[Path, ...] = ()
        """Files with mistakes that the last good configuration does not know."""
        self._acted_on = self._last_look = self._fingerprint()
        self._held_since: float | None = None

    def is_ready(self) -> bool:
        """Take a look: whether the content differs from what was acted on, and two looks in a row agree on it."""
        look = self._fingerprint()
        agrees, self._last_look = look == self._last_look, look
        if look == self._acted_on or not agrees:
            self._held_since = None
        return agrees and look != self._acted_on

    def may_shrink(self) -> bool:
        """Whether an edit that removes most of the watches has stood long enough; the first call starts the wait."""
        if self._held_since is None:
            self._held_since = self._monotonic()
        return self._monotonic() - self._held_since >= SHRINK_WAIT

    @property
    def is_holding(self) -> bool:
        """Whether such an edit waits."""
        return self._held_since is not None

    def acted(self, config: Config | None, mistaken: Iterable[Path] = ()) -> None:
        """The content of the last look was taken over (`config`), or refused for good (None) for mistakes in these."""
        if config is not None:
            self._config = config
        self._also = tuple(dict.fromkeys(mistaken))
        self._held_since = None
        # From before the files were read again, so that an edit made meanwhile is still seen as one. A file that is
        # new to the configuration was not looked at then: only two looks that agree on it show that it was whole.
        looked_at = dict(self._last_look)
        self._acted_on = tuple((path, looked_at.get(path, NOT_LOOKED_AT)) for path in self._files())

    def _files(self) -> list[Path]:
        return list(dict.fromkeys((*files_of(self._config), *self._also)))

    def _fingerprint(self) -> Fingerprint:
        files = self._files()
        self._read = {path: read for path, read in self._read.items() if path in files}
        return tuple((path, self._digest(path)) for path in files)

    def _digest(self, path: Path) -> str:
        """The content's digest, read again only when the file looks different from outside."""
        try:
            status = path.stat()
            outside = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
                return f"not to be read: {outside}"
            known = self._read.get(path)
            if known is None or known.outside != outside:
                self._read[path] = known = _Read(outside, hashlib.sha256(path.read_bytes()).hexdigest())
            elif not known.again:
                self._read[path] = known = _Read(outside, hashlib.sha256(path.read_bytes()).hexdigest(), again=True)
        except OSError as error:
            self._read.pop(path, None)
            return f"unreadable: {error.strerror}"
        return known.digest
