"""Whom the transport trusts, and what `requests.Session` makes of it."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
import requests
import trustme

from notifier.errors import NotifierError
from notifier.transport import Answer, CaBundleError, Kind, Transport, TransportError
from notifier.transport.certificates import VARIABLES, ca_bundle
from tests.standins import api as misbehaving
from tests.standins.api import ApiStandIn, plain

MIB = 2**20


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def api(authority: trustme.CA) -> Iterator[ApiStandIn]:
    with ApiStandIn(authority=authority) as standin:
        standin.script("x", [plain("x", "starting")])
        yield standin


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
def other_bundle(tmp_path: Path) -> str:
    path = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return str(path)


def ask(environment: dict[str, str], url: str, **settings: Any) -> Answer:
    transport = Transport(environment=environment)
    transport.start()
    try:
        request = requests.Request("GET", url).prepare()
        return transport.exchange(request, **{"timeout": 20.0, "max_body": MIB, **settings})
    finally:
        transport.close()


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_right_authority_is_trusted_and_a_wrong_one_is_not(
    api: ApiStandIn, bundle: str, other_bundle: str, variable: str
) -> None:
    answer = ask({variable: bundle}, api.url("x"))
    assert isinstance(answer, requests.Response), answer
    error = ask({variable: other_bundle}, api.url("x"))
    assert isinstance(error, TransportError)
    assert error.kind is Kind.TLS
    assert "certificate" in error.reason
    assert len(api.requests) == 1


def test_the_variables_are_asked_in_order_and_certifi_last(bundle: str, other_bundle: str) -> None:
    chosen = []
    environment = dict.fromkeys(VARIABLES, other_bundle)
    for variable in VARIABLES:
        chosen.append(str(ca_bundle({**environment, variable: bundle})))
        environment[variable] = ""
    assert chosen == [bundle] * 3
    assert str(ca_bundle(environment)) == certifi.where()


def test_an_authority_nobody_named_is_not_trusted(api: ApiStandIn) -> None:
    error = ask({}, api.url("x"))
    assert isinstance(error, TransportError)
    assert error.kind is Kind.TLS


def test_a_certificate_for_another_host_is_not_trusted(authority: trustme.CA, bundle: str) -> None:
    with ApiStandIn(authority=authority, host="elsewhere.example") as api:
        error = ask({"SSL_CERT_FILE": bundle}, api.url("x"))
    assert isinstance(error, TransportError)
    assert error.kind is Kind.TLS


def test_the_deadline_holds_while_tls_is_negotiated(bundle: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection, and says nothing
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        error = ask({"SSL_CERT_FILE": bundle}, url, timeout=0.3)
    assert isinstance(error, TransportError)
    assert (error.kind, error.reason) == (Kind.TIMEOUT, "time-out: no connection within 0.3 s")


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize(
    ("content", "found"), [(None, "No such file"), (b"", "no certificate"), (b"\x00\xff", "no certificate")]
)
def test_a_bundle_that_cannot_be_used_is_told_at_once(
    tmp_path: Path, variable: str, content: bytes | None, found: str
) -> None:
    path = tmp_path / "bundle.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CaBundleError) as caught:
        Transport(environment={variable: str(path)})
    assert isinstance(caught.value, NotifierError)
    assert caught.value.exit_code == 78
    assert str(caught.value).startswith(variable)
    assert str(path) in str(caught.value)
    assert found in str(caught.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command to name a certificate by hash")
def test_a_folder_of_hashed_certificates_is_a_bundle_too(api: ApiStandIn, bundle: str, tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    folder.mkdir()
    command = ["openssl", "x509", "-hash", "-noout", "-in", bundle]
    named = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    shutil.copy(bundle, folder / f"{named}.0")
    assert isinstance(ask({"REQUESTS_CA_BUNDLE": str(folder)}, api.url("x")), requests.Response)


# --- requests.Session --------------------------------------------------------------------------------------------


@pytest.fixture
def session(bundle: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[requests.Session]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
    transport = Transport(max_body=MIB)
    transport.start()
    with requests.Session() as session:
        session.mount("https://", transport)
        session.mount("http://", transport)
        yield session
    assert not transport.alive, "a session closes its adapters"


def test_a_session_works_over_it(session: requests.Session, api: ApiStandIn) -> None:
    answer = session.get(api.url("x"), headers={"X-A": "1"}, timeout=(5, 20), stream=True)
    assert answer.json()["status"] == "starting"
    assert b"".join(answer.iter_content(100)) == answer.content
    assert session.send(session.prepare_request(requests.Request("GET", api.url("x")))).ok
    assert [seen.headers.get("x-a") for seen in api.requests] == ["1", None]
    assert answer.history == []


def test_a_session_can_use_every_method(session: requests.Session, api: ApiStandIn) -> None:
    assert session.head(api.url("x")).content == b""
    assert session.post(api.url("x"), json={"a": "ä"}).ok
    assert session.post(api.url("x"), data="é").ok
    assert session.post(api.url("x")).ok
    assert session.delete(api.url("x")).ok
    assert session.get(api.url("x")).ok
    assert [(seen.method, seen.body) for seen in api.requests] == [
        ("HEAD", b""),
        ("POST", b'{"a": "\\u00e4"}'),
        ("POST", "é".encode()),
        ("POST", b""),
        ("DELETE", b""),
        ("GET", b""),
    ]


def test_a_session_follows_redirects_if_it_is_told_to(session: requests.Session, api: ApiStandIn) -> None:
    api.script("old", [misbehaving.Answer(302, headers={"Location": api.url("x")})])
    assert session.get(api.url("old"), allow_redirects=False).status_code == 302
    assert [step.status_code for step in session.get(api.url("old")).history] == [302]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (misbehaving.hang, requests.Timeout),
        (misbehaving.reset, requests.ConnectionError),
        (misbehaving.Answer(200, b"x" * (MIB + 1)), requests.RequestException),
    ],
)
def test_a_session_hears_of_faults_in_requests_own_words(
    session: requests.Session, api: ApiStandIn, answer: misbehaving.Answer, expected: type[Exception]
) -> None:
    api.script("x", [answer])
    with pytest.raises(expected) as caught:
        session.get(api.url("x"), timeout=1)
    assert isinstance(caught.value, requests.RequestException)
    assert caught.value.request is not None


def test_a_session_hears_of_a_certificate_in_requests_own_words(session: requests.Session) -> None:
    with ApiStandIn(authority=trustme.CA()) as stranger, pytest.raises(requests.exceptions.SSLError):
        session.get(stranger.url("x"))


@pytest.mark.parametrize("settings", [{"verify": False}, {"cert": "mine.pem"}, {"verify": "/elsewhere.pem"}])
def test_other_ways_to_verify_are_refused_rather_than_ignored(
    session: requests.Session, api: ApiStandIn, settings: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="its own CA bundle"):
        session.get(api.url("x"), **settings)
    assert api.requests == []


def test_a_body_that_is_a_stream_is_refused(session: requests.Session, api: ApiStandIn) -> None:
    with pytest.raises(requests.RequestException, match="a stream"):
        session.post(api.url("x"), data=iter([b"a"]))
    assert api.requests == []
