"""The words all stages share: frozen values, no behaviour beyond what the values themselves mean.

Times called `*_at`, `*_since` or `now` are float seconds on the daemon's steady clock (see `Clock`), which reads like
Unix time but never steps; `time` of a notice is wall time for people. Durations are float seconds. Sizes are bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple


class Key(NamedTuple):
    """Which prediction: the account it belongs to, and its id there."""

    api: str
    id: str

    def __str__(self) -> str:
        return f"{self.api}/{self.id}"


class Status(StrEnum):
    """The six statuses of a prediction (Replicate's OpenAPI description, `schemas_prediction_response.status`)."""

    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    ABORTED = "aborted"


FINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.ABORTED})
"""The statuses a prediction never leaves. Compares with plain strings, so an unknown status is never final."""


class Event(StrEnum):
    """What a notice tells. All but the last four can stand in an event list of the configuration."""

    STATUS = "status"
    ERROR = "error"
    OUTPUT = "output"
    STUCK = "stuck"
    UNREACHABLE = "unreachable"
    RECOVERED = "recovered"
    LOST = "lost"
    LET_GO = "let_go"
    SAVED = "saved"
    SAVE_FAILED = "save_failed"
    INCIDENT = "incident"
    INCIDENT_OVER = "incident_over"
    GIVEN_UP = "given_up"
    TEST = "test"


_OF_NO_WATCH = (Event.INCIDENT, Event.INCIDENT_OVER, Event.GIVEN_UP, Event.TEST)
WATCH_EVENTS = tuple(event.value for event in Event if event not in _OF_NO_WATCH)
ALL_EVENTS = "all"
EVENT_NAMES = (*WATCH_EVENTS[:1], *(status.value for status in Status), *WATCH_EVENTS[1:], ALL_EVENTS)
"""Every word an event list may hold: `status` or one status by its name, the other events, `all`."""


class FirstSight(StrEnum):
    """What to do with a prediction that is already over when it is first seen."""

    TELL = "tell"
    QUIET = "quiet"


class Secret:
    """A text that must not be seen: `repr` and `str` hide it, only `reveal()` shows it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one call that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


# --- configuration -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Api:
    """An account (`apis.<name>`)."""

    name: str
    base_url: str
    token: Secret
    timeout: float = 90.0
    concurrency: int = 256
    rate: float = 10.0
    """Polls started per second at most."""
    max_body: int = 16 * 2**20
    insecure: bool = False
    unreachable_after: float = 120.0
    lost_after: float = 120.0
    incident_after: float = 120.0
    settle: float = 600.0


@dataclass(frozen=True, slots=True)
class Channel:
    """A named Apprise URL (`channels.<name>`)."""

    name: str
    url: Secret
    events: frozenset[str] = frozenset({ALL_EVENTS})
    rate: float = 1.0
    """Messages sent per second at most."""
    digest_over: int = 10
    give_up_after: float = 3 * 86400.0
    retry_after: tuple[float, ...] = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
    """The waits between attempts; the last one repeats."""
    incident_after: float = 600.0
    title: str | None = None
    body: str | None = None
    attach: bool = False
    """Whether its messages carry the files of outputs that were kept."""
    attach_max: int = 5 * 2**20
    """Bytes that all files of one message may have together."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where files of outputs are kept, and which (`outputs`)."""

    directory: str
    """An absolute path, or the URL of an object store: `s3://bucket/prefix`, `gs://...`, `az://...`."""
    max_size: int = 2 * 2**30
    """Bytes of one file at most."""
    keep: float | None = None
    """Seconds for which a file is kept; None for ever."""
    hosts: tuple[str, ...] = ()
    """The hosts that files may come from, with their subdomains, in lower case; none given: any."""
    allow_private: bool = False
    """Whether files may come from private addresses, and over http."""
    min_free: int = 2**30
    """Bytes that must stay free on the disk."""


@dataclass(frozen=True, slots=True)
class Http:
    """Where the daemon answers who asks after it (`http`)."""

    host: str
    """An IP address, or `localhost`."""
    port: int
    hosts: tuple[str, ...] = ()
    """The names it may be asked by, in lower case, beside addresses and `localhost`."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """An outside dead-man's switch (`heartbeat`): asked for while all is well, so that the end of that is noticed."""

    url: Secret
    every: float = 60.0


@dataclass(frozen=True, slots=True)
class Rules:
    """How a watch is watched: its own keys over `defaults`, with its account's patience. Shared by many watches."""

    interval: float
    channels: tuple[str, ...]
    events: frozenset[str]
    first_sight: FirstSight = FirstSight.TELL
    stuck_after: float = 1800.0
    watch_for: float = 7 * 86400.0
    unreachable_after: float = 120.0
    lost_after: float = 120.0
    settle: float = 600.0
    save: bool = False
    """Whether the files of the output are kept."""


