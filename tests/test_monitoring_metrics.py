"""What Prometheus is told: names and labels as it wants them, and numbers that are right."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from notifier.model import Failure, IncidentKind, Key, State
from notifier.monitoring import AccountNow, Metrics, Now, OutboxNow

NOW = 1_800_000_000.0
NOTHING = Now({}, {}, None, (), healthy=True)
Told = dict[str, float]


def told(metrics: Metrics, now: Now = NOTHING) -> Told:
    """Every sample by its name and labels, as `name{label="value"}`."""
    found: Told = {}
    for family in text_string_to_metric_families(metrics.exposition(now).decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            place = sample.name + (f"{{{labels}}}" if labels else "")
            assert place not in found
            found[place] = sample.value
    return found


def now(states: dict[Key, State] | None = None, **facts: object) -> Now:
    account = AccountNow(polled=3, in_flight=2, asked=0.5, allowed=10.0)
    values = {"outbox": None, "incidents": (), "healthy": True, "accounts": {"here": account}, **facts}
    return Now(states or {}, **values)  # type: ignore[arg-type]


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics(lambda: NOW)
    metrics.configure(["here"], ["team"])
    return metrics


def test_polls_are_counted_by_what_came_of_them_and_timed(metrics: Metrics) -> None:
    metrics.polled("here", None, 0.2)
    metrics.polled("here", None, 50.0)
    metrics.polled("here", Failure.SERVER, 700.0)
    found = told(metrics)
    outcomes = {place: value for place, value in found.items() if place.startswith("notifier_polls_total") and value}
    assert outcomes == {
        'notifier_polls_total{api="here",outcome="answered"}': 2.0,
        'notifier_polls_total{api="here",outcome="server"}': 1.0,
    }
    buckets = {edge: found[f'notifier_poll_duration_seconds_bucket{{api="here",le="{edge}"}}']
               for edge in ("0.1", "0.25", "45.0", "60.0", "300.0", "+Inf")}  # fmt: skip
    assert buckets == {"0.1": 0, "0.25": 1, "45.0": 1, "60.0": 2, "300.0": 2, "+Inf": 3}
    assert found['notifier_poll_duration_seconds_sum{api="here"}'] == pytest.approx(750.2)


def test_a_poll_that_failed_is_no_successful_one(metrics: Metrics) -> None:
    place = 'notifier_last_successful_poll_timestamp_seconds{api="here"}'
    metrics.polled("here", Failure.NOT_FOUND, 1.0)
    assert told(metrics)[place] == 0.0
    metrics.polled("here", None, 1.0)
    assert told(metrics)[place] == NOW


def test_every_series_of_what_is_configured_is_there_from_the_start(metrics: Metrics) -> None:
    def places() -> set[str]:
        return set(told(metrics, now(outbox=OutboxNow({"team": 1}, {"team": 0}))))

    before = places()
    for failure in (None, *Failure):
        metrics.polled("here", failure, 1.0)
    for outcome in ("sent", "failed", "given_up"):
        metrics.delivered("team", outcome, 1)
    metrics.reloaded(ok=False)
    assert places() == before


def test_what_was_counted_of_a_channel_outlives_its_removal(metrics: Metrics) -> None:
    metrics.delivered("team", "sent", 3)
    metrics.configure(["here"], ["mail"])
    found = told(metrics)
    assert found['notifier_deliveries_total{channel="team",outcome="sent"}'] == 3.0
    assert found['notifier_deliveries_total{channel="mail",outcome="sent"}'] == 0.0


def test_a_reload_is_told_with_its_time() -> None:
    time_now = NOW
    metrics = Metrics(lambda: time_now)
    time_now += 60
    metrics.reloaded(ok=False)
    successful, at = (
        "notifier_config_last_reload_successful", "notifier_config_last_reload_success_timestamp_seconds",
    )  # fmt: skip
    assert (told(metrics)[successful], told(metrics)[at]) == (0.0, NOW)
    metrics.reloaded(ok=True)
    assert (told(metrics)[successful], told(metrics)[at]) == (1.0, NOW + 60)


def test_watches_are_counted_by_few_words_whatever_the_api_calls_their_status(metrics: Metrics) -> None:
    statuses = ["starting", "succeeded", "succeeded", None, "other", "Weird\n", "unseen", "x" * 50]
    states = {Key("here", f"id{number}"): State(NOW, status) for number, status in enumerate(statuses)}
    states[Key("here", "id0")] = State(NOW, "starting", troubles=("stuck", "unreachable"))
    found = told(metrics, now(states))
    count = {
        place.partition('status="')[2].rstrip('"}'): value
        for place, value in found.items()
        if place.startswith("notifier_watches{")
    }
    assert count == {"starting": 1, "processing": 0, "succeeded": 2, "failed": 0, "canceled": 0, "aborted": 0,
                     "other": 3, "unseen": 2}  # fmt: skip
    trouble = 'notifier_watches_in_trouble{api="here",trouble="%s"}'
    assert [found[trouble % word] for word in ("stuck", "unreachable", "lost")] == [1, 1, 0]


def test_the_state_of_things_is_told_as_it_is(metrics: Metrics) -> None:
    incidents = [IncidentKind.CHANNEL, IncidentKind.STORE, IncidentKind.CHANNEL]
    outbox = OutboxNow(waiting={"team": 4, "gone": 1}, given_up={"team": 0, "gone": 2})
    found = told(metrics, now(outbox=outbox, incidents=incidents, healthy=False))
    assert {place: value for place, value in found.items() if value and "notifier_" in place} == {
        'notifier_deliveries_waiting{channel="team"}': 4.0,
        'notifier_deliveries_waiting{channel="gone"}': 1.0,
        'notifier_deliveries_given_up{channel="gone"}': 2.0,
        'notifier_incidents_open{kind="channel"}': 2.0,
        'notifier_incidents_open{kind="store"}': 1.0,
        'notifier_polls_in_flight{api="here"}': 2.0,
        'notifier_polls_asked_per_second{api="here"}': 0.5,
        'notifier_polls_allowed_per_second{api="here"}': 10.0,
        'notifier_watches_polled{api="here"}': 3.0,
        "notifier_config_last_reload_successful": 1.0,
        "notifier_config_last_reload_success_timestamp_seconds": NOW,
        next(place for place in found if place.startswith("notifier_build_info")): 1.0,
    }
    assert {f'notifier_incidents_open{{kind="{kind}"}}' for kind in IncidentKind} <= found.keys()
    assert found["notifier_healthy"] == 0.0


def test_what_the_store_does_not_say_is_not_told_to_be_nothing(metrics: Metrics) -> None:
    assert not [
        place for place in told(metrics, now(outbox=None)) if "_waiting" in place or "deliveries_given" in place
    ]


def test_the_process_tells_of_itself(metrics: Metrics) -> None:
    found = told(metrics)
    assert found["process_start_time_seconds"] == pytest.approx(time.time(), abs=86400)
    assert found["process_resident_memory_bytes"] > 2**20


def test_names_and_texts_are_as_prometheus_wants_them(metrics: Metrics) -> None:
    """What `promtool check metrics` looks at, and that a histogram is one."""
    text = metrics.exposition(now(outbox=OutboxNow({}, {}))).decode()
    assert text.endswith("\n")
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    assert kinds.keys() == helps.keys()
    assert len(kinds) > 20
    for name, kind in kinds.items():
        assert re.fullmatch(r"(notifier|process)_[a-z_]+", name)
        assert name.endswith("_total") == (kind == "counter")
        assert not name.endswith(("_count", "_sum", "_bucket", "_created"))
        assert not re.search(r"milliseconds|minutes|hours|kilobytes|percent", name)
        assert helps[name].endswith(".")


def test_the_readme_names_only_metrics_that_there_are(metrics: Metrics) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    section = readme.partition("## Looking after it")[2].partition("\n## ")[0]
    named = set(re.findall(r"\bnotifier_[a-z_]+\b", section))
    text = metrics.exposition(now(outbox=OutboxNow({}, {}))).decode()
    assert len(named) > 10
    assert named <= set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))


def test_counts_of_many_threads_add_up(metrics: Metrics) -> None:
    def count() -> None:
        for _ in range(1000):
            metrics.delivered("team", "sent", 2)
            metrics.delivered("new", "sent", 1)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = told(metrics)
    assert found['notifier_deliveries_total{channel="team",outcome="sent"}'] == 16_000
    assert found['notifier_deliveries_total{channel="new",outcome="sent"}'] == 8_000


def test_two_daemons_in_a_process_do_not_count_for_each_other(metrics: Metrics) -> None:
    other = Metrics(lambda: NOW)
    other.polled("here", None, 1.0)
    assert told(metrics)['notifier_polls_total{api="here",outcome="answered"}'] == 0.0


def cpu(call: Callable[[], object], times: int) -> float:
    """Seconds of CPU that a call takes, by the best of several rounds."""

    def once() -> float:
        begin = time.thread_time()
        for _ in range(times):
            call()
        return (time.thread_time() - begin) / times

    return min(once() for _ in range(5))


def test_to_count_a_poll_costs_next_to_nothing(metrics: Metrics) -> None:
    counter: Counter[str] = Counter()

    def yardstick() -> None:
        for _ in range(10):
            counter["x"] += 1

    assert cpu(lambda: metrics.polled("here", None, 50.0), 5000) < 10 * cpu(yardstick, 5000)
