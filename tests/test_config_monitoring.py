"""The keys for monitoring: `http` and `heartbeat`."""

from __future__ import annotations

from pathlib import Path

import pytest

from notifier import config
from notifier.model import Heartbeat, Http, Secret
from tests.config_files import EMPTY, Case, check_case, load, mistakes, top

LISTEN = "http.listen: must be an address of this machine and a port, such as 127.0.0.1:9464"
HOST = "must be a host's name, such as monitor.example.com, without a port"
URL = "heartbeat.url: must be an address such as https://hc-ping.com/..., without blanks"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [("127.0.0.1:9464", "127.0.0.1", 9464), ("'[::1]:80'", "::1", 80), ("LocalHost:65535", "localhost", 65535)],
)
def test_where_it_listens(listen: str, host: str, port: int) -> None:
    loaded = load(f"{EMPTY}http: {{listen: {listen}}}\n")
    assert loaded.http == Http(host, port)
    assert loaded.warnings == ()


def test_without_the_keys_there_is_neither() -> None:
    loaded = load(EMPTY)
    assert (loaded.http, loaded.heartbeat) == (None, None)


def test_the_names_it_may_be_asked_by_are_in_lower_case() -> None:
    loaded = load(EMPTY + "http: {listen: '127.0.0.1:1', hosts: [Monitor.example.com., nas]}\n")
    assert loaded.http == Http("127.0.0.1", 1, ("monitor.example.com", "nas"))


@pytest.mark.parametrize("listen", ["0.0.0.0:9464", "'[::]:9464'", "10.0.0.1:80"])
def test_an_address_that_others_reach_is_a_warning(listen: str) -> None:
    (warning,) = load(f"{EMPTY}http: {{listen: {listen}}}\n").warnings
    assert warning.startswith("config.yaml:7:16: http.listen: whoever reaches this address can read what is watched")


def test_the_outside_heartbeat_may_be_a_reference_and_is_secret() -> None:
    loaded = load(EMPTY + "heartbeat: {url: '${BEAT}', every: 5m}\n", {"BEAT": "https://hc.example/ping/uuid"})
    assert loaded.heartbeat == Heartbeat(Secret("https://hc.example/ping/uuid"), 300.0)
    assert "uuid" not in repr(loaded)


def test_plain_http_to_another_machine_is_a_warning() -> None:
    (warning,) = load(EMPTY + "heartbeat: {url: '${BEAT}'}\n", {"BEAT": "http://hc.example/ping/uuid"}).warnings
    assert warning.startswith("config.yaml:7:18: heartbeat.url: plain http: ")
    assert "uuid" not in warning
    assert load(EMPTY + "heartbeat: {url: '${BEAT}'}\n", {"BEAT": "http://127.0.0.1/x"}).warnings == ()


@pytest.mark.parametrize(
    "case",
    [
        top("»http: {}", "http.listen: is missing"),
        top("http: {listen: »9464}", LISTEN),
        top("http: {listen: »'127.0.0.1'}", LISTEN),
        top("http: {listen: »'127.0.0.1:0'}", LISTEN),
        top("http: {listen: »'127.0.0.1:65536'}", LISTEN),
        top("http: {listen: »'example.com:80'}", LISTEN),
        top("http: {listen: »'::1:80'}", LISTEN),
        top("http: {listen: 'localhost:1', »port: 2}", "http.port: unknown key (allowed here: listen or hosts)"),
        top("http: {listen: 'localhost:1', hosts: [»'a:80']}", f"http.hosts[0]: {HOST}"),
        top("http: {listen: 'localhost:1', hosts: [»'*']}", f"http.hosts[0]: {HOST}"),
        top("http: {listen: 'localhost:1', hosts: »nas}", "http.hosts: must be a list"),
        top("http: »localhost", "http: must be a mapping"),
        top("»heartbeat: {}", "heartbeat.url: is missing"),
        top("heartbeat: {url: »hc.example/x}", URL),
        top("heartbeat: {url: »'https://'}", URL),
        top("heartbeat: {url: »'http://[bad/x'}", URL),
        top("heartbeat: {url: »'http://a]b/x'}", URL),
        top("heartbeat: {url: »'https://*.x/secret'}", URL),
        top("heartbeat: {url: »'http://..a/secret'}", URL),
        top("heartbeat: {url: »'https://hc.example:x/'}", URL),
        top("heartbeat: {url: »'https://hc.example/a b'}", URL),
        top("heartbeat: {url: 'https://hc.example', every: »1s}", "heartbeat.every: must be from 10s to 1d"),
        top("heartbeat: {url: 'https://hc.example', »evry: 1m}", "heartbeat.evry: unknown key; did you mean 'every'?"),
    ],
    ids=lambda case: case[0].splitlines()[-1],
)
def test_a_mistake_is_reported_at_its_place(case: Case) -> None:
    check_case(case)


def test_a_wrong_heartbeat_url_is_not_quoted() -> None:
    (mistake,) = mistakes(EMPTY + "heartbeat: {url: '${BEAT}'}\n", {"BEAT": "s3cr3t"})
    assert mistake.startswith(f"config.yaml:7:18: {URL}")
    assert "s3cr3t" not in mistake


def test_verbs_that_only_read_need_no_heartbeat_url() -> None:
    Path("config.yaml").write_text(EMPTY + "heartbeat: {url: '${BEAT}'}\n")
    loaded = config.load(Path("config.yaml"), environ={}, resolve_secrets=False)
    assert loaded.heartbeat == Heartbeat(Secret(""))