@dataclass(frozen=True, slots=True)
class Watch:
    """An entry of the watchlist. `name` is what people call it: its own name, else its id."""

    key: Key
    name: str
    rules: Rules


@dataclass(frozen=True, slots=True)
class Config:
    """A whole, valid configuration. `files` are all files it was read from; `store` is an SQLAlchemy URL."""

    path: Path
    files: tuple[Path, ...]
    apis: Mapping[str, Api]
    channels: Mapping[str, Channel]
    operators: tuple[str, ...]
    watches: tuple[Watch, ...]
    store: str
    http: Http | None = None
    heartbeat: Heartbeat | None = None
    outputs: Outputs | None = None
    include: tuple[str, ...] = ()
    """The patterns of more watchlists, relative to the folder of `path`: files that come to match them are read too."""
    warnings: tuple[str, ...] = ()
    """Each like a mistake, with its place, but no reason to refuse the file."""
    seen: Mapping[Path, str] = field(default_factory=dict, repr=False, compare=False)
    """Every file that was read, those of secrets too, with the digest of what it held then."""


# --- what a poll saw -------------------------------------------------------------------------------------------------


class Asset(NamedTuple):
    """A file in an output: where it can be fetched, or the file itself."""

    url: str
    """An http(s) URL with a host and without a fragment, or a whole `data:` URI, of which only the beginning was read.
    May hold credentials and a signed query."""

    @property
    def is_inline(self) -> bool:
        """Whether it is a `data:` URI."""
        return self.url[:5].lower() == "data:"


@dataclass(frozen=True, slots=True)
class Observation:
    """What one answer said about the prediction, normalised. Text is sanitised (no control characters or lone
    surrogates) and cut to a bounded length, but is otherwise the API's own.
    """

    status: str
    """A Status' value, or a status nobody knows, as it is."""
    error: str | None = None
    has_output: bool = False
    output: tuple[str, ...] = ()
    """The http(s) links in the output, in order, without repeats. May be empty although there is output (text)."""
    assets: tuple[Asset, ...] = field(default=(), repr=False, compare=False)
    """The files in the output, in order, without repeats: the same output once more, neither sanitised nor cut."""
    text: str | None = None
    """The beginning of an output that is text. Never a `data:` URI."""
    data_removed: bool = False
    created_at: float | None = None
    started_at: float | None = None
    completed_at: float | None = None
    deadline: float | None = None
    """These four: Unix seconds as the API said them."""
    metrics: tuple[tuple[str, float], ...] = ()
    logs: str | None = None
    """The last lines."""
    remark: str | None = None
    """Something odd for the log: a wrapper that disagrees with its inside, say."""


class Failure(StrEnum):
    """Why a poll brought no observation; the classes that `decide` treats differently."""

    OFFLINE = "offline"
    """No address for the host's name, or no route to it: as a rule this machine's own connectivity."""
    SILENT = "silent"
    """No answer in time: nobody knows whether the host was reached."""
    NETWORK = "network"
    """Connection, TLS, a reset or truncated answer."""
    SERVER = "server"
    """5xx, 408, 409, and an error inside an HTTP 200."""
    MALFORMED = "malformed"
    """HTML, empty, not JSON, a wrong type, too large, another prediction's id."""
    REDIRECT = "redirect"
    """3xx: the base_url is wrong."""
    REFUSED = "refused"
    """401, 402 or 403."""
    NOT_FOUND = "not_found"
    """404, or the gateway's task_not_exist."""
    THROTTLED = "throttled"
    """429: holds the whole account."""
    CLIENT = "client"
    """Any other 4xx, and a gateway's 500 with code invalid_request: asking again will hardly help."""


@dataclass(frozen=True, slots=True)
class FailedPoll:
    """A poll that brought no observation: a result like any other, not an exception."""

    failure: Failure
    reason: str
    """For people: what came instead, short, sanitised, without secrets or query strings."""
    http_status: int | None = None
    retry_after: float | None = None
    """The API's own word on when to ask again: seconds from now, at most an hour."""


# --- what is known and told ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a watch. A new one is State(watched_since=now)."""

    watched_since: float
    status: str | None = None
    """None until the first observation."""
    status_since: float | None = None
    final_at: float | None = None
    """When a final status was first seen."""
    error: str | None = None
    has_output: bool = False
    output: tuple[str, ...] = ()
    done: bool = False
    """Never to be polled again."""
    let_go: bool = False
    failures: int = 0
    """Failed polls in a row."""
    failing_since: float | None = None
    failure: str | None = None
    """The last failure's reason, while polls fail."""
    not_found: int = 0
    """404 in a row."""
    not_found_since: float | None = None
    troubles: tuple[str, ...] = ()
    """Events told that `recovered` would end: of stuck, unreachable and lost, those that are open."""
    trouble_since: float | None = None
    unknown: tuple[str, ...] = ()
    """Statuses nobody knows that were told already."""
    notices: int = 0
    """How many notices were made: makes their ids."""


