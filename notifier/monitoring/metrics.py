"""What Prometheus is told: what is counted as it happens, and how the daemon is at the moment when it is asked.

A label's value is a word of ours or a name from the configuration, never an id, a recipient or a text from an API:
there must be few of them, and whoever reads them need not be allowed to know what is watched.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from notifier import __version__
from notifier.model import Event, Failure, File, FileState, IncidentKind, Key, State, Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of what `Metrics.exposition` gives."""
ANSWERED = "answered"
POLL_OUTCOMES = (ANSWERED, *(failure.value for failure in Failure))
DELIVERY_OUTCOMES = ("sent", "failed", "given_up")
FILE_OUTCOMES = (FileState.SAVED.value, FileState.LOST.value)
SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 300)
"""The buckets of how long polls take: CometAPI may take over 45 s, and nobody waits longer than 10 min."""
UNSEEN, OTHER = "unseen", "other"
"""Statuses of a watch that was never answered, and of one whose status nobody knows."""
STATUSES = (*(status.value for status in Status), OTHER, UNSEEN)
TROUBLES = (Event.STUCK.value, Event.UNREACHABLE.value, Event.LOST.value)

# When each series began: twice as many series, for what process_start_time_seconds tells as well.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class AccountNow:
    """How busy an account is."""

    polled: int
    """Watches that are still polled."""
    in_flight: int
    asked: float
    """Polls per second."""
    allowed: float


@dataclass(frozen=True, slots=True)
class OutboxNow:
    """Deliveries by channel."""

    waiting: Mapping[str, int]
    given_up: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Now:
    """How the daemon is at the moment. Nobody may change the mappings any more."""

    states: Mapping[Key, State]
    accounts: Mapping[str, AccountNow]
    outbox: OutboxNow | None
    """None where the store cannot be read: what is not known is not told."""
    incidents: Iterable[IncidentKind]
    healthy: bool


Instrument = TypeVar("Instrument", prometheus_client.Counter, Gauge, Histogram)


class _Series(dict[tuple[str, ...], Instrument], Generic[Instrument]):
    """The series of one instrument by their labels, each made when it is first asked for: prometheus_client's own
    `labels` costs more than to count.
    """

    def __init__(self, instrument: Instrument) -> None:
        super().__init__()
        self._labels: Callable[..., Instrument] = instrument.labels

    def __missing__(self, labels: tuple[str, ...]) -> Instrument:
        self[labels] = series = self._labels(*labels)
        return series


