"""The errors a person can be told about, told apart by who can help.

Whoever edits the configuration is helped by a ConfigError, whoever runs the machine by a StoreError, a PlaceError
or an AlreadyRunningError, whoever owns a channel by a DeliveryError. Everything else that goes wrong is our own mistake
and stays loud.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


class NotifierError(Exception):
    """Something the person at the terminal can do something about; `str()` is fit to be shown to them.

    `exit_code` is what the command ends with (the values are sysexits.h's where one fits).
    """

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake or warning in a configuration file, with its place (lines and columns count from 1)."""

    file: str
    line: int
    column: int
    path: str
    text: str

    def __str__(self) -> str:
        """`config.yaml:14:15: watchlist[2].interval: must be ...`, the form editors and people can jump to."""
        place = f"{self.file}:{self.line}:{self.column}: "
        return f"{place}{self.path}: {self.text}" if self.path else place + self.text


class ConfigError(NotifierError):
    """The configuration cannot be used; holds every mistake in it, in the order of their places.

    `seen` is as in Config, and has the files too that could not be read.
    """

    exit_code = 78

    def __init__(self, mistakes: Iterable[Mistake], seen: Mapping[Path, str] | None = None) -> None:
        self.mistakes = tuple(mistakes)
        self.seen = dict(seen or {})
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class StoreError(NotifierError):
    """The store cannot be used; the text says what was found and what to do about it. Nothing was overwritten."""

    exit_code = 74


class StoreWriteError(StoreError):
    """A change could not be written (disk full, read-only, locked for too long); trying again later may work."""


class PlaceError(NotifierError):
    """Outputs cannot be kept where they should be; the text names the place, what was found and the way out."""

    exit_code = 73


class PlaceFullError(PlaceError):
    """There is no room left for them; trying again later may work."""


class AlreadyRunningError(NotifierError):
    """Another daemon holds the store."""

    exit_code = 75


class DeliveryError(Exception):
    """A channel did not take a message.

    `reason` is short, useful and free of secrets. `content` is true when the channel's answer speaks about this
    very message (so that another one may pass), `gone` when it says that the address itself is gone for good, and
    `maybe_arrived` when the message may have been taken although no answer came. `retry_after` is the channel's own
    word on when to try again, in seconds.
    """

    def __init__(
        self,
        reason: str,
        *,
        content: bool = False,
        gone: bool = False,
        maybe_arrived: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.content = content
        self.gone = gone
        self.maybe_arrived = maybe_arrived
        self.retry_after = retry_after

    @property
    def in_full(self) -> str:
        """The reason, and what it means for the message or for the channel."""
        if self.gone:
            return f"{self.reason} (the address is gone: a new one is needed)"
        return f"{self.reason} (it may have arrived)" if self.maybe_arrived else self.reason


class DataUriError(Exception):
    """A `data:` URI holds no file; `reason` says why, without quoting it. Trying again will not help."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