class FileState(StrEnum):
    """What became of a file of an output."""

    WAITING = "waiting"
    SAVED = "saved"
    LOST = "lost"
    REMOVED = "removed"
    """It was kept, for as long as the configuration says."""


@dataclass(frozen=True, slots=True)
class File:
    """A file of an output that is kept, or is to be."""

    key: Key
    number: int
    """Its place in the output, counted from 0: part of its name, and never another file's of the same prediction."""
    source: str
    """Where it is from, as it may be shown: without credentials and query; of a `data:` URI its type alone."""
    url: str | None = field(default=None, repr=False)
    """Where it can be fetched, or the whole `data:` URI; None once it is over."""
    state: FileState = FileState.WAITING
    name: str | None = None
    """What it is called; None as long as that hangs on an answer."""
    place: str | None = None
    """Where people find it, a path or a URL, once it is saved."""
    size: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    validator: str | None = None
    """What the rest of the very same file is asked for with (`If-Range`)."""
    attempts: int = 0
    last_error: str | None = None
    created_at: float = 0.0
    due_at: float = 0.0
    expires_at: float | None = None
    """When it is given up if it has not been fetched by then; None for a `data:` URI, which is here already."""
    ended_at: float | None = None
    """When it was saved, lost or removed."""
    told: bool = False
    """Whether somebody was told that it is lost."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something happened that is worth telling: facts, not text."""

    notice: str
    """The short notice id, the same on every repeat."""
    event: Event
    time: float
    """Wall time, Unix seconds."""
    key: Key | None = None
    """None for an incident and a test."""
    name: str = ""
    """The watch's name, or what an incident is about (`api cometapi`)."""
    before: str | None = None
    status: str | None = None
    error: str | None = None
    names: frozenset[str] = frozenset()
    """The event-list words that let it through (`status`, `failed` and `error` for a failure with a text)."""
    why: str = ""
    """The decision's reason, for the log and for `history`."""
    detail: str | None = None
    """What more there is to say, in words: the failure behind `unreachable`, the trouble `recovered` ends."""
    output: tuple[str, ...] = ()
    has_output: bool = False
    text: str | None = None
    expires: float | None = None
    """Until when the output links work, Unix seconds."""
    data_removed: bool = False
    took: float | None = None
    """How long the prediction took, seconds."""
    metrics: tuple[tuple[str, float], ...] = ()
    logs: str | None = None
    since: float | None = None
    """For how long it has been so, seconds (stuck, unreachable, recovered, incidents)."""
    count: int | None = None
    """Tries, or watches, where it applies."""
    ends: tuple[str, ...] = ()
    """The troubles that `recovered` ends."""
    files: tuple[File, ...] = ()
    """The files of the output, as they are when the notice is read from the store: no fact of its own, and not recorded
    with it."""


class Address(NamedTuple):
    """Where one delivery goes: a channel, and one recipient of it (`""` where the channel is one address)."""

    channel: str
    recipient: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a message."""

    name: str
    content_type: str | None
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """The words of one message, ready to be sent as plain text."""

    title: str
    body: str
    attachments: tuple[Attachment, ...] = ()


class DeliveryState(StrEnum):
    """What became of a delivery."""

    WAITING = "waiting"
    SENT = "sent"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notice on its way to one address: an outbox row."""

    id: int
    notice: Notice
    address: Address
    attempts: int
    created_at: float
    due_at: float
    last_error: str | None = None


class IncidentKind(StrEnum):
    """Whose trouble an incident is."""

    API = "api"
    CHANNEL = "channel"
    CONFIG = "config"
    STORE = "store"
    NETWORK = "network"
    OUTPUTS = "outputs"


@dataclass(frozen=True, slots=True)
class Incident:
    """Trouble of a whole account, of a channel, or of the daemon itself, not of one watch."""

    kind: IncidentKind
    subject: str
    """The account's, channel's or file's name."""
    since: float
    detail: str
    count: int = 0
    """Watches or notices it holds up."""


# --- time ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Clock:
    """The two times of the daemon: wall time for people, steady time for every decision.

    Steady time starts as wall time and then follows the monotonic clock, so a wall clock that is stepped by an hour
    makes nothing look an hour older. After a restart it starts from the wall clock again; whoever loads stored times
    clamps those in the future to now.
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    _offset: float = field(init=False)

    def __post_init__(self) -> None:
        self._offset = self.wall() - self.monotonic()

    def steady(self) -> float:
        """Seconds that read like Unix time and never step."""
        return self._offset + self.monotonic()

    def step(self) -> float:
        """By how many seconds the wall clock has been stepped since the start (forward is positive)."""
        return self.wall() - self.steady()


JSONObject = dict[str, Any]
