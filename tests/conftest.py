"""What holds for every test: no network but loopback, no settings of this machine, no skip that CI does not notice."""

from __future__ import annotations

import ipaddress
import os
import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from notifier import channels, logs
from notifier.model import Message
from notifier.service import heartbeat
from notifier.transport import Transport
from tests.standins.api import ApiStandIn
from tests.standins.azure import AzureStandIn
from tests.standins.machine import Machine
from tests.standins.s3 import S3StandIn
from tests.standins.slack import SlackStandIn

settings.register_profile("long", max_examples=250_000, suppress_health_check=list(HealthCheck))


SETTINGS = (
    "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY",
    "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy", "NETRC", "NOTIFIER_CONFIG", "STATE_DIRECTORY",
    "CREDENTIALS_DIRECTORY", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "JOURNAL_STREAM",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _settings_of_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # What obstore reads by itself would decide where a test's requests go.
    stores = [name for name in os.environ if name.upper().startswith(("AWS_", "AZURE_", "GOOGLE_"))]
    for name in (*SETTINGS, *stores):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(logs, "_said", {})  # what one test has made the program say is news in the next


@pytest.fixture(autouse=True)
def _log_that_remembers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_said", {})
    monkeypatch.setattr(logs.secrets, "_take_out", str)


@pytest.fixture(autouse=True)
def _chance_that_comes_again(request: pytest.FixtureRequest) -> None:
    """Jitter is drawn anew at each retry: what fails by it is to fail again when it is looked into."""
    random.seed(request.node.nodeid)


@pytest.fixture(autouse=True, scope="session")
def _no_network_by_accident() -> Iterator[None]:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(address[0]):
            raise OSError(f"a test wanted to reach {address[0]}")
        connect(self, address)

    socket.socket.connect = guarded  # type: ignore[method-assign,assignment]
    yield
    socket.socket.connect = connect  # type: ignore[method-assign]


def _is_here(host: str) -> bool:
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


@pytest.fixture
def api() -> Iterator[ApiStandIn]:
    """A prediction API on loopback."""
    with ApiStandIn() as api:
        yield api


@pytest.fixture
def slack() -> Iterator[SlackStandIn]:
    """Slack, behind a proxy of its own."""
    with SlackStandIn() as slack:
        yield slack


@pytest.fixture
def transport() -> Iterator[Transport]:
    """A running transport."""
    transport = Transport()
    transport.start()
    yield transport
    transport.close()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3StandIn]:
    """An object store that speaks S3, without buckets; one for all tests, as they come."""
    with S3StandIn() as s3:
        yield s3


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureStandIn]:
    """Azure's emulator, without containers; one for all tests, as they come."""
    with AzureStandIn(tmp_path_factory.mktemp("azurite")) as azure:
        yield azure


@pytest.fixture(scope="session")
def installed() -> Iterator[Machine]:
    """A machine on which notifier was installed as the README says; one for all tests, as they come."""
    with Machine() as machine:
        yield machine


@pytest.fixture
def machine(installed: Machine) -> Iterator[Machine]:
    """The same as it was then, for this test alone, with a prediction API and a channel's far end on its network."""
    with installed.fresh() as machine:
        yield machine


_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(f"{report.nodeid}: {report.longrepr}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A test that CI skips tests nothing, and nobody would notice."""
    if os.environ.get("CI") and _skipped and not hasattr(session.config, "workerinput"):
        print("\nskipped in CI:", *_skipped, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def quick_beats(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A daemon in this process beats twenty times a second; what it sets for the whole process is put back."""
    monkeypatch.setattr(heartbeat, "BEAT", 0.05)
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def posts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Channels are a list: the titles that went out."""
    titles: list[str] = []

    def send(target: channels.Target, words: Message) -> None:
        titles.append(words.title)

    monkeypatch.setattr(channels, "send", send)
    return titles