class Metrics:
    """Counts what happens, from any thread, and writes it down in Prometheus' text format.

    What was counted of an account or a channel stays when it is taken out of the configuration, until the next start:
    it did happen.
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        """`wall` is the wall clock, Unix seconds."""
        self._wall = wall
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._polls = _Series(
            prometheus_client.Counter(
                "notifier_polls_total",
                "Polls that have ended, by account and by what came of them.",
                ("api", "outcome"),
                registry=registry,
            )
        )
        self._poll_seconds = _Series(
            Histogram(
                "notifier_poll_duration_seconds",
                "How long polls took, from the question until the answer was looked at.",
                ("api",),
                buckets=SECONDS,
                registry=registry,
            )
        )
        self._answered_at = _Series(
            Gauge(
                "notifier_last_successful_poll_timestamp_seconds",
                "When the account last answered about a prediction, Unix time; 0 while it has not since the start.",
                ("api",),
                registry=registry,
            )
        )
        self._deliveries = _Series(
            prometheus_client.Counter(
                "notifier_deliveries_total",
                "Deliveries by channel: sent; failed, once for each attempt; given up.",
                ("channel", "outcome"),
                registry=registry,
            )
        )
        self._files = _Series(
            prometheus_client.Counter(
                "notifier_files_total",
                "Files of outputs that are over: saved or lost.",
                ("outcome",),
                registry=registry,
            )
        )
        self._file_bytes = prometheus_client.Counter(
            "notifier_saved_bytes_total", "Bytes of the files of outputs that were saved.", registry=registry
        )
        for outcome in FILE_OUTCOMES:
            _ = self._files[outcome,]
        self._is_reloaded = Gauge(
            "notifier_config_last_reload_successful",
            "Whether the configuration, as it was last read, is in force.",
            registry=registry,
        )
        self._reloaded_at = Gauge(
            "notifier_config_last_reload_success_timestamp_seconds",
            "When a configuration last came into force, Unix time.",
            registry=registry,
        )
        self.reloaded(ok=True)

    def configure(self, apis: Iterable[str], channels: Iterable[str]) -> None:
        """Have the series of these from now on, with 0 where nothing happened yet: a rate starts from a value."""
        for api in apis:
            _ = self._poll_seconds[api,], self._answered_at[api,]
            for outcome in POLL_OUTCOMES:
                _ = self._polls[api, outcome]
        for channel in channels:
            for outcome in DELIVERY_OUTCOMES:
                _ = self._deliveries[channel, outcome]

    def polled(self, api: str, failure: Failure | None, seconds: float) -> None:
        """A poll of the account has ended after so many seconds: with an answer about the prediction, or why not."""
        if failure is None:
            self._polls[api, ANSWERED].inc()
            self._answered_at[api,].set(self._wall())
        else:
            self._polls[api, failure].inc()
        self._poll_seconds[api,].observe(seconds)

    def delivered(self, channel: str, outcome: str, count: int) -> None:
        """So many deliveries of the channel were `sent` or `given_up`, or an attempt at them has `failed`."""
        self._deliveries[channel, outcome].inc(count)

    def file_over(self, file: File) -> None:
        """A file of an output was saved, or is lost."""
        self._files[file.state,].inc()
        if file.state is FileState.SAVED:
            self._file_bytes.inc(file.size or 0)

    def reloaded(self, *, ok: bool) -> None:
        """The configuration was read again and came into force, or did not."""
        self._is_reloaded.set(ok)
        if ok:
            self._reloaded_at.set(self._wall())

    def exposition(self, now: Now) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(_All(self._registry, now))


class _All(CollectorRegistry):
    """What was counted, and how things are."""

    def __init__(self, counted: CollectorRegistry, now: Now) -> None:
        super().__init__()
        self._counted, self._now = counted, now

    def collect(self) -> Iterator[Metric]:
        """Every metric there is."""
        yield from self._counted.collect()
        yield from _metrics_of(self._now)


def _metrics_of(now: Now) -> Iterator[Metric]:
    apis, kinds = now.accounts, Counter(now.incidents)
    yield _family(
        "notifier_build_info", "The program's version, and Python's.", ("version", "python"),
        {(__version__, platform.python_version()): 1},
    )  # fmt: skip
    yield _family("notifier_healthy", "Whether /healthz answers 200.", (), {(): now.healthy})
    yield from _watches(now.states, apis)
    yield _family(
        "notifier_watches_polled", "Watches that are still polled: not done, not let go.", ("api",),
        {(api,): account.polled for api, account in apis.items()},
    )  # fmt: skip
    yield _family(
        "notifier_polls_in_flight", "Polls that wait for their answer.", ("api",),
        {(api,): account.in_flight for api, account in apis.items()},
    )  # fmt: skip
    yield _family(
        "notifier_polls_asked_per_second", "Polls per second that the intervals of its watches add up to.", ("api",),
        {(api,): account.asked for api, account in apis.items()},
    )  # fmt: skip
    yield _family(
        "notifier_polls_allowed_per_second", "Polls per second that may start at present: the account's rate, or what "
        "the API has left of it.", ("api",), {(api,): account.allowed for api, account in apis.items()},
    )  # fmt: skip
    if now.outbox is not None:
        yield _family(
            "notifier_deliveries_waiting", "Deliveries that wait to be sent.", ("channel",),
            {(channel,): count for channel, count in now.outbox.waiting.items()},
        )  # fmt: skip
        yield _family(
            "notifier_deliveries_given_up", "Deliveries that were given up and not put back by `resend`; each is kept "
            "for 90 days.", ("channel",), {(channel,): count for channel, count in now.outbox.given_up.items()},
        )  # fmt: skip
    yield _family(
        "notifier_incidents_open", "Incidents that are open, by whose trouble they are.", ("kind",),
        {(kind.value,): kinds[kind] for kind in IncidentKind},
    )  # fmt: skip


def _watches(states: Mapping[Key, State], apis: Collection[str]) -> Iterator[Metric]:
    """Counted one by one, in Python: a call into C that counts 100,000 would not let another thread run meanwhile."""
    by_status: dict[tuple[str, ...], int] = {(api, status): 0 for api in apis for status in STATUSES}
    in_trouble: dict[tuple[str, ...], int] = {(api, trouble): 0 for api in apis for trouble in TROUBLES}
    for (api, _), state in states.items():
        status = state.status
        place = (api, UNSEEN if status is None else status)
        if place not in by_status:
            place = (api, OTHER)
        by_status[place] = by_status.get(place, 0) + 1
        for trouble in state.troubles:
            in_trouble[api, trouble] = in_trouble.get((api, trouble), 0) + 1
    yield _family(
        "notifier_watches", "Watches by the status of their prediction: one of the six, `other` for one that nobody "
        "knows, `unseen` while the API has told none.", ("api", "status"), by_status,
    )  # fmt: skip
    yield _family(
        "notifier_watches_in_trouble", "Watches that were told to be stuck, unreachable or lost, and still are.",
        ("api", "trouble"), in_trouble,
    )  # fmt: skip


def _family(
    name: str, help_text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family
