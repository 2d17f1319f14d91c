"""Seeing that the configuration's files were edited, and when an edit is ready to be acted on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path

from notifier.config import files_of
from notifier.model import Config, Key

SHRINK_WAIT = 30.0
"""Seconds that an edit which removes more than half of the watches waits: it may be a half-saved file."""
MANY_WATCHES = 10
"""With fewer watches than this an edit may remove any number at once."""

Fingerprint = tuple[tuple[str, str], ...]


def shrinks(before: Collection[Key], after: Collection[Key]) -> bool:
    """Whether an edit removes so much that it may be half a file."""
    kept = set(after)
    removed = sum(key not in kept for key in before)
    return len(before) >= MANY_WATCHES and removed * 2 > len(before)


class ConfigurationWatch:
    """Compares the files' content with what was last acted on. For one thread."""

    def __init__(self, config: Config, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._digests: dict[Path, tuple[tuple[int, int, int], str]] = {}
        self._config = config
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

    def acted(self, config: Config | None) -> None:
        """The content of the last look was taken over (`config`), or refused for good (None)."""
        if config is not None:
            self._config = config
        self._held_since = None
        # Taken before the files were read again, so that an edit made meanwhile is still seen as one.
        self._acted_on = self._last_look

    def _fingerprint(self) -> Fingerprint:
        return tuple((str(path), self._digest(path)) for path in files_of(self._config))

    def _digest(self, path: Path) -> str:
        """The content's digest, read again only when the file looks different from outside."""
        try:
            status = path.stat()
            outside = (status.st_mtime_ns, status.st_size, status.st_ino)
            known = self._digests.get(path)
            if known is None or known[0] != outside:
                known = (outside, hashlib.sha256(path.read_bytes()).hexdigest())
                self._digests[path] = known
        except OSError as error:
            self._digests.pop(path, None)
            return f"unreadable: {error.strerror}"
        return known[1]
