"""Seeing that the configuration's files were edited, those of secrets too, and when an edit is ready to be acted on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from notifier.config import files, files_of
from notifier.model import Config, Key

SHRINK_WAIT = 30.0
"""Seconds that an edit which removes more than half of the watches waits: it may be a half-saved file."""
RESTLESS = 15
"""Looks in a row, no two of which agree, after which the edit is not just being written: half a minute."""
MANY_WATCHES = 10
"""With fewer watches than this an edit may remove any number at once."""

NOT_LOOKED_AT = "not looked at"

Look = dict[Path, str]
"""What each file held: its content's digest, or why it has none."""


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
        """Files of an edit that was not taken over, which the last good configuration may not know."""
        self._last_look = self._look()
        self._acted_on = self._now_known(config.seen, {})
        self._held_since: float | None = None
        self._changes = 0

    def is_ready(self) -> bool:
        """Take a look: whether the content differs from what was acted on, and two looks in a row agree on it."""
        look = self._look()
        agrees, self._last_look = look == self._last_look, look
        self._changes = 0 if agrees else self._changes + 1
        if look == self._acted_on or not agrees:
            self._held_since = None
        return agrees and look != self._acted_on

    @property
    def is_restless(self) -> bool:
        """Whether the files keep changing, so that no look agrees with the one before; true once."""
        return self._changes == RESTLESS

    def may_shrink(self) -> bool:
        """Whether an edit that removes most of the watches has stood long enough; the first call starts the wait."""
        if self._held_since is None:
            self._held_since = self._monotonic()
        return self._monotonic() - self._held_since >= SHRINK_WAIT

    @property
    def is_holding(self) -> bool:
        """Whether such an edit waits."""
        return self._held_since is not None

    def agrees_with(self, seen: Mapping[Path, str]) -> bool:
        """Whether what was read after the last look is what that saw. Else the reading counts as a look: the files were
        edited meanwhile, or some are new to the configuration, and the next look must agree with it.
        """
        agrees = seen.items() <= self._last_look.items()
        if not agrees:
            self._also = tuple(seen)
            self._held_since = None
            self._last_look = self._now_known(seen, self._last_look)
        return agrees

    def acted(self, config: Config | None, seen: Mapping[Path, str]) -> None:
        """What was `seen` in the files was taken over (`config`), or refused for good (None)."""
        if config is not None:
            self._config = config
        self._also = tuple(seen)
        self._held_since = None
        self._acted_on = self._now_known(seen, self._last_look)

    def _files(self) -> list[Path]:
        return list(dict.fromkeys((*files_of(self._config), *self._also)))

    def _now_known(self, seen: Mapping[Path, str], before: Mapping[Path, str]) -> Look:
        """What was read stands for what was looked at before; a file that neither knows is still to be looked at."""
        return {path: seen.get(path) or before.get(path, NOT_LOOKED_AT) for path in self._files()}

    def _look(self) -> Look:
        look = {path: self._digest(path) for path in self._files()}
        self._read = {path: read for path, read in self._read.items() if path in look}
        return look

    def _digest(self, path: Path) -> str:
        """The content's digest, read again only when the file looks different from outside, or why it has none."""
        try:
            outside = files.look(path)
            known = self._read.get(path)
            if known is None or known.outside != outside:
                self._read[path] = known = _Read(outside, files.read(path).digest)
            elif not known.again:
                self._read[path] = known = _Read(outside, files.read(path).digest, again=True)
        except files.UnreadableError as error:
            self._read.pop(path, None)
            return str(error)
        return known.digest
